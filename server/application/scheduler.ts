import { dominantShare, type Hold, type Shortage } from "../domain/capacity.ts";
import type { FairShare } from "../domain/fair-share.ts";
import type { Limit } from "../domain/limits.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import { queueKey } from "../domain/queue-order.ts";
import type { Task, Wait } from "../domain/task.ts";
import { Changes } from "./changes.ts";
import { describeShortage } from "./describe-wait.ts";
import type { EngineHost, EngineHosts } from "./engine-host.ts";
import { factsOf } from "./log-facts.ts";
import type { TenantQuota } from "./tenant-quota.ts";
import { type Queued, type TenantDemand, WaitingLine } from "./waiting-line.ts";

/** After so many others went past a blocked one on its host, nothing goes past it there any more. */
const MOST_OVERTAKEN = 16;
/** Watchers of the first places are told when the queue moves; further back the place is read when a snapshot is. */
const TOLD_PLACES = 100;
/** Each newcomer looked at by itself asks whose turn it is among all tenants; for more of them, one look at the whole queue is cheaper. */
const MOST_FRESH = 16;

/** Who asked that nothing starts; each takes back only its own word. */
export type PausedBy = "shutdown" | "disk";

/** `waitedFor` is the scarce thing that it last waited for in the queue; null when it did not. */
export type Launch = (task: Task, host: EngineHost, hold: Hold, waitedFor: Limit | null) => void;

/**
 * Starts queued tasks when what they ask for is free, in the order of domain/queue-order.ts: by priority with ageing, then the tenant
 * that has had least, then the shorter, then the older. A pass runs when something was queued or given back, never on a clock.
 * Smaller tasks may go past one that does not fit, but not for ever.
 */
