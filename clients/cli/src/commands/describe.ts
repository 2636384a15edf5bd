import {
  durationToMillis,
  isTerminal,
  type Longshore,
  LongshoreError,
  recordToJson,
  stateName,
  type TaskRecord,
} from "@longshore/client";
import type { Command } from "commander";
import type { Context } from "../context.ts";
import { formatBytes, formatCount, formatMillis, printable } from "../output/format.ts";
import { describeExperiment, describePlacement } from "../output/placement.ts";
import { continuation, statusLine } from "../output/status-line.ts";
import { describeCharge, describeEnd, describeSandbox, describeWait } from "../output/summary.ts";
import type { Terminal } from "../output/terminal.ts";
import { timeline } from "../output/timeline.ts";

export function addDescribe(program: Command, context: Context): void {
  program
    .command("describe")
    .summary("show where a task's time went and how far its limits were used")
    .description(
      "Shows a task's stages as bars on one time axis, why it waits or how it ended, and each limit beside its peak.",
    )
    .argument("<id>", "the task")
    .action(async (id: string) => {
      const { client, terminal } = context;
      const [record, address] = await Promise.all([client.task(id).get(), traceAddress(client)]);
      const traceUrl = record.traceId === "" ? "" : address.replace("{trace_id}", record.traceId);
      if (context.json) {
        const link = traceUrl === "" ? {} : { traceUrl };
        return terminal.print(JSON.stringify({ ...Object(recordToJson(record)), ...link }));
      }
      for (const line of describe(record, new Date(), terminal, traceUrl)) await terminal.print(line);
    });
}

/** Where the server's operator looks at traces; empty where that is not known. */
async function traceAddress(client: Longshore): Promise<string> {
  try {
    return (await client.capabilities()).traceUrl;
  } catch (error) {
    // The task is what was asked for; a server that cannot be reached says so there.
    if (error instanceof LongshoreError) return "";
    throw error;
  }
}

function describe(record: TaskRecord, now: Date, terminal: Terminal, traceUrl: string): string[] {
  const lines = [headline(record), ...timeline(record.stages, now)];
  if (record.wait !== undefined) {
    lines.push(statusLine("waits", describeWait(record.wait)));
    const { blockingTaskIds: ids } = record.wait;
    if (ids.length > 1) lines.push(...ids.map((id) => continuation(printable(id))));
  }
  const needs = record.spec?.dependsOn ?? [];
  if (needs.length > 0) lines.push(statusLine("depends on", printable(needs.join(", "))));
  const placement = describePlacement(record);
  if (placement !== undefined) lines.push(statusLine("placement", placement));
  const run = describeExperiment(record);
  if (run !== undefined) lines.push(statusLine("experiment", run));
  if (record.attempts.length > 0) lines.push(statusLine("sandbox", describeSandbox(record)));
  lines.push(...limits(record));
  const charge = describeCharge(record);
  if (charge !== undefined) lines.push(statusLine("charge", charge));
  for (const attempt of record.attempts.slice(0, -1)) {
    const message = printable(attempt.result?.message ?? "");
    lines.push(statusLine(`attempt ${attempt.number}`, message));
  }
  if (record.traceId !== "") lines.push(statusLine("trace", printable(traceUrl) || record.traceId));
  if (isTerminal(record)) lines.push(...describeEnd(record, terminal));
  return lines;
}

function headline(record: TaskRecord): string {
  const parts = [`task ${record.id}`, stateName(record.state)];
  if (record.owner !== "") parts.push(`owner ${printable(record.owner)}`);
  const name = printable(record.spec?.displayName ?? "");
  if (name !== "") parts.push(name);
  if (record.archiveSha256 !== "") parts.push(`archive ${record.archiveSha256.slice(0, 12)}`);
  if (record.cachedFrom !== "") parts.push(`cached from ${record.cachedFrom}`);
  if (record.rerunOf !== "") parts.push(`rerun of ${record.rerunOf}`);
  return parts.join("   ");
}

/** Each limit with what was used of it at most. */
function limits(record: TaskRecord): string[] {
  const { effectiveResources: resources, effectiveBudgets: budgets, effectiveTimeout, usage } = record;
  if (resources === undefined) return [];
  const used = (text: string) => (usage === undefined ? "" : ` (${text})`);
  const cpuTime = formatMillis(durationToMillis(usage?.cpuTime));
  const parts = [
    `${Number(resources.cpuMillis) / 1000} CPU${used(`${cpuTime} used`)}`,
    `${formatBytes(resources.ramBytes)} RAM${used(formatBytes(usage?.peakRamBytes ?? 0n))}`,
    `${formatBytes(resources.storageBytes)} disk${used(formatBytes(usage?.peakStorageBytes ?? 0n))}`,
  ];
  if (resources.gpuCount > 0) parts.push(`${resources.gpuCount} GPU`);
  const more: string[] = [];
  if (budgets !== undefined) {
    more.push(`${formatCount(budgets.maxProcesses, "process", "es")}${used(`${usage?.peakProcesses}`)}`);
    more.push(`${formatBytes(budgets.maxLogBytes)} output${used(formatBytes(usage?.logBytes ?? 0n))}`);
  }
  if (effectiveTimeout !== undefined) {
    const elapsed = durationToMillis(record.elapsed);
    const ran = elapsed === 0 ? "" : ` (${formatMillis(elapsed)})`;
    more.push(`timeout ${formatMillis(durationToMillis(effectiveTimeout))}${ran}`);
  }
  const lines = [statusLine("limits", parts.join(" · "))];
  return more.length === 0 ? lines : [...lines, continuation(more.join(" · "))];
}
