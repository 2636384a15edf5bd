import type { Limit } from "./limits.ts";
import type { Resources } from "./resources.ts";

export const NO_RESOURCES: Resources = { cpuMillis: 0, ramBytes: 0, storageBytes: 0, gpuCount: 0 };

export const LIMIT_OF = [
  ["cpuMillis", "CPU"],
  ["ramBytes", "RAM"],
  ["storageBytes", "STORAGE"],
  ["gpuCount", "GPU"],
] as const satisfies readonly (readonly [keyof Resources, Limit])[];

/** The first resource that is short. */
export interface Shortage {
  readonly limit: Limit;
  readonly needed: number;
  readonly available: number;
}

export function addResources(a: Resources, b: Resources): Resources {
  return combine(a, b, (x, y) => x + y);
}

/** a - b, never below 0. */
export function subtractResources(a: Resources, b: Resources): Resources {
  return combine(a, b, (x, y) => Math.max(0, x - y));
}

function combine(a: Resources, b: Resources, f: (x: number, y: number) => number): Resources {
  return {
    cpuMillis: f(a.cpuMillis, b.cpuMillis),
    ramBytes: f(a.ramBytes, b.ramBytes),
    storageBytes: f(a.storageBytes, b.storageBytes),
    gpuCount: f(a.gpuCount, b.gpuCount),
  };
}

/** The part of a host that a task takes: of whatever it takes most of, relative to what there is. */
export function dominantShare(resources: Resources, total: Resources): number {
  return Math.max(...LIMIT_OF.map(([key]) => (total[key] === 0 ? 0 : resources[key] / total[key])));
}

/** Every resource of which `needed` asks for more than is available. */
export function shortages(needed: Resources, available: Resources): Shortage[] {
  return LIMIT_OF.filter(([key]) => needed[key] > available[key]).map(([key, limit]) => ({
    limit,
    needed: needed[key],
    available: available[key],
  }));
}

export interface Gpu {
  /** As the engine names the device. */
  readonly id: string;
  readonly model: string;
}

/** One of several hosts that an engine places sandboxes on. */
export interface HostRoom {
  /** What others leave of it. */
  readonly resources: Resources;
  /** Tasks of ours that are on it. */
  readonly taskIds: readonly string[];
}

/** An engine's hosts one by one: a task runs on one of them, and may fit none although all together have enough left. */
export interface HostRooms {
  readonly hosts: readonly HostRoom[];
  /** What each sandbox takes besides what its task may use. */
  readonly each: Resources;
}

/** What containers that are not ours hold on the same host, or on the hosts of a cluster. */
export interface ForeignLoad {
  readonly resources: Resources;
  readonly gpuIds: readonly string[];
  /** Of an engine with several hosts, where it can tell them apart. */
  readonly rooms?: HostRooms;
}

/** What a task holds while it starts and runs. */
export interface Hold {
  readonly taskId: string;
  readonly resources: Resources;
  readonly gpuIds: readonly string[];
}
