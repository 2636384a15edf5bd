import { type Stage, stageName } from "@longshore/client";
import { formatMillis, printable } from "./format.ts";

const BAR_WIDTH = 36;

/** The stages of a task as bars on one time axis: where the time went, at a glance and in figures. */
export function timeline(stages: readonly Stage[], now: Date): string[] {
  const begun = stages.filter((stage) => stage.startTime !== undefined);
  if (begun.length === 0) return [];
  const starts = begun.map((stage) => stage.startTime?.getTime() ?? 0);
  const ends = begun.map((stage) => (stage.endTime ?? now).getTime());
  const first = Math.min(...starts);
  const length = Math.max(1, Math.max(...ends) - first);
  const several = begun.some((stage) => stage.attempt > 1);
  return begun.map((stage, index) => {
    const from = Math.round(((starts[index] ?? first) - first) * (BAR_WIDTH / length));
    const to = Math.round(((ends[index] ?? first) - first) * (BAR_WIDTH / length));
    // Every stage that happened is seen, however short it was.
    const bar = "█".repeat(Math.max(1, Math.min(BAR_WIDTH, to) - Math.min(BAR_WIDTH - 1, from)));
    const shown = `${" ".repeat(Math.min(BAR_WIDTH - 1, from))}${bar}`.slice(0, BAR_WIDTH);
    const took = formatMillis((ends[index] ?? first) - (starts[index] ?? first));
    const name = `${stageName(stage.name)}${several && stage.attempt > 0 ? ` #${stage.attempt}` : ""}`;
    const note = stage.endTime === undefined ? "goes on" : printable(stage.note);
    return `  ${name.padEnd(14)} ▏${shown.padEnd(BAR_WIDTH)} ${took.padStart(9)}   ${note}`.trimEnd();
  });
}
