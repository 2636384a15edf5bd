import { addAlike, alikeOf, type LedgerEntry, NO_SUM, type UsageSum } from "#server/domain/ledger.ts";
import type {
  EntryPlace,
  Grouping,
  LedgerRange,
  UsageGroup,
  UsageLedger,
} from "#server/domain/ports/usage-ledger.ts";

/** The ledger over an array; the store of tasks appends to it. */
export class MemoryLedger implements UsageLedger {
  readonly #entries = new Map<string, LedgerEntry>();

  add(entries: readonly LedgerEntry[]): void {
    for (const entry of entries) {
      const key = `${entry.taskId} ${entry.attempt}`;
      if (!this.#entries.has(key)) this.#entries.set(key, entry);
    }
  }

  async list(range: LedgerRange, limit: number, after: EntryPlace | null): Promise<LedgerEntry[]> {
    return this.#within(range)
      .sort(latestFirst)
      .filter((entry) => after === null || latestFirst(after, entry) < 0)
      .slice(0, limit);
  }

  async sums(
    range: LedgerRange,
    grouping: Grouping,
    limit: number,
    after: string | null,
  ): Promise<UsageGroup[]> {
    const groups = new Map<string, UsageSum>();
    for (const entry of this.#within(range)) {
      const key = keyOf(entry, grouping);
      groups.set(key, addAlike(groups.get(key) ?? NO_SUM, alikeOf(entry)));
    }
    return [...groups]
      .map(([key, sum]) => ({ key, sum }))
      .sort((a, b) => compareText(a.key, b.key))
      .filter(({ key }) => after === null || compareText(key, after) > 0)
      .slice(0, limit);
  }

  async spent(from: Date, currency: string): Promise<Map<string, bigint>> {
    const spent = new Map<string, bigint>();
    for (const { tenant, endTime, usage } of this.#entries.values()) {
      if (endTime < from || usage.charge?.currency !== currency) continue;
      spent.set(tenant, (spent.get(tenant) ?? 0n) + usage.charge.nanos);
    }
    return spent;
  }

  #within(range: LedgerRange): LedgerEntry[] {
    return [...this.#entries.values()].filter(
      (entry) =>
        entry.tenant === range.tenant &&
        (range.owner === "" || entry.owner === range.owner) &&
        entry.endTime >= range.from &&
        entry.endTime < range.to &&
        Object.entries(range.labels).every(([key, value]) => labelOf(entry, key) === value),
    );
  }
}

function keyOf(entry: LedgerEntry, grouping: Grouping): string {
  switch (grouping.by) {
    case "all":
      return "";
    case "day":
      return entry.endTime.toISOString().slice(0, 10);
    case "task":
      return entry.taskId;
    case "owner":
      return entry.owner;
    case "label":
      return labelOf(entry, grouping.label) ?? "";
  }
}

function labelOf({ labels }: LedgerEntry, key: string): string | undefined {
  return Object.hasOwn(labels, key) ? labels[key] : undefined;
}

function latestFirst(a: EntryPlace, b: EntryPlace): number {
  return (
    b.endTime.getTime() - a.endTime.getTime() || compareText(b.taskId, a.taskId) || b.attempt - a.attempt
  );
}

/** As databases compare: the bytes of the UTF-8 form. */
function compareText(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
