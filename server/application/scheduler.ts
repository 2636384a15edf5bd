import type { Hold, Shortage } from "../domain/capacity.ts";
import type { Limit } from "../domain/limits.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import { formatSize, type Resources } from "../domain/resources.ts";
import type { Task, Wait } from "../domain/task.ts";
import { Changes } from "./changes.ts";
import type { EngineHost, EngineHosts } from "./engine-host.ts";
import { factsOf } from "./log-facts.ts";

/** After so many younger tasks went past a blocked one, nothing goes past it any more. */
const MOST_OVERTAKEN = 16;
/** Watchers of the first places are told when the queue moves; further back the place is read when a snapshot is. */
const TOLD_PLACES = 100;

interface Queued {
  readonly task: Task;
  readonly host: EngineHost;
  readonly since: Date;
  /** Tasks of one demand fit or do not fit together. */
  readonly demand: string;
  overtaken: number;
}

/** Who asked that nothing starts; each takes back only its own word. */
export type PausedBy = "shutdown" | "disk";

export type Launch = (task: Task, host: EngineHost, hold: Hold) => void;

/**
 * Starts queued tasks when what they ask for is free: by priority, then age. A pass runs when something was queued or given back,
 * never on a clock. Smaller tasks may go past one that does not fit, but not for ever.
 */
export class Scheduler {
  readonly #launch: Launch;
  readonly #tell: (taskId: string) => void;
  readonly #log: Log;
  readonly #clock: () => Date;
  readonly #hosts: EngineHosts;
  readonly #queue: Queued[] = [];
  readonly #byId = new Map<string, Queued>();
  /** How many are queued of each demand. */
  readonly #demands = new Map<string, number>();
  /** What the latest pass over the whole queue found short. While nothing is given back, it stays so. */
  #shortages = new Map<string, Shortage>();
  /** Queued since the latest pass. */
  #fresh: Queued[] = [];
  /** Something else happened since, and the whole queue has to be looked at. */
  #stale = false;
  /** Overtaken so often that nothing goes past them. */
  readonly #held = new Set<Queued>();
  readonly changes = new Changes();
  readonly #paused = new Map<PausedBy, string>();
  /** Engines that could not start anything, with what they said. */
  readonly #suspended = new Map<string, string>();
  #scheduled = false;

  constructor(deps: {
    hosts: EngineHosts;
    launch: Launch;
    tell: (taskId: string) => void;
    log: Log;
    clock: () => Date;
  }) {
    this.#hosts = deps.hosts;
    this.#launch = deps.launch;
    this.#tell = deps.tell;
    this.#log = deps.log;
    this.#clock = deps.clock;
  }

  get queuedCount(): number {
    return this.#queue.length;
  }

  has(taskId: string): boolean {
    return this.#byId.has(taskId);
  }

