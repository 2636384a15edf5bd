import { GIBIBYTE } from "#server/domain/resources.ts";
import type { Task } from "#server/domain/task.ts";
import { sampleTask } from "../support/sample-task.ts";
import type { Random } from "./random.ts";

export interface Shape {
  readonly name: string;
  /** Of all tasks. */
  readonly share: number;
  readonly cpus: number;
  readonly ramGib: number;
  readonly meanSeconds: number;
  readonly gpus?: number;
}

export interface Share<T> {
  readonly value: T;
  readonly share: number;
}

export interface Workload {
  readonly shapes: readonly Shape[];
  readonly tenants: readonly Share<string>[];
  readonly priorities: readonly Share<number>[];
  /** CPU time asked for, over what there is. */
  readonly load: number;
  readonly minutes: number;
  /** Each task asks for a little more or less memory than any other, so that none stands for the rest. */
  readonly unlike?: boolean;
}

/** What people run beside each other on shared machines: many snippets, few trainings, and now and then one that takes a whole machine. */
export const MIXED: readonly Shape[] = [
  { name: "small", share: 70, cpus: 1, ramGib: 0.5, meanSeconds: 20 },
  { name: "medium", share: 20, cpus: 2, ramGib: 4, meanSeconds: 120 },
  { name: "large", share: 9, cpus: 8, ramGib: 32, meanSeconds: 300 },
  { name: "whole", share: 1, cpus: 16, ramGib: 64, meanSeconds: 300 },
];

export const EQUAL_TENANTS: readonly Share<string>[] = Array.from({ length: 20 }, (_, place) => ({
  value: `tenant-${place}`,
  share: 1,
}));

export const THREE_PRIORITIES: readonly Share<number>[] = [
  { value: 10, share: 10 },
  { value: 0, share: 80 },
  { value: -10, share: 10 },
];

/** Of the CPU time that one task takes, in seconds. */
function meanWork(shapes: readonly Shape[]): number {
  const shares = shapes.reduce((sum, { share }) => sum + share, 0);
  return shapes.reduce((sum, each) => sum + (each.share * each.cpus * each.meanSeconds) / shares, 0);
}

/** Between two arrivals, for this load of so many CPUs. */
export function meanGapMillis({ shapes, load }: Workload, cpus: number): number {
  return (1000 * meanWork(shapes)) / (cpus * load);
}

export interface Arrival {
  readonly task: Task;
  readonly shape: Shape;
  readonly runMillis: number;
}

/** Four of five programs have run before, so that their length is known but for a factor of two. */
const KNOWN = 0.8;

export function drawTask(random: Random, workload: Workload, place: number, now: number): Arrival {
  const shape = random.pick(workload.shapes);
  const runMillis = Math.max(100, random.longTailed(shape.meanSeconds * 1000));
  const expectedMillis = random.next() < KNOWN ? runMillis * 2 ** (random.next() * 2 - 1) : null;
  const task = taskOf(place, now, shape, {
    tenant: random.pick(workload.tenants).value,
    priority: random.pick(workload.priorities).value,
    expectedMillis,
  });
  if (workload.unlike !== true) return { shape, runMillis, task };
  const limits = { ...task.limits, ramBytes: task.limits.ramBytes - (place % 2 ** 20) };
  return { shape, runMillis, task: { ...task, limits } };
}

export function taskOf(
  place: number,
  now: number,
  shape: Shape,
  {
    tenant,
    priority,
    expectedMillis,
    engine = "",
  }: { tenant: string; priority: number; expectedMillis: number | null; engine?: string },
): Task {
  const sample = sampleTask(
    place,
    { tenant, expectedMillis, createTime: new Date(now) },
    { priority, engine },
  );
  const limits = {
    ...sample.limits,
    cpuMillis: shape.cpus * 1000,
    ramBytes: shape.ramGib * GIBIBYTE,
    gpuCount: shape.gpus ?? 0,
    runMillis: 24 * 3600_000,
  };
  return { ...sample, limits };
}
