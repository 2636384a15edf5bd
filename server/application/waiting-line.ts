import type { Limit } from "../domain/limits.ts";
import { compareKeys, compareUrgency, compareWithin, type QueueKey } from "../domain/queue-order.ts";
import type { Task } from "../domain/task.ts";
import type { EngineHost } from "./engine-host.ts";

/** Tasks that fit or do not fit together, whoever's they are. */
export interface Demand {
  readonly name: string;
  count: number;
  /** The latest pass that found no room for it. */
  blockedIn: number;
  /** What it was found short of, the latest time that it was. */
  short?: { readonly limit: Limit; readonly time: Date };
}

/** Those of one tenant: a quota may hold up its tasks and nobody else's. */
export interface TenantDemand {
  readonly shared: Demand;
  /** In the order of their keys. */
  readonly entries: Queued[];
}

export interface Queued {
  readonly task: Task;
  readonly host: EngineHost;
  readonly since: Date;
  readonly key: QueueKey;
  readonly demand: TenantDemand;
  overtaken: number;
}

interface TenantLine {
  readonly tenant: string;
  /** In the order of their keys. */
  readonly entries: Queued[];
  readonly demands: Map<string, TenantDemand>;
}

/** The less, the sooner it is a tenant's turn. */
export type Score = (tenant: string) => number;

/** The queued tasks of all tenants, each tenant's in order. Whose turn it is among tenants is asked when it matters. */
export class WaitingLine {
  readonly #lines = new Map<string, TenantLine>();
  readonly #byId = new Map<string, Queued>();
  readonly #demands = new Map<string, Demand>();

  get count(): number {
    return this.#byId.size;
  }

  /** How many different demands there are. */
  get demandCount(): number {
    return this.#demands.size;
  }

  get(taskId: string): Queued | undefined {
    return this.#byId.get(taskId);
  }

  /** `demand` is equal for tasks that fit or do not fit together. */
  add(task: Task, host: EngineHost, since: Date, key: QueueKey, demand: string): Queued {
    const { tenant } = task;
    const line = this.#lines.get(tenant) ?? { tenant, entries: [], demands: new Map() };
    this.#lines.set(tenant, line);
    const shared = this.#demands.get(demand) ?? { name: demand, count: 0, blockedIn: 0 };
    this.#demands.set(demand, shared);
    shared.count++;
    const own = line.demands.get(demand) ?? { shared, entries: [] };
    line.demands.set(demand, own);
    const entry: Queued = { task, host, since, key, demand: own, overtaken: 0 };
    for (const entries of [line.entries, own.entries]) entries.splice(lowerBound(entries, key), 0, entry);
    this.#byId.set(task.id, entry);
    return entry;
  }

  take(entry: Queued): void {
    const { demand, key, task } = entry;
    const line = this.#lines.get(task.tenant);
    for (const entries of [line?.entries ?? [], demand.entries]) {
      const place = lowerBound(entries, key);
      if (entries[place] !== entry) throw new Error(`task ${task.id} is not at its place in the queue`);
      entries.splice(place, 1);
    }
    this.#byId.delete(task.id);
    if (demand.entries.length === 0) line?.demands.delete(demand.shared.name);
    if (line?.entries.length === 0) this.#lines.delete(line.tenant);
    if (--demand.shared.count === 0) this.#demands.delete(demand.shared.name);
  }

  /** How many would go before it as things stand. */
  countBefore(entry: Queued, score: Score): number {
    const own = score(entry.task.tenant);
    let count = 0;
    for (const { tenant, entries } of this.#lines.values()) {
      const other = tenant === entry.task.tenant ? own : score(tenant);
      count += partition(entries, (each) => compareAcross(each.key, other, entry.key, own) < 0);
    }
    return count;
  }