  enqueue(task: Task): void {
    const host = this.#hosts.get(task.spec.engine);
    const demand = demandOf(task, host);
    const entry: Queued = { task, host, since: this.#clock(), demand, overtaken: 0 };
    this.#queue.splice(this.#place(task), 0, entry);
    this.#byId.set(task.id, entry);
    this.#demands.set(demand, (this.#demands.get(demand) ?? 0) + 1);
    this.#fresh.push(entry);
    this.#schedule();
  }

  /** Takes a task out of the queue; false when it is not there, because it was started or never queued. */
  remove(taskId: string): boolean {
    const entry = this.#byId.get(taskId);
    if (entry === undefined) return false;
    this.#take(entry);
    this.wake();
    return true;
  }

  giveBack(host: EngineHost, taskId: string): void {
    host.ledger.giveBack(taskId);
    this.wake();
  }

  /** Starts nothing more until resumed; queued tasks say why. */
  pause(by: PausedBy, reason: string): void {
    this.#paused.set(by, reason);
    this.wake();
  }

  resume(by: PausedBy): void {
    if (this.#paused.delete(by)) this.wake();
  }

  get pausedReason(): string | undefined {
    return this.#paused.values().next().value;
  }

  /** Starts nothing more on one engine; tasks of others go past. */
  suspend(engineName: string, reason: string): void {
    this.#suspended.set(engineName, reason);
    this.wake();
  }

  unsuspend(engineName: string): void {
    if (this.#suspended.delete(engineName)) this.wake();
  }

  /** A pass at the end of this turn of the event loop; any number of calls make one pass. */
  wake(): void {
    this.#stale = true;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#pass();
    });
  }

  /** Why a queued task waits; undefined when it is not in the queue. */
  waitOf(taskId: string): Wait | undefined {
    const entry = this.#byId.get(taskId);
    if (entry === undefined) return undefined;
    const position = this.#place(entry.task) + 1;
    const common = {
      position,
      since: entry.since,
      limit: null,
      needed: 0,
      available: 0,
      blockingTaskIds: [],
    };
    const { pausedReason } = this;
    if (pausedReason !== undefined) return { ...common, kind: "PAUSED", message: pausedReason };
    const suspended = this.#suspended.get(entry.host.engine.name);
    if (suspended !== undefined) return { ...common, kind: "ENGINE", message: suspended };
    const shortage = this.#shortages.get(entry.demand);
    if (shortage === undefined) {
      return {
        ...common,
        kind: "CAPACITY",
        message: position === 1 ? "next to start" : "waiting for its turn",
      };
    }
    return {
      ...common,
      kind: "CAPACITY",
      limit: shortage.limit,
      needed: shortage.needed,
      available: shortage.available,
      message: describeShortage(shortage, entry.host.ledger.foreign),
    };
  }

  #pass(): void {
    const fresh = this.#fresh.filter((entry) => this.#byId.get(entry.task.id) === entry);
    const all = this.#stale || this.#held.size > 0;
    this.#fresh = [];
    this.#stale = false;
    const firstMoved = all ? 0 : Math.min(...fresh.map((entry) => this.#place(entry.task)));
    if (this.pausedReason === undefined) {
      if (all) this.#startWhatFits();
      else this.#startFresh(fresh);
    }
    for (const entry of this.#queue.slice(firstMoved, TOLD_PLACES)) this.#tell(entry.task.id);
    for (const { engine, ledger } of this.#hosts.all()) {
      // What idle sandboxes hold is real memory: they have what attempts leave.
      engine.limitWarm(ledger.free.ramBytes);
      this.changes.tell(engine.name);
    }
  }

  /** Nothing was given back: whoever waited before still does, and only newcomers may fit. */
  #startFresh(fresh: readonly Queued[]): void {
    const inOrder =
      fresh.length > 1 ? fresh.toSorted((a, b) => (goesBefore(a.task, b.task) ? -1 : 1)) : fresh;
    for (const entry of inOrder) {
      if (this.#held.size > 0) return;
      if (this.#suspended.has(entry.host.engine.name) || this.#shortages.has(entry.demand)) continue;
      this.#tryStart(entry, this.#shortages);
    }
  }

  #startWhatFits(): void {
    const blocked = new Map<string, Shortage>();
    this.#shortages = blocked;
    // Once something of every demand was found blocked, so is all the rest.
    for (let index = 0; index < this.#queue.length && blocked.size < this.#demands.size; ) {
      const entry = this.#queue[index];
      if (entry === undefined) return;
      const passedBy = this.#suspended.has(entry.host.engine.name);
      if (!passedBy && !blocked.has(entry.demand) && this.#tryStart(entry, blocked)) continue;
      if (!passedBy && this.#held.has(entry)) return;
      index++;
    }
  }

  #tryStart(entry: Queued, blocked: Map<string, Shortage>): boolean {
    const first = this.#queue[0];
    const shortage = this.#start(entry);
    if (shortage !== undefined) {
      blocked.set(entry.demand, shortage);
      return false;
    }
    if (first !== undefined && first !== entry && ++first.overtaken >= MOST_OVERTAKEN) this.#held.add(first);
    return true;
  }

  #start(entry: Queued): Shortage | undefined {
    const { task } = entry;
    const hold = entry.host.ledger.tryHold(task.id, task.limits, task.spec.resources?.gpuModel);
    if (!("resources" in hold)) return hold;
    this.#take(entry);
    this.#log.debug("task starts", { ...factsOf(task), engine: entry.host.engine.name });
    this.#launch(entry.task, entry.host, hold);
    return undefined;
  }

  #take(entry: Queued): void {
    this.#byId.delete(entry.task.id);
    const place = this.#place(entry.task);
    if (this.#queue[place] !== entry)
      throw new Error(`task ${entry.task.id} is not at its place in the queue`);
    this.#queue.splice(place, 1);
    this.#held.delete(entry);
    const left = (this.#demands.get(entry.demand) ?? 0) - 1;
    if (left > 0) this.#demands.set(entry.demand, left);
    else this.#demands.delete(entry.demand);
  }

  /** Where a task stands or would stand: the order is total, so the same search finds and places. */
  #place(task: Task): number {
    let low = 0;
    let high = this.#queue.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const other = this.#queue[middle];
      if (other !== undefined && goesBefore(other.task, task)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function demandOf(task: Task, host: EngineHost): string {
  const { cpuMillis, ramBytes, storageBytes, gpuCount } = task.limits;
  const gpuModel = task.spec.resources?.gpuModel ?? "";
  return `${host.engine.name} ${cpuMillis} ${ramBytes} ${storageBytes} ${gpuCount} ${gpuModel}`;
}

function goesBefore(a: Task, b: Task): boolean {
  return a.spec.priority !== b.spec.priority ? a.spec.priority > b.spec.priority : a.id < b.id;
}

function describeShortage({ limit, needed, available }: Shortage, foreign: Resources): string {
  const others = new Map<Limit, number>([
    ["CPU", foreign.cpuMillis],
    ["RAM", foreign.ramBytes],
    ["GPU", foreign.gpuCount],
  ]).get(limit);
  const held = others ? `; other containers on this host hold ${amount(limit, others)}` : "";
  return `waiting for ${amount(limit, needed)} (${amount(limit, available)} free${held})`;
}

function amount(limit: Limit, value: number): string {
  switch (limit) {
    case "CPU":
      return `${value / 1000} CPU`;
    case "RAM":
      return `${formatSize(value)} RAM`;
    case "STORAGE":
      return `${formatSize(value)} storage`;
    default:
      return `${value} ${limit}`;
  }
}
