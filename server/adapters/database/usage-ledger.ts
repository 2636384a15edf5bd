import { type Expression, type Insertable, type Kysely, type SelectQueryBuilder, sql } from "kysely";
import { z } from "zod";
import { NANOS_PER_UNIT } from "../../domain/charge.ts";
import { type AlikeEntries, addAlike, type LedgerEntry, NO_SUM, type UsageSum } from "../../domain/ledger.ts";
import type {
  EntryPlace,
  Grouping,
  LedgerRange,
  UsageGroup,
  UsageLedger,
} from "../../domain/ports/usage-ledger.ts";
import { RESULT_REASONS } from "../../domain/task.ts";
import { toDomainError } from "./fault.ts";
import type { Tables } from "./schema.ts";
import * as json from "./task-json.ts";
import { checked, jsonText, whole } from "./task-row.ts";

const MILLIS_PER_DAY = 86_400_000;

/** Part of the transaction that ends the attempts. What was written once stays as it is. */
export async function writeLedger(
  connection: Kysely<Tables>,
  entries: readonly LedgerEntry[],
): Promise<void> {
  for (const entry of entries) {
    await connection
      .insertInto("ledger")
      .values(toRow(entry))
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    const labels = Object.entries(entry.labels).map(([key, value]) => ({
      task_id: entry.taskId,
      key,
      value,
    }));
    if (labels.length === 0) continue;
    await connection
      .insertInto("ledger_label")
      .values(labels)
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  }
}

export class SqlUsageLedger implements UsageLedger {
  readonly #database: Kysely<Tables>;

  constructor(database: Kysely<Tables>) {
    this.#database = database;
  }

  async list(range: LedgerRange, limit: number, after: EntryPlace | null): Promise<LedgerEntry[]> {
    try {
      let query = this.#within(range)
        .selectAll("ledger")
        .orderBy("ledger.end_time", "desc")
        .orderBy("ledger.task_id", "desc")
        .orderBy("ledger.attempt", "desc")
        .limit(limit);
      if (after !== null) {
        const place = sql`(${after.endTime.getTime()}, ${after.taskId}, ${after.attempt})`;
        query = query.where(sql<boolean>`(ledger.end_time, ledger.task_id, ledger.attempt) < ${place}`);
      }
      const rows = await query.execute();
      const labels = await this.#labels(rows.map((row) => row.task_id));
      return rows.map((row) => fromRow(row, labels.get(row.task_id) ?? {}));
    } catch (error) {
      throw toDomainError(error, "list usage");
    }
  }

  async sums(
    range: LedgerRange,
    grouping: Grouping,
    limit: number,
    after: string | null,
  ): Promise<UsageGroup[]> {
    try {
      const key = keyOf(grouping);
      let keys = this.#within(range).select(key.as("key")).distinct().orderBy("key").limit(limit);
      if (after !== null) keys = keys.where(key, ">", keyValue(grouping, after));
      const found = await keys.execute();
      const [first, last] = [found.at(0), found.at(-1)];
      if (first === undefined || last === undefined) return [];
      const rows = await this.#within(range)
        .select(key.as("key"))
        .select(["currency", "cpu_millis", "ram_bytes", "storage_bytes", "gpu_count", "gpus"])
        .select([
          count("count(*)").as("attempts"),
          count("cast(sum(ledger.charged_millis) as text)").as("charged_millis"),
          count("cast(sum(ledger.cpu_micros) as text)").as("cpu_micros"),
          count("max(ledger.peak_ram_bytes)").as("peak_ram_bytes"),
          count("cast(sum(ledger.amount_units) as text)").as("amount_units"),
          count("cast(sum(ledger.amount_nanos) as text)").as("amount_nanos"),
        ])
        .where(key, ">=", first.key)
        .where(key, "<=", last.key)
        .groupBy(["key", "currency", "cpu_millis", "ram_bytes", "storage_bytes", "gpu_count", "gpus"])
        .orderBy("key")
        .execute();
      return groupsOf(rows, grouping);
    } catch (error) {
      throw toDomainError(error, "add up usage");
    }
  }

  async spent(from: Date, currency: string): Promise<Map<string, bigint>> {
    try {
      const rows = await this.#database
        .selectFrom("ledger")
        .select([
          "tenant",
          count("cast(sum(ledger.amount_units) as text)").as("amount_units"),
          count("cast(sum(ledger.amount_nanos) as text)").as("amount_nanos"),
        ])
        .where("end_time", ">=", from.getTime())
        .where("currency", "=", currency)
        .groupBy("tenant")
        .execute();
      return new Map(
        rows.map((row) => [row.tenant, nanosOf(checked(amountColumns, row, `sums of ${row.tenant}`))]),
      );
    } catch (error) {
      throw toDomainError(error, "add up what was spent");
    }
  }

  #within(range: LedgerRange): Entries {
    let query: Entries = this.#database
      .selectFrom("ledger")
      .where("ledger.tenant", "=", range.tenant)
      .where("ledger.end_time", ">=", range.from.getTime())
      .where("ledger.end_time", "<", range.to.getTime());
    if (range.owner !== "") query = query.where("ledger.owner", "=", range.owner);
    for (const [key, value] of Object.entries(range.labels)) query = query.where(labelOf(key), "=", value);
    return query;
  }

  async #labels(taskIds: readonly string[]): Promise<Map<string, Record<string, string>>> {
    const labels = new Map<string, Record<string, string>>();
    if (taskIds.length === 0) return labels;
    const rows = await this.#database
      .selectFrom("ledger_label")
      .selectAll()
      .where("task_id", "in", [...new Set(taskIds)])
      .orderBy("task_id")
      .orderBy("key")
      .execute();
    for (const { task_id, key, value } of rows) {
      // Defined, not assigned: a label may be called "__proto__".
      const own = labels.get(task_id) ?? {};
      Object.defineProperty(own, key, { value, enumerable: true, configurable: true, writable: true });
      labels.set(task_id, own);
    }
    return labels;
  }
}

