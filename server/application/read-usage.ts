import { type FieldViolation, InvalidRequest } from "../domain/errors.ts";
import { type LedgerEntry, NO_SUM, type UsageSum } from "../domain/ledger.ts";
import type {
  EntryPlace,
  Grouping,
  LedgerRange,
  UsageGroup,
  UsageLedger,
} from "../domain/ports/usage-ledger.ts";
import { monthOf } from "../domain/quota.ts";
import type { UsageFilter, UsageListRequest, UsageSumRequest } from "./api.ts";
import type { Caller } from "./caller.ts";
import { decodePageToken, encodePageToken } from "./page-token.ts";

/** Beyond every time that a Date holds. */
const END_OF_TIME = new Date(8.64e15);

/** GetUsage and ListUsage: what the ledger of the caller's tenant holds. */
export class ReadUsage {
  readonly #ledger: UsageLedger;
  readonly #clock: () => Date;

  constructor(deps: { ledger: UsageLedger; clock: () => Date }) {
    this.#ledger = deps.ledger;
    this.#clock = deps.clock;
  }

  /** `total` is null on all pages but the first. */
  async sums(
    { tenant }: Caller,
    request: UsageSumRequest,
  ): Promise<{ groups: UsageGroup[]; total: UsageSum | null; nextPageToken: string }> {
    const { filter, grouping, pageSize, pageToken } = request;
    const violations = [...request.violations, ...filterViolations(filter)];
    const conditions = { filter, grouping };
    const place = decodePageToken(pageToken, conditions, violations);
    const range = this.#range(tenant, filter);
    const total = pageToken === "" ? await this.#total(range) : null;
    if (grouping === null) return { groups: [], total, nextPageToken: "" };
    const after = pageToken === "" ? null : place;
    const found = await this.#ledger.sums(range, grouping, pageSize + 1, after);
    const groups = found.slice(0, pageSize);
    const last = groups.at(-1);
    const more = found.length > pageSize && last !== undefined;
    return { groups, total, nextPageToken: more ? encodePageToken(last.key, conditions) : "" };
  }

  async list(
    { tenant }: Caller,
    { filter, pageSize, pageToken, violations }: UsageListRequest,
  ): Promise<{ entries: LedgerEntry[]; nextPageToken: string }> {
    const wrong = [...violations, ...filterViolations(filter)];
    const place = decodePageToken(pageToken, { filter }, wrong);
    const after = pageToken === "" ? null : placeOf(place);
    const found = await this.#ledger.list(this.#range(tenant, filter), pageSize + 1, after);
    const entries = found.slice(0, pageSize);
    const last = entries.at(-1);
    const more = found.length > pageSize && last !== undefined;
    return { entries, nextPageToken: more ? encodePageToken(textOf(last), { filter }) : "" };
  }

  async #total(range: LedgerRange): Promise<UsageSum> {
    const all: Grouping = { by: "all" };
    const [group] = await this.#ledger.sums(range, all, 1, null);
    return group?.sum ?? NO_SUM;
  }

  #range(tenant: string, { owner, labels, from, to }: UsageFilter): LedgerRange {
    return { tenant, owner, labels, from: from ?? monthOf(this.#clock()), to: to ?? END_OF_TIME };
  }
}

function filterViolations({ from, to }: UsageFilter): FieldViolation[] {
  if (from === null || to === null || from < to) return [];
  return [{ field: "filter.end_time", description: "is not after filter.start_time" }];
}

function textOf({ endTime, taskId, attempt }: EntryPlace): string {
  return `${endTime.getTime()} ${attempt} ${taskId}`;
}

function placeOf(text: string): EntryPlace {
  const [, millis, attempt, taskId] = /^(-?\d+) (\d+) (.*)$/s.exec(text) ?? [];
  if (millis === undefined || attempt === undefined || taskId === undefined) {
    const description = "is not one of this server; begin with an empty one";
    throw new InvalidRequest([{ field: "page_token", description }]);
  }
  return { endTime: new Date(Number(millis)), attempt: Number(attempt), taskId };
}
