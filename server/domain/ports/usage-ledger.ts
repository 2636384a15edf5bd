import type { LedgerEntry, UsageSum } from "../ledger.ts";

/** All conditions must hold; "" and an empty map do not restrict. */
export interface LedgerRange {
  readonly tenant: string;
  readonly owner: string;
  readonly labels: Readonly<Record<string, string>>;
  /** End times from here, inclusive. */
  readonly from: Date;
  /** To here, exclusive. */
  readonly to: Date;
}

/** What entries are added up by; entries without the label have the key "". */
export type Grouping =
  | { readonly by: "all" | "day" | "task" | "owner" }
  | { readonly by: "label"; readonly label: string };

export interface UsageGroup {
  /** A day as "2026-11-21", a task's id, an owner or a label's value; "" for all. */
  readonly key: string;
  readonly sum: UsageSum;
}

/** Where a page of entries goes on: after this one. */
export type EntryPlace = Pick<LedgerEntry, "endTime" | "taskId" | "attempt">;

/** The entries as they were written; TaskStore.save writes one in the transaction that ends an attempt. */
export interface UsageLedger {
  /** Latest end first. */
  list(range: LedgerRange, limit: number, after: EntryPlace | null): Promise<LedgerEntry[]>;
  /** Groups by key, ascending, those after `after` (null begins with the first), at most `limit`. */
  sums(range: LedgerRange, grouping: Grouping, limit: number, after: string | null): Promise<UsageGroup[]>;
  /** What each tenant's entries from `from` on cost together, in one currency. */
  spent(from: Date, currency: string): Promise<ReadonlyMap<string, bigint>>;
}
