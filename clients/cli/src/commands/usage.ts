import {
  durationToMillis,
  reasonName,
  type UsageEntry,
  type UsageOptions,
  type UsageRange,
  type UsageSum,
  usageEntryToJson,
  usageSumToJson,
} from "@longshore/client";
import type { Command } from "commander";
import type { Context } from "../context.ts";
import { formatBytes, formatMillis, formatTable, printable } from "../output/format.ts";
import { formatMoney } from "../output/money.ts";
import { UsageError } from "../usage-error.ts";
import { readLabels } from "./labels.ts";

interface UsageFlags {
  readonly by?: string;
  readonly since?: string;
  readonly until?: string;
  readonly owner?: string;
  readonly label: readonly string[];
  readonly entries?: boolean;
}

const collect = (value: string, before: readonly string[]): readonly string[] => [
  ...before,
  ...value.split(","),
];

export function addUsage(program: Command, context: Context): void {
  program
    .command("usage")
    .summary("show what tasks used and what it cost")
    .description(
      "Adds up the attempts that ended in a range of time, by default this month (UTC). Attempts under way are not in it. GB are held memory and disk times time: 2 GB for an hour are 2 GB·h.",
    )
    .option("--by <what>", "day, task, owner or label:KEY")
    .option("--since <time>", "from this day or time on, such as 2026-11-01 (UTC) or 2026-11-01T08:00:00Z")
    .option("--until <time>", "to this one, exclusive")
    .option("--owner <subject>", "only of this owner")
    .option("-l, --label <KEY=VALUE>", "only with this label (repeatable)", collect, [])
    .option("--entries", "each attempt's own row, latest first")
    .action((flags: UsageFlags) => showUsage(context, flags));
}

async function showUsage(context: Context, flags: UsageFlags): Promise<void> {
  const range: UsageRange = {
    ...readTime("since", flags.since),
    ...readTime("until", flags.until),
    ...(flags.owner === undefined ? {} : { owner: flags.owner }),
    labels: readLabels(flags.label),
  };
  if (flags.entries === true) {
    if (flags.by !== undefined) throw new UsageError("give either --by or --entries, not both");
    return showEntries(context, range);
  }
  const { terminal, client } = context;
  // A word that is none of these is refused by the client, which lists them.
  const by = flags.by as UsageOptions["by"];
  const { total, groups } = await client.usage({ ...range, ...(by === undefined ? {} : { by }) });
  if (context.json) {
    for (const [key, sum] of groups) await terminal.print(JSON.stringify({ key, sum: usageSumToJson(sum) }));
    await terminal.print(JSON.stringify({ total: usageSumToJson(total) }));
    return;
  }
  const label = flags.by?.startsWith("label:") === true ? flags.by.slice("label:".length) : (flags.by ?? "");
  const rows = [
    [label.toUpperCase(), "ATTEMPTS", "CPU·H", "RAM GB·H", "DISK GB·H", "GPU·H", "CPU USED", "COST"],
  ];
  for (const [key, sum] of groups) rows.push([key === "" ? "-" : printable(key), ...cellsOf(sum)]);
  rows.push(["total", ...cellsOf(total)]);
  for (const line of formatTable(rows)) await terminal.print(line);
}

function cellsOf(sum: UsageSum): string[] {
  const gpuMillis = sum.gpuTimes.reduce((millis, { gpuTime }) => millis + durationToMillis(gpuTime), 0);
  return [
    String(sum.attempts),
    hours(durationToMillis(sum.cpuTime)),
    hours(durationToMillis(sum.ramGbTime)),
    hours(durationToMillis(sum.storageGbTime)),
    hours(gpuMillis),
    formatMillis(durationToMillis(sum.measuredCpuTime)),
    sum.costs.length === 0 ? "-" : sum.costs.map(formatMoney).join(" + "),
  ];
}

function hours(millis: number): string {
  const value = millis / 3_600_000;
  if (value === 0) return "0";
  return value < 0.001 ? "<0.001" : String(Number(value.toPrecision(4)));
}

async function showEntries(context: Context, range: UsageRange): Promise<void> {
  const { terminal, client } = context;
  const rows = [["TASK", "#", "ENDED", "HELD", "AMOUNTS", "REASON", "COST"]];
  for await (const entry of client.usageEntries(range)) {
    if (context.json) await terminal.print(JSON.stringify(usageEntryToJson(entry)));
    else rows.push(rowOf(entry));
  }
  if (context.json) return;
  for (const line of formatTable(rows)) await terminal.print(line);
}

function rowOf(entry: UsageEntry): string[] {
  const { resources, prices } = entry;
  const gpus = (prices?.gpus ?? []).map(({ count, model }) => `${count} ${printable(model)}`);
  const amounts =
    resources === undefined
      ? []
      : [
          `${Number(resources.cpuMillis) / 1000} CPU`,
          formatBytes(resources.ramBytes),
          `${formatBytes(resources.storageBytes)} disk`,
          ...(gpus.length > 0 || resources.gpuCount === 0 ? gpus : [`${resources.gpuCount} GPU`]),
        ];
  return [
    entry.taskId,
    String(entry.attempt),
    entry.endTime?.toISOString().slice(0, 19).replace("T", " ") ?? "",
    formatMillis(durationToMillis(entry.usage?.chargedTime)),
    amounts.join(" · "),
    reasonName(entry.reason).toLowerCase().replaceAll("_", " "),
    entry.cost === undefined ? "-" : formatMoney(entry.cost),
  ];
}

function readTime(flag: "since" | "until", text: string | undefined): { since?: Date; until?: Date } {
  if (text === undefined) return {};
  const time = /^\d{4}-\d{2}-\d{2}(T.*)?$/.test(text) ? new Date(text) : new Date(Number.NaN);
  if (Number.isNaN(time.getTime()))
    throw new UsageError(
      `--${flag} "${text}" is no day such as 2026-11-01 and no time such as 2026-11-01T08:00:00Z`,
    );
  return flag === "since" ? { since: time } : { until: time };
}
