import {
  durationToMillis,
  type EffectiveResources,
  isTerminal,
  networkName,
  outcomeOf,
  type Stage,
  stageName,
  type TaskRecord,
  type Wait,
} from "@longshore/client";
import { withFlags } from "./flags.ts";
import { formatBytes, formatMillis, formatOrdinal, printable } from "./format.ts";
import { formatMoney } from "./money.ts";
import { continuation, statusLine } from "./status-line.ts";
import type { Terminal } from "./terminal.ts";

export function describeWait(wait: Wait): string {
  const text = wait.message === "" ? "waiting" : printable(wait.message);
  const place =
    wait.position > 0 && !text.includes("in line") ? `, ${formatOrdinal(wait.position)} in line` : "";
  return `${text}${place}`;
}

/** "2 CPU · 1 GB RAM · 2 GB disk · 1 GPU". */
export function describeResources(resources: EffectiveResources): string {
  const parts = [
    `${Number(resources.cpuMillis) / 1000} CPU`,
    `${formatBytes(resources.ramBytes)} RAM`,
    `${formatBytes(resources.storageBytes)} disk`,
  ];
  if (resources.gpuCount > 0) parts.push(`${resources.gpuCount} GPU`);
  return parts.join(" · ");
}

/** What is run, in few words. */
export function describeWhat({ spec, archiveSha256 }: Pick<TaskRecord, "spec" | "archiveSha256">): string {
  if (spec === undefined) return "";
  if (spec.displayName !== "") return spec.displayName;
  if (spec.command.length > 0) return spec.command.join(" ");
  if (spec.entrypoint !== "") return spec.entrypoint;
  return archiveSha256 === "" ? "snippet" : `archive ${archiveSha256.slice(0, 12)}`;
}

/** What the latest attempt runs in. */
export function describeSandbox(record: TaskRecord): string {
  const attempt = record.attempts.at(-1);
  const parts: string[] = [];
  if (attempt !== undefined && attempt.number > 1) parts.push(`attempt ${attempt.number}`);
  if (attempt !== undefined) parts.push(attempt.warm ? "warm sandbox" : "new sandbox");
  if (record.effectiveResources !== undefined) {
    const network = describeNetwork(record.spec);
    parts.push(`${describeResources(record.effectiveResources)} · ${network}`);
  }
  return parts.join(", ");
}

function describeNetwork(spec: TaskRecord["spec"]): string {
  const asked = spec === undefined ? "none" : networkName(spec.network);
  if (asked === "egress") return "network out";
  return asked !== "none" && spec?.experiment !== undefined ? "tracking server only" : "no network";
}

/** "$0.0031  = 2 CPU × 41.3 s + 1 GB RAM × 41.3 s + 2 GB disk × 41.3 s"; undefined where nothing has a price. */
export function describeCharge(record: TaskRecord): string | undefined {
  const { cost, usage, effectiveResources: resources } = record;
  if (cost === undefined || resources === undefined) return undefined;
  const charged = durationToMillis(usage?.chargedTime);
  if (!isTerminal(record)) return `${formatMoney(cost)} so far`;
  if (charged === 0) return formatMoney(cost);
  const terms = describeResources(resources)
    .split(" · ")
    .map((amount) => `${amount} × ${formatMillis(charged)}`);
  return `${formatMoney(cost)}  = ${terms.join(" + ")}`;
}

export function environmentStage(record: TaskRecord): Stage | undefined {
  return record.stages.find((stage) => stageName(stage.name) === "environment");
}

/** The packages first, then where they came from: "cached: six==1.16.0" is for the record. */
export function describeEnvironment(note: string): string {
  const [, how, packages] = /^(cached|built in [\d.]+ s): (.*)$/.exec(note) ?? [];
  return how === undefined ? note : `${packages}  ${how}`;
}

/** How it ended and what it took, in one or a few lines. */
export function describeEnd(record: TaskRecord, terminal: Terminal): string[] {
  const outcome = outcomeOf(record);
  if (outcome.succeeded)
    return [terminal.style("green", statusLine("succeeded", describeUse(record).join("  ·  ")))];
  const label = outcome.state === "cancelled" ? "cancelled" : "failed";
  const message =
    outcome.message === "" ? outcome.reason.toLowerCase().replaceAll("_", " ") : outcome.message;
  const lines = [
    terminal.style(label === "failed" ? "red" : "yellow", statusLine(label, printable(message))),
  ];
  if (outcome.advice !== "") lines.push(continuation(withFlags(printable(outcome.advice))));
  const use = describeUse(record);
  if (use.length > 0) lines.push(continuation(use.join("  ·  ")));
  return lines;
}

function describeUse(record: TaskRecord): string[] {
  // Nothing was used.
  if (record.cachedFrom !== "") return [`cached from ${record.cachedFrom}`];
  const parts: string[] = [];
  const { elapsed, usage, cost, effectiveResources } = record;
  const elapsedMillis = elapsed === undefined ? 0 : durationToMillis(elapsed);
  // None where it ended before it ran.
  if (elapsedMillis > 0) parts.push(`in ${formatMillis(elapsedMillis)}`);
  if (usage?.cpuTime !== undefined) parts.push(`cpu ${formatMillis(durationToMillis(usage.cpuTime))}`);
  if (usage !== undefined && usage.peakRamBytes > 0n) {
    const limit = effectiveResources === undefined ? "" : ` of ${formatBytes(effectiveResources.ramBytes)}`;
    parts.push(`peak RAM ${formatBytes(usage.peakRamBytes)}${limit}`);
  }
  if (cost !== undefined) parts.push(formatMoney(cost));
  return parts;
}
