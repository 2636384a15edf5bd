import type { Hold, Shortage } from "../domain/capacity.ts";
import type { Limit } from "../domain/limits.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import { formatSize, type Resources } from "../domain/resources.ts";
import type { Task, Wait } from "../domain/task.ts";
import { Changes } from "./changes.ts";
import type { EngineHost, EngineHosts } from "./engine-host.ts";

/** After so many younger tasks went past a blocked one, nothing goes past it any more. */
const MOST_OVERTAKEN = 16;
/** Watchers of the first places are told when the queue moves; further back the place is read when a snapshot is. */
const TOLD_PLACES = 100;

interface Queued {
  readonly task: Task;
  readonly host: EngineHost;
  readonly since: Date;
  shortage: Shortage | undefined;
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
    const entry: Queued = {
      task,
      host: this.#hosts.get(task.spec.engine),
      since: this.#clock(),
      shortage: undefined,
      overtaken: 0,
    };
    this.#queue.splice(this.#place(task), 0, entry);
    this.#byId.set(task.id, entry);
    this.wake();
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
    const { shortage } = entry;
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
    if (this.pausedReason === undefined) this.#startWhatFits();
    for (const entry of this.#queue.slice(0, TOLD_PLACES)) this.#tell(entry.task.id);
    for (const { engine, ledger } of this.#hosts.all()) {
      // What idle sandboxes hold is real memory: they have what attempts leave.
      engine.limitWarm(ledger.free.ramBytes);
      this.changes.tell(engine.name);
    }
  }

  #startWhatFits(): void {
    const blocked = new Map<string, Shortage>();
    for (let index = 0; index < this.#queue.length; ) {
      const entry = this.#queue[index];
      if (entry === undefined) return;
      if (this.#suspended.has(entry.host.engine.name)) {
        index++;
        continue;
      }
      const demand = this.#demand(entry);
      const shortage = blocked.get(demand) ?? this.#start(entry);
      if (shortage !== undefined) {
        entry.shortage = shortage;
        blocked.set(demand, shortage);
        if (entry.overtaken >= MOST_OVERTAKEN) return;
        index++;
      } else if (index > 0) {
        const first = this.#queue[0];
        if (first !== undefined) first.overtaken++;
      }
    }
  }

  /** Tasks of one demand fit or do not fit together within a pass. */
  #demand(entry: Queued): string {
    const { cpuMillis, ramBytes, storageBytes, gpuCount } = entry.task.limits;
    const gpuModel = entry.task.spec.resources?.gpuModel ?? "";
    return `${entry.host.engine.name} ${cpuMillis} ${ramBytes} ${storageBytes} ${gpuCount} ${gpuModel}`;
  }

  #start(entry: Queued): Shortage | undefined {
    const { task } = entry;
    const hold = entry.host.ledger.tryHold(task.id, task.limits, task.spec.resources?.gpuModel);
    if (!("resources" in hold)) return hold;
    this.#take(entry);
    this.#log.debug("task starts", { task: entry.task.id, engine: entry.host.engine.name });
    this.#launch(entry.task, entry.host, hold);
    return undefined;
  }

  #take(entry: Queued): void {
    this.#byId.delete(entry.task.id);
    const place = this.#place(entry.task);
    if (this.#queue[place] !== entry)
      throw new Error(`task ${entry.task.id} is not at its place in the queue`);
    this.#queue.splice(place, 1);
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
