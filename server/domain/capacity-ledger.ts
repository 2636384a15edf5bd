import {
  addResources,
  type ForeignLoad,
  type Gpu,
  type Hold,
  LIMIT_OF,
  NO_RESOURCES,
  type Shortage,
  subtractResources,
} from "./capacity.ts";
import { roomShortage, roomsFor } from "./host-rooms.ts";
import type { Resources } from "./resources.ts";

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
  #rooms: readonly Resources[] | undefined;

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
    this.#freeGpus.clear();
    this.#forget();
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
    this.#freeGpus.clear();
    this.#forget();
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
    if (available < gpuCount) return { limit: "GPU", needed: gpuCount, available };
    const { rooms } = this.#foreign;
    if (rooms === undefined) return undefined;
    this.#rooms ??= roomsFor(rooms, this.#holds.values());
    return roomShortage(this.#rooms, resources);
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
    this.#forget();
  }

  holds(taskId: string): boolean {
    return this.#holds.has(taskId);
  }

  #forget(): void {
    this.#free = undefined;
    this.#rooms = undefined;
  }

  #take(hold: Hold): Hold {
    this.#holds.set(hold.taskId, hold);
    this.#countGpus(hold, 1);
    this.#held = addResources(this.#held, hold.resources);
    this.#forget();
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