export class Scheduler {
  readonly #launch: Launch;
  readonly #tell: (taskId: string) => void;
  readonly #log: Log;
  readonly #clock: () => Date;
  readonly #hosts: EngineHosts;
  readonly #first: (() => void) | undefined;
  readonly #fairShare: FairShare;
  readonly #quota: TenantQuota | undefined;
  readonly #agingMillis: number;
  readonly #line = new WaitingLine();
  readonly #score = (tenant: string) => this.#fairShare.score(tenant);
  #passCount = 0;
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
    fairShare: FairShare;
    /** Without one tenants may hold what the hosts have. */
    quota?: TenantQuota;
    agingMillis: number;
    launch: Launch;
    tell: (taskId: string) => void;
    /** Before each pass: whoever else wants capacity, and goes before tasks. */
    first?: () => void;
    log: Log;
    clock: () => Date;
  }) {
    this.#hosts = deps.hosts;
    this.#first = deps.first;
    this.#fairShare = deps.fairShare;
    this.#quota = deps.quota;
    this.#agingMillis = deps.agingMillis;
    this.#launch = deps.launch;
    this.#tell = deps.tell;
    this.#log = deps.log;
    this.#clock = deps.clock;
  }

  get queuedCount(): number {
    return this.#line.count;
  }

  has(taskId: string): boolean {
    return this.#line.get(taskId) !== undefined;
  }

  enqueue(task: Task): void {
    const host = this.#hosts.get(task.spec.engine);
    const key = queueKey(task, this.#agingMillis);
    this.#fresh.push(this.#line.add(task, host, this.#clock(), key, demandOf(task, host)));
    this.#schedule();
  }

  /** Takes a task out of the queue; false when it is not there, because it was started or never queued. */
  remove(taskId: string): boolean {
    const entry = this.#line.get(taskId);
    if (entry === undefined) return false;
    this.#take(entry);
    this.wake();
    return true;
  }

  /** Takes up a hold from before a restart. */
  adopt(host: EngineHost, task: Task, hold: Hold): void {
    host.ledger.adopt(hold);
    this.#quota?.hold(task);
    this.#fairShare.hold(task.tenant, task.id, dominantShare(hold.resources, host.ledger.largest));
  }

  giveBack(host: EngineHost, taskId: string): void {
    host.ledger.giveBack(taskId);
    this.#fairShare.giveBack(taskId);
    this.#quota?.giveBack(taskId);
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

  /** Why nothing starts on it; undefined where it does. */
  suspendedReason(engineName: string): string | undefined {
    return this.#suspended.get(engineName);
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
    const entry = this.#line.get(taskId);
    if (entry === undefined) return undefined;
    const { task, host, since } = entry;
    const position = this.#line.countBefore(entry, this.#score) + 1;
    const common = { position, since, limit: null, needed: 0, available: 0, blockingTaskIds: [] };
    const { pausedReason } = this;
    if (pausedReason !== undefined) return { ...common, kind: "PAUSED", message: pausedReason };
    const suspended = this.#suspended.get(host.engine.name);
    if (suspended !== undefined) return { ...common, kind: "ENGINE", message: suspended };
    const quota = this.#quota?.waitOf(task);
    if (quota !== undefined) return { ...common, kind: "QUOTA", ...quota };
    const shortage = host.ledger.shortage(task.limits, task.spec.resources?.gpuModel);
    if (shortage === undefined) {
      const message = position === 1 ? "next to start" : "waiting for its turn";
      return { ...common, kind: "CAPACITY", message };
    }
    const where = host.capabilities.largest === undefined ? "this host" : "the cluster's hosts";
    const message = describeShortage(shortage, host.ledger.foreign, where);
    return { ...common, kind: "CAPACITY", ...shortage, message };
  }

  #pass(): void {
    this.#first?.();
    const fresh = this.#fresh.filter((entry) => this.#line.get(entry.task.id) === entry);
    const all = this.#stale || this.#held.size > 0 || fresh.length > MOST_FRESH;
    this.#fresh = [];
    this.#stale = false;
    if (this.pausedReason === undefined) {
      if (all) this.#startWhatFits();
      else this.#startFresh(fresh);
    }
    this.#tellFirst(all ? 0 : Math.min(...fresh.map((entry) => this.#line.countBefore(entry, this.#score))));
    for (const { engine, ledger } of this.#hosts.all()) {
      // What idle sandboxes hold is real memory: they have what attempts leave.
      engine.limitWarm(ledger.free.ramBytes);
      this.changes.tell(engine.name);
    }
  }

  #tellFirst(from: number): void {
    const walk = this.#line.walk(this.#score);
    for (let place = 0; place < TOLD_PLACES && walk.entry !== undefined; place++) {
      if (place >= from) this.#tell(walk.entry.task.id);
      walk.step();
    }
  }

  /** Nothing was given back: whoever waited before still does, and only newcomers may fit. */
  #startFresh(fresh: readonly Queued[]): void {
    const walk = this.#line.walkOf(fresh, this.#score);
    const now = this.#clock();
    // Once somebody is held, what may start is for a pass over all to say.
    for (let entry = walk.entry; entry !== undefined && this.#held.size === 0; entry = walk.entry) {
      if (this.#isPassedBy(entry) || this.#isShort(entry, now)) {
        walk.step();
        continue;
      }
      const first = this.#firstOn(entry.host);
      this.#start(entry);
      walk.started(true);
      if (first !== undefined && first !== entry) this.#overtake(first);
    }
  }

  #firstOn(host: EngineHost): Queued | undefined {
    const walk = this.#line.walk(this.#score);
    while (walk.entry !== undefined && (walk.entry.host !== host || this.#isPassedBy(walk.entry)))
      walk.step();
    return walk.entry;
  }

  #startWhatFits(): void {
    const pass = ++this.#passCount;
    const now = this.#clock();
    const walk = this.#line.walkByDemand(this.#score);
    const firsts = new Map<EngineHost, Queued>();
    /** Demands that there is no room for. */
    let withoutRoom = 0;
    /** Hosts that a task was held for. */
    const closed = new Set<EngineHost>();
    for (let entry = walk.entry; entry !== undefined; entry = walk.entry) {
      const { host, demand } = entry;
      const passedBy = this.#isPassedBy(entry);
      const first = firsts.get(host) ?? entry;
      if (!passedBy) firsts.set(host, first);
      if (passedBy || closed.has(host) || this.#isShort(entry, now)) {
        if (!passedBy && this.#held.has(entry)) closed.add(host);
        if (!passedBy && demand.shared.blockedIn !== pass) {
          demand.shared.blockedIn = pass;
          // Whoever comes later asks for what somebody before asked for, and will not get it either.
          if (++withoutRoom >= this.#line.demandCount) return;
        }
        // Nothing else of it can start, but one that is held keeps its host from those who come after it.
        if (this.#isHeldOf(demand)) walk.step();
        else walk.leave();
      } else {
        this.#start(entry);
        walk.started();
        if (first === entry) firsts.delete(host);
        else if (this.#overtake(first)) closed.add(host);
      }
    }
  }

  #isHeldOf(demand: TenantDemand): boolean {
    for (const held of this.#held) if (held.demand === demand) return true;
    return false;
  }

  /** True when nothing may go past it any more. */
  #overtake(first: Queued): boolean {
    if (++first.overtaken < MOST_OVERTAKEN) return false;
    this.#held.add(first);
    return true;
  }

  /** Notes what of, for when it starts. */
  #isShort(entry: Queued, now: Date): boolean {
    const limit = this.#shortageOf(entry)?.limit;
    if (limit !== undefined) entry.demand.shared.short = { limit, time: now };
    return limit !== undefined;
  }

  /** Nothing on its host keeps it waiting, so that it keeps nobody from going past. */
  #isPassedBy({ task, host }: Queued): boolean {
    return this.#suspended.has(host.engine.name) || this.#quota?.waitOf(task) !== undefined;
  }

  #shortageOf({ task, host }: Queued): Shortage | undefined {
    return host.ledger.shortage(task.limits, task.spec.resources?.gpuModel);
  }

  #start(entry: Queued): void {
    const { task, host, since } = entry;
    const { short } = entry.demand.shared;
    const waitedFor = short !== undefined && short.time >= since ? short.limit : null;
    const hold = host.ledger.hold(task.id, task.limits, task.spec.resources?.gpuModel);
    this.#fairShare.hold(task.tenant, task.id, dominantShare(task.limits, host.ledger.largest));
    this.#quota?.hold(task);
    this.#take(entry);
    this.#log.debug("task starts", { ...factsOf(task), engine: host.engine.name });
    this.#launch(task, host, hold, waitedFor);
  }

  #take(entry: Queued): void {
    this.#line.take(entry);
    this.#held.delete(entry);
  }
}

function demandOf(task: Task, host: EngineHost): string {
  const { cpuMillis, ramBytes, storageBytes, gpuCount } = task.limits;
  const gpuModel = task.spec.resources?.gpuModel ?? "";
  return `${host.engine.name} ${cpuMillis} ${ramBytes} ${storageBytes} ${gpuCount} ${gpuModel}`;
}