type Entries = SelectQueryBuilder<Tables, "ledger", object>;

/** An amount or a count, checked when it is read; in texts, because sums may pass what a number holds. */
const count = (expression: string) => sql<string | number>`${sql.raw(expression)}`;

/** The value of a task's label; NULL where it has none. */
function labelOf(key: string): Expression<string> {
  return sql<string>`(select label.value from ledger_label as label where label.task_id = ledger.task_id and label.key = ${key})`;
}

function keyOf(grouping: Grouping) {
  switch (grouping.by) {
    case "all":
      return sql<string | number>`''`;
    case "day":
      return sql<string | number>`ledger.end_time / ${sql.lit(MILLIS_PER_DAY)}`;
    case "task":
      return sql<string | number>`ledger.task_id`;
    case "owner":
      return sql<string | number>`ledger.owner`;
    case "label":
      return sql<string | number>`coalesce(${labelOf(grouping.label)}, '')`;
  }
}

/** Days are numbers in the database, so that they sort as such. */
function keyValue({ by }: Grouping, key: string): string | number {
  return by === "day" ? Date.parse(key) / MILLIS_PER_DAY : key;
}

function keyText({ by }: Grouping, key: string | number): string {
  return by === "day" ? new Date(Number(key) * MILLIS_PER_DAY).toISOString().slice(0, 10) : String(key);
}

const sumText = z.string().pipe(z.transform((value) => BigInt(value)));
const amountColumns = z.object({ amount_units: sumText, amount_nanos: sumText });
const sumColumns = amountColumns.extend({
  attempts: whole,
  charged_millis: sumText,
  cpu_micros: sumText,
  peak_ram_bytes: whole,
  cpu_millis: whole,
  ram_bytes: whole,
  storage_bytes: whole,
  gpu_count: whole,
  currency: z.string(),
  gpus: jsonText(z.array(z.object({ model: z.string(), count: whole }))),
});

function nanosOf(amount: { readonly amount_units: bigint; readonly amount_nanos: bigint }): bigint {
  return amount.amount_units * NANOS_PER_UNIT + amount.amount_nanos;
}

function groupsOf(rows: readonly { readonly key: string | number }[], grouping: Grouping): UsageGroup[] {
  const groups = new Map<string, UsageSum>();
  for (const row of rows) {
    const key = keyText(grouping, row.key);
    const columns = checked(sumColumns, row, `usage sums of ${key}`);
    const alike: AlikeEntries = {
      attempts: columns.attempts,
      chargedMillis: columns.charged_millis,
      cpuMicros: columns.cpu_micros,
      peakRamBytes: columns.peak_ram_bytes,
      resources: {
        cpuMillis: columns.cpu_millis,
        ramBytes: columns.ram_bytes,
        storageBytes: columns.storage_bytes,
        gpuCount: columns.gpu_count,
      },
      gpus: columns.gpus,
      cost: { currency: columns.currency, nanos: nanosOf(columns) },
    };
    groups.set(key, addAlike(groups.get(key) ?? NO_SUM, alike));
  }
  return [...groups].map(([key, sum]) => ({ key, sum }));
}

function toRow(entry: LedgerEntry): Insertable<Tables["ledger"]> {
  const { usage, resources } = entry;
  const charge = usage.charge;
  return {
    task_id: entry.taskId,
    attempt: entry.attempt,
    tenant: entry.tenant,
    owner: entry.owner,
    run_start_time: entry.runStartTime?.getTime() ?? null,
    end_time: entry.endTime.getTime(),
    reason: entry.reason,
    cpu_millis: resources.cpuMillis,
    ram_bytes: resources.ramBytes,
    storage_bytes: resources.storageBytes,
    gpu_count: resources.gpuCount,
    charged_millis: usage.chargedMillis,
    cpu_micros: Math.round(usage.cpuMicros),
    peak_ram_bytes: Math.round(usage.peakRamBytes),
    currency: charge?.currency ?? "",
    amount_units: Number((charge?.nanos ?? 0n) / NANOS_PER_UNIT),
    amount_nanos: Number((charge?.nanos ?? 0n) % NANOS_PER_UNIT),
    gpus: JSON.stringify((charge?.gpus ?? []).map(({ model, count }) => ({ model, count }))),
    usage: json.withDigits(usage),
  };
}

const columns = z.object({
  task_id: z.string(),
  attempt: whole,
  tenant: z.string(),
  owner: z.string(),
  run_start_time: whole.nullable(),
  end_time: whole,
  reason: z.enum(RESULT_REASONS),
  cpu_millis: whole,
  ram_bytes: whole,
  storage_bytes: whole,
  gpu_count: whole,
  usage: jsonText(json.usage),
});

function fromRow(
  row: { readonly task_id: string; readonly attempt: number },
  labels: Readonly<Record<string, string>>,
): LedgerEntry {
  const found = checked(columns, row, `ledger entry ${row.task_id}.${row.attempt}`);
  return {
    taskId: found.task_id,
    attempt: found.attempt,
    tenant: found.tenant,
    owner: found.owner,
    labels,
    runStartTime: found.run_start_time === null ? null : new Date(found.run_start_time),
    endTime: new Date(found.end_time),
    reason: found.reason,
    resources: {
      cpuMillis: found.cpu_millis,
      ramBytes: found.ram_bytes,
      storageBytes: found.storage_bytes,
      gpuCount: found.gpu_count,
    },
    usage: found.usage,
  };
}
