import {
  type Capacity,
  durationToMillis,
  type EffectiveResources,
  stateName,
  type TaskRecord,
} from "@longshore/client";
import { formatBytes, formatMillis, formatTable, printable } from "./format.ts";
import { describeWait, describeWhat } from "./summary.ts";

/** Everything at one moment. */
export interface Picture {
  readonly capacity: Capacity;
  /** Those that were started first, then the queue. */
  readonly tasks: readonly TaskRecord[];
  readonly totalCount: number;
}

const BAR_CELLS = 30;
/** Told apart by shape: colour must never be the only signal. */
const CELLS = { held: "█", foreign: "▓", reserve: "▒", free: "░" } as const;

type Amount = (resources: EffectiveResources) => number;

const RESOURCES: readonly (readonly [string, Amount, (amount: number) => string])[] = [
  ["CPU", ({ cpuMillis }) => Number(cpuMillis), (millis) => String(millis / 1000)],
  ["RAM", ({ ramBytes }) => Number(ramBytes), formatBytes],
  ["disk", ({ storageBytes }) => Number(storageBytes), formatBytes],
  ["GPU", ({ gpuCount }) => gpuCount, String],
];

/** Lines of a picture; keeps the one before, to tell how fast CPU time is used. */
export class Board {
  #rates = new Map<string, { readonly cpu: number; readonly time: number }>();
  #shown = new Map<string, string>();

  lines(picture: Picture, now: Date): string[] {
    const started = picture.tasks.filter((task) => stateName(task.state) !== "queued");
    const queued = picture.tasks.filter((task) => stateName(task.state) === "queued");
    const { capacity } = picture;
    const lines = [
      `${capacity.running} running · ${capacity.queued} queued · ${capacity.warm} warm   (${picture.totalCount} yours)`,
      ...bars(capacity),
      "",
      ...this.#startedTable(started, now),
      "",
      ...queuedTable(queued, now),
    ];
    const more = picture.totalCount - picture.tasks.length;
    return more > 0 ? [...lines, `and ${more} more`] : lines;
  }

  #startedTable(tasks: readonly TaskRecord[], now: Date): string[] {
    if (tasks.length === 0) return ["nothing of yours runs"];
    const header = ["ID", "STATE", "TIME", "CPU", "PEAK RAM", "PEAK DISK", "OUTPUT", "WHAT"];
    const rows = tasks.map((task) => {
      const { usage, effectiveResources: resources } = task;
      const of = (used: bigint, limit: bigint | undefined) =>
        usage === undefined ? "" : `${formatBytes(used)} of ${formatBytes(limit ?? 0n)}`;
      return [
        task.id,
        stateName(task.state),
        runTime(task, now),
        `${this.#cpus(task)} of ${Number(resources?.cpuMillis ?? 0n) / 1000}`,
        of(usage?.peakRamBytes ?? 0n, resources?.ramBytes),
        of(usage?.peakStorageBytes ?? 0n, resources?.storageBytes),
        usage === undefined ? "" : formatBytes(usage.logBytes),
        printable(describeWhat(task)),
      ];
    });
    this.#forgetAllBut(tasks);
    return formatTable([header, ...rows]);
  }

  /** CPUs in use since the sample before; over the whole run at first. */
  #cpus({ id, usage }: TaskRecord): string {
    const cpu = usage?.cpuTime === undefined ? 0 : durationToMillis(usage.cpuTime);
    const time = usage?.chargedTime === undefined ? 0 : durationToMillis(usage.chargedTime);
    const before = this.#rates.get(id) ?? { cpu: 0, time: 0 };
    if (time > before.time) {
      this.#shown.set(id, (Math.max(0, cpu - before.cpu) / (time - before.time)).toFixed(2));
      this.#rates.set(id, { cpu, time });
    }
    return this.#shown.get(id) ?? "?";
  }

  #forgetAllBut(tasks: readonly TaskRecord[]): void {
    const present = new Set(tasks.map(({ id }) => id));
    for (const id of this.#rates.keys()) {
      if (present.has(id)) continue;
      this.#rates.delete(id);
      this.#shown.delete(id);
    }
  }
}

function bars(capacity: Capacity): string[] {
  const { total, held, foreign, reserve } = capacity;
  if (total === undefined) return [];
  return RESOURCES.flatMap(([name, amount, show]) => {
    const all = amount(total);
    if (all === 0) return [];
    const part = (resources: EffectiveResources | undefined) =>
      resources === undefined ? 0 : amount(resources);
    const parts = { held: part(held), foreign: part(foreign), reserve: part(reserve) };
    const notes = [`${show(parts.held)} of ${show(all)} held`];
    if (parts.foreign > 0) notes.push(`others hold ${show(parts.foreign)}`);
    if (parts.reserve > 0) notes.push(`${show(parts.reserve)} kept back`);
    return [`${name.padEnd(5)}${bar(parts, all)}  ${notes.join(" · ")}`];
  });
}

function bar(parts: Readonly<Record<"held" | "foreign" | "reserve", number>>, all: number): string {
  let text = "";
  let sum = 0;
  for (const name of ["held", "foreign", "reserve"] as const) {
    sum += parts[name];
    // Little is not nothing.
    const least = parts[name] > 0 ? text.length + 1 : 0;
    const end = Math.min(BAR_CELLS, Math.max(least, Math.round((sum / all) * BAR_CELLS)));
    text = text.padEnd(end, CELLS[name]);
  }
  return text.padEnd(BAR_CELLS, CELLS.free);
}

function queuedTable(tasks: readonly TaskRecord[], now: Date): string[] {
  if (tasks.length === 0) return ["nothing of yours waits"];
  const rows = tasks.map(({ id, wait, createTime, ...task }) => [
    wait === undefined || wait.position === 0 ? "-" : String(wait.position),
    id,
    since(wait?.since ?? createTime, now),
    wait === undefined ? "" : describeWait({ ...wait, position: 0 }),
    printable(describeWhat(task)),
  ]);
  return formatTable([["#", "ID", "WAITS", "FOR", "WHAT"], ...rows]);
}

/** Time in state RUNNING, going on between two samples. */
function runTime(task: TaskRecord, now: Date): string {
  const run = task.stages.findLast((stage) => stage.endTime === undefined && stage.startTime !== undefined);
  if (stateName(task.state) !== "running" || run === undefined) {
    const elapsed = durationToMillis(task.elapsed);
    return elapsed === 0 ? "" : formatMillis(elapsed);
  }
  return since(task.startTime, now);
}

function since(time: Date | undefined, now: Date): string {
  return time === undefined ? "" : formatMillis(Math.max(0, now.getTime() - time.getTime()));
}
