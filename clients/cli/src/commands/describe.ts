import { durationToMillis, isTerminal, recordToJson, stateName, type TaskRecord } from "@longshore/client";
import type { Command } from "commander";
import type { Context } from "../context.ts";
import { formatBytes, formatMillis, printable } from "../output/format.ts";
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
      const record = await context.client.task(id).get();
      if (context.json) await context.terminal.print(JSON.stringify(recordToJson(record)));
      else
        for (const line of describe(record, new Date(), context.terminal)) await context.terminal.print(line);
    });
}

function describe(record: TaskRecord, now: Date, terminal: Terminal): string[] {
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
  if (record.traceId !== "") lines.push(statusLine("trace", record.traceId));
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
  const { effectiveResources: resources, usage, result } = record;
  if (resources === undefined) return [];
  const used = (text: string | undefined) => (usage === undefined || text === undefined ? "" : ` (${text})`);
  const cpuTime =
    usage?.cpuTime === undefined ? undefined : `${formatMillis(durationToMillis(usage.cpuTime))} used`;
  const parts = [
    `${Number(resources.cpuMillis) / 1000} CPU${used(cpuTime)}`,
    `${formatBytes(resources.ramBytes)} RAM${used(formatBytes(usage?.peakRamBytes ?? 0n))}`,
    `${formatBytes(resources.storageBytes)} disk${used(formatBytes(usage?.peakStorageBytes ?? 0n))}`,
  ];
  if (resources.gpuCount > 0) parts.push(`${resources.gpuCount} GPU`);
  const lines = [statusLine("limits", parts.join(" · "))];
  if (usage !== undefined) {
    const output = formatBytes((result?.stdoutBytes ?? 0n) + (result?.stderrBytes ?? 0n));
    lines.push(continuation(`${usage.peakProcesses} processes at most · ${output} of output`));
  }
  return lines;
}