  /** From the first on. What is taken out meanwhile is to be told to the walk. */
  walk(score: Score): Walk {
    return new Walk([...this.#lines.values()], score);
  }

  /** The same, but `leave` leaves out what its tenant has of one demand, and no more. */
  walkByDemand(score: Score): Walk {
    const lists = [...this.#lines.values()].flatMap(({ tenant, demands }) =>
      [...demands.values()].map(({ entries }) => ({ tenant, entries })),
    );
    return new Walk(lists, score);
  }

  /** Of these alone, which stay where they are whatever is taken out. */
  walkOf(entries: readonly Queued[], score: Score): Walk {
    const byTenant = Map.groupBy(entries, ({ task }) => task.tenant);
    const lists = [...byTenant].map(([tenant, own]) => ({
      tenant,
      entries: own.toSorted((a, b) => compareKeys(a.key, b.key)),
    }));
    return new Walk(lists, score);
  }
}

interface Place {
  readonly tenant: string;
  readonly entries: readonly Queued[];
  index: number;
  score: number;
}

/** Goes through lists in their common order: a heap of the places in each, the next on top. */
export class Walk {
  readonly #places: Place[];
  readonly #score: Score;
  /** What each tenant has now. It only grows in a walk, so that a place may be late to hear of it until it comes to the top. */
  readonly #scores = new Map<string, number>();

  constructor(
    lists: readonly { readonly tenant: string; readonly entries: readonly Queued[] }[],
    score: Score,
  ) {
    this.#score = score;
    for (const { tenant } of lists) if (!this.#scores.has(tenant)) this.#scores.set(tenant, score(tenant));
    this.#places = lists.map(({ tenant, entries }) => ({
      tenant,
      entries,
      index: 0,
      score: this.#scores.get(tenant) ?? 0,
    }));
    for (let at = this.#places.length >> 1; at >= 0; at--) this.#sink(at);
  }

  /** The entry the walk stands at. */
  get entry(): Queued | undefined {
    const [top] = this.#places;
    return top?.entries[top.index];
  }

  step(): void {
    const [top] = this.#places;
    if (top === undefined) return;
    top.index++;
    this.#settle(top);
  }

  /** The entry the walk stood at was started, which may have changed whose turn it is, and has left its list or stayed there. */
  started(stayed = false): void {
    const [top] = this.#places;
    if (top === undefined) return;
    this.#scores.set(top.tenant, this.#score(top.tenant));
    if (stayed) top.index++;
    this.#settle(top);
  }

  /** Leaves out what is left of the list that the walk stands in. */
  leave(): void {
    this.#drop();
    this.#refresh();
  }

  #drop(): void {
    const last = this.#places.pop();
    if (last === undefined || this.#places.length === 0) return;
    this.#places[0] = last;
    this.#sink(0);
  }

  #settle(top: Place): void {
    if (top.index >= top.entries.length) this.#drop();
    else this.#sink(0);
    this.#refresh();
  }

  /** Brings to the top a place that knows what its tenant has. */
  #refresh(): void {
    for (let [top] = this.#places; top !== undefined; [top] = this.#places) {
      const score = this.#scores.get(top.tenant) ?? 0;
      if (top.score === score) return;
      top.score = score;
      this.#sink(0);
    }
  }

  #sink(from: number): void {
    const places = this.#places;
    for (let at = from; ; ) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2])
        if (child < places.length && this.#isBefore(child, least)) least = child;
      if (least === at) return;
      const [upper, lower] = [places[at], places[least]];
      if (upper === undefined || lower === undefined) return;
      places[at] = lower;
      places[least] = upper;
      at = least;
    }
  }

  #isBefore(a: number, b: number): boolean {
    const [x, y] = [this.#places[a], this.#places[b]];
    const [first, second] = [x?.entries[x.index], y?.entries[y.index]];
    if (x === undefined || y === undefined || first === undefined || second === undefined) return false;
    return compareAcross(first.key, x.score, second.key, y.score) < 0;
  }
}

/** Urgency, then the tenant that has had least, then the shorter, then the older. */
function compareAcross(a: QueueKey, scoreOfA: number, b: QueueKey, scoreOfB: number): number {
  return compareUrgency(a, b) || scoreOfA - scoreOfB || compareWithin(a, b);
}

function lowerBound(entries: readonly Queued[], key: QueueKey): number {
  return partition(entries, (entry) => compareKeys(entry.key, key) < 0);
}

/** How many at the beginning are so; what follows is not. */
function partition(entries: readonly Queued[], isBefore: (entry: Queued) => boolean): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const entry = entries[middle];
    if (entry !== undefined && isBefore(entry)) low = middle + 1;
    else high = middle;
  }
  return low;
}
