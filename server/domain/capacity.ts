import type { Limit } from "./limits.ts";
import type { Resources } from "./resources.ts";

export const NO_RESOURCES: Resources = { cpuMillis: 0, ramBytes: 0, storageBytes: 0, gpuCount: 0 };

const LIMIT_OF = [
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

/** What containers that are not ours hold on the same host. */
export interface ForeignLoad {
  readonly resources: Resources;
  readonly gpuIds: readonly string[];
}

/** What a task holds while it starts and runs. */
export interface Hold {
  readonly taskId: string;
  readonly resources: Resources;
  readonly gpuIds: readonly string[];
}

/**
 * What starting and running attempts hold against the host. A hold is made once and given back once; giving back
 * what is not held is a fault of ours and throws.
 */
export class CapacityLedger {
  #total: Resources;
  #reserve: Resources;
  #gpus: readonly Gpu[];
  #largestHost: Resources;
  readonly #holds = new Map<string, Hold>();
  /** How many holds each GPU is in. */
  readonly #heldGpus = new Map<string, number>();
  /** Free GPUs by the model asked for, kept until one is taken or given back: there may be thousands, and each pass asks. */
  readonly #freeGpus = new Map<string, readonly string[]>();
  #held: Resources = NO_RESOURCES;
  #foreign: ForeignLoad = { resources: NO_RESOURCES, gpuIds: [] };
  /** Asked for once per queued task and pass, so that it is kept until something changes. */
  #free: Resources | undefined;

  /** `largestHost`: the most that one of several hosts has, where `total` is what all of them have. */
  constructor(total: Resources, reserve: Resources, gpus: readonly Gpu[] = [], largestHost = total) {
    this.#total = total;
    this.#largestHost = largestHost;
    this.#reserve = reserve;
    this.#gpus = gpus;
  }

  /** The host has told what it has; what is held of it stays held. */
  measure(total: Resources, reserve: Resources, gpus: readonly Gpu[], largestHost = total): void {
    this.#total = total;
    this.#largestHost = largestHost;
    this.#reserve = reserve;
    this.#gpus = gpus;
    this.#free = undefined;
  }

  get total(): Resources {
    return this.#total;
  }

  get reserve(): Resources {
    return this.#reserve;
  }

  get held(): Resources {
    return this.#held;
  }

  /** Held by containers that are not ours. */
  get foreign(): Resources {
    return this.#foreign.resources;
  }

  noteForeign(load: ForeignLoad): void {
    this.#foreign = load;
    this.#free = undefined;
    this.#freeGpus.clear();
  }

  get holdCount(): number {
    return this.#holds.size;
  }

  /** The most one task may ask for: never compared with what is free. */
  get largest(): Resources {
    return subtractResources(this.#largestHost, this.#reserve);
  }

  get free(): Resources {
    this.#free ??= subtractResources(
      this.#total,
      addResources(this.#reserve, addResources(this.#held, this.foreign)),
    );
    return this.#free;
  }

  /** How many GPUs of a model there are; all of them where "" takes any. */
  gpuCount(model: string): number {
    return this.#gpus.filter((gpu) => model === "" || gpu.model === model).length;
  }

  /** Holds the resources, with whole GPUs of the model asked for, or tells what is short. */
  tryHold(taskId: string, resources: Resources, gpuModel = ""): Hold | Shortage {
    return this.shortage(resources, gpuModel) ?? this.hold(taskId, resources, gpuModel);
  }

  /** What is short of holding the resources now; undefined when nothing is. */
  shortage(resources: Resources, gpuModel = ""): Shortage | undefined {
    const { free } = this;
    for (const [key, limit] of LIMIT_OF)
      if (resources[key] > free[key]) return { limit, needed: resources[key], available: free[key] };
    const { gpuCount } = resources;
    const available = gpuCount === 0 ? 0 : this.#freeGpusOf(gpuModel).length;
    return available < gpuCount ? { limit: "GPU", needed: gpuCount, available } : undefined;
  }

  /** Holds what is not short, with whole GPUs of the model asked for. */
  hold(taskId: string, resources: Resources, gpuModel = ""): Hold {
    if (this.#holds.has(taskId)) throw new Error(`task ${taskId} already holds resources`);
    const gpuIds = resources.gpuCount === 0 ? [] : this.#freeGpusOf(gpuModel).slice(0, resources.gpuCount);
    return this.#take({ taskId, resources, gpuIds });
  }

  /** Takes up a hold from before a restart, whether or not it fits: it is running. */
  adopt(hold: Hold): void {
    if (!this.#holds.has(hold.taskId)) this.#take(hold);
  }

  giveBack(taskId: string): void {
    const hold = this.#holds.get(taskId);
    if (hold === undefined) throw new Error(`task ${taskId} holds nothing`);
    this.#holds.delete(taskId);
    this.#countGpus(hold, -1);
    this.#held = subtractResources(this.#held, hold.resources);
    this.#free = undefined;
  }

  holds(taskId: string): boolean {
    return this.#holds.has(taskId);
  }

  #take(hold: Hold): Hold {
    this.#holds.set(hold.taskId, hold);
    this.#countGpus(hold, 1);
    this.#held = addResources(this.#held, hold.resources);
    this.#free = undefined;
    return hold;
  }

  #countGpus({ gpuIds }: Hold, by: 1 | -1): void {
    for (const id of gpuIds) this.#heldGpus.set(id, (this.#heldGpus.get(id) ?? 0) + by);
    if (gpuIds.length > 0) this.#freeGpus.clear();
  }

  #freeGpusOf(model: string): readonly string[] {
    const known = this.#freeGpus.get(model);
    if (known !== undefined) return known;
    const foreign = new Set(this.#foreign.gpuIds);
    const free = this.#gpus
      .filter(({ id }) => !foreign.has(id) && (this.#heldGpus.get(id) ?? 0) === 0)
      .flatMap((gpu) => (model === "" || gpu.model === model ? [gpu.id] : []));
    this.#freeGpus.set(model, free);
    return free;
  }
}
