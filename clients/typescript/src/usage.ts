import {
  type EstimateCostResponse,
  type Quota,
  type UsageEntry,
  type UsageFilter,
  UsageGrouping,
  UsageServiceService,
  type UsageSum,
} from "@longshore/proto/longshore/v1/usage_service";
import type { CallOptions, Channel } from "./channel.ts";
import { InvalidRequest, LongshoreError } from "./errors.ts";
import { requestOf, type TaskOptions } from "./spec.ts";

export type { EstimateCostResponse as Estimate, Quota, UsageEntry, UsageSum };

/** Which attempts: those that ended in a range of time, of one owner, with all of these labels. */
export interface UsageRange extends CallOptions {
  /** From here, inclusive; the start of this month in UTC when left out. */
  readonly since?: Date;
  /** To here, exclusive. */
  readonly until?: Date;
  readonly owner?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface UsageOptions extends UsageRange {
  /** What to add up by: "day", "task", "owner" or "label:KEY"; the total alone when left out. */
  readonly by?: "day" | "task" | "owner" | `label:${string}`;
}

export interface UsageReport {
  readonly total: UsageSum;
  /** By key, ascending: a day such as "2026-11-21", a task's id, an owner, or a label's value ("" for tasks without it). */
  readonly groups: ReadonlyMap<string, UsageSum>;
}

export interface EstimateOptions extends TaskOptions, CallOptions {
  readonly code?: string;
  readonly archiveSha256?: string;
}

const GROUPINGS: ReadonlyMap<string, UsageGrouping> = new Map([
  ["day", UsageGrouping.DAY],
  ["task", UsageGrouping.TASK],
  ["owner", UsageGrouping.OWNER],
]);
const MOST_PER_PAGE = 1000;

export async function readUsage(channel: Channel, options: UsageOptions): Promise<UsageReport> {
  const { grouping, label } = groupingOf(options.by);
  const groups = new Map<string, UsageSum>();
  let total: UsageSum | undefined;
  let pageToken = "";
  do {
    const request = { filter: filterOf(options), grouping, label, pageSize: MOST_PER_PAGE, pageToken };
    const page = await channel.unary(UsageServiceService.getUsage, request, { ...options, retry: true });
    total ??= page.total;
    for (const { key, sum } of page.groups) if (sum !== undefined) groups.set(key, sum);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  if (total === undefined)
    throw new LongshoreError("the server answered without a total", { code: "INTERNAL" });
  return { total, groups };
}

export async function* listUsage(
  channel: Channel,
  options: UsageRange,
): AsyncGenerator<UsageEntry, void, undefined> {
  let pageToken = "";
  do {
    const request = { filter: filterOf(options), pageSize: MOST_PER_PAGE, pageToken };
    const page = await channel.unary(UsageServiceService.listUsage, request, { ...options, retry: true });
    yield* page.entries;
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
}

export function estimateCost(channel: Channel, options: EstimateOptions): Promise<EstimateCostResponse> {
  const { code = "", archiveSha256 = "" } = options;
  const task = { ...requestOf(options), code, archiveSha256 };
  return channel.unary(UsageServiceService.estimateCost, { task }, { ...options, retry: true });
}

export async function readQuota(channel: Channel, options: CallOptions): Promise<readonly Quota[]> {
  const { quotas } = await channel.unary(UsageServiceService.getQuota, {}, { ...options, retry: true });
  return quotas;
}

function filterOf({ since, until, owner = "", labels = {} }: UsageRange): UsageFilter {
  return { startTime: since, endTime: until, owner, labels: { ...labels } };
}

function groupingOf(by: string | undefined): { grouping: UsageGrouping; label: string } {
  if (by === undefined) return { grouping: UsageGrouping.UNSPECIFIED, label: "" };
  const grouping = GROUPINGS.get(by);
  if (grouping !== undefined) return { grouping, label: "" };
  const label = by.startsWith("label:") ? by.slice("label:".length) : "";
  if (label !== "") return { grouping: UsageGrouping.LABEL, label };
  const description = `"${by}" is not one of day, task, owner, label:KEY`;
  throw new InvalidRequest([{ field: "by", description }]);
}
