import type { Limit } from "../domain/limits.ts";
import { compareKeys, compareUrgency, compareWithin, type QueueKey } from "../domain/queue-order.ts";
import type { Task } from "../domain/task.ts";
import type { EngineHost } from "./engine-host.ts";

/** Tasks of one tenant that fit or do not fit together. */
export interface Demand {
  readonly name: string;
  count: number;
  /** The latest pass that found it blocked. */
  blockedIn: number;
  /** What it was found short of, the latest time that it was. */
  short?: { readonly limit: Limit; readonly time: Date };
}

export interface Queued {
  readonly task: Task;
  readonly host: EngineHost;
  readonly since: Date;
  readonly key: QueueKey;
  readonly demand: Demand;
  overtaken: number;
}

interface TenantLine {
  readonly tenant: string;
  /** In the order of their keys. */
  readonly entries: Queued[];
  readonly demands: Map<string, Demand>;
}

/** The less, the sooner it is a tenant's turn. */
export type Score = (tenant: string) => number;

/** The queued tasks of all tenants, each tenant's in order. Whose turn it is among tenants is asked when it matters. */
export class WaitingLine {
  readonly #lines = new Map<string, TenantLine>();
  readonly #byId = new Map<string, Queued>();

  get count(): number {
    return this.#byId.size;
  }

  get(taskId: string): Queued | undefined {
    return this.#byId.get(taskId);
  }

  /** `demand` is equal for tasks that fit or do not fit together. */
  add(task: Task, host: EngineHost, since: Date, key: QueueKey, demand: string): Queued {
    const { tenant } = task;
    const line = this.#lines.get(tenant) ?? { tenant, entries: [], demands: new Map() };
    this.#lines.set(tenant, line);
    const shared = line.demands.get(demand) ?? { name: demand, count: 0, blockedIn: 0 };
    shared.count++;
    line.demands.set(demand, shared);
    const entry: Queued = { task, host, since, key, demand: shared, overtaken: 0 };
    line.entries.splice(lowerBound(line.entries, key), 0, entry);
    this.#byId.set(task.id, entry);
    return entry;
  }

  take(entry: Queued): void {
    const line = this.#lines.get(entry.task.tenant);
    const place = line === undefined ? 0 : lowerBound(line.entries, entry.key);
    if (line?.entries[place] !== entry)
      throw new Error(`task ${entry.task.id} is not at its place in the queue`);
    line.entries.splice(place, 1);
    this.#byId.delete(entry.task.id);
    if (--entry.demand.count === 0) line.demands.delete(entry.demand.name);
    if (line.entries.length === 0) this.#lines.delete(line.tenant);
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

  /** Of these alone, which stay where they are whatever is taken out. */
  walkOf(entries: readonly Queued[], score: Score): Walk {
    const byTenant = Map.groupBy(entries, ({ task }) => task.tenant);
    const lines = [...byTenant].map(([tenant, own]) => ({
      tenant,
      entries: own.toSorted((a, b) => compareKeys(a.key, b.key)),
      demands: new Map(),
    }));
    return new Walk(lines, score);
  }
}

interface Place {
  readonly line: TenantLine;
  index: number;
  score: number;
}

/** Goes through the lines of all tenants in their common order: a heap of the places in each line, the next on top. */
export class Walk {
  readonly #places: Place[];
  readonly #score: Score;

  constructor(lines: readonly TenantLine[], score: Score) {
    this.#score = score;
    this.#places = lines.map((line) => ({ line, index: 0, score: score(line.tenant) }));
    for (let at = this.#places.length >> 1; at >= 0; at--) this.#sink(at);
  }

  /** The entry the walk stands at. */
  get entry(): Queued | undefined {
    const [top] = this.#places;
    return top?.line.entries[top.index];
  }

  step(): void {
    const [top] = this.#places;
    if (top === undefined) return;
    top.index++;
    this.#settle(top);
  }

  /** The entry the walk stood at was started, which may have changed whose turn it is, and has left its line or stayed there. */
  started(stayed = false): void {
    const [top] = this.#places;
    if (top === undefined) return;
    top.score = this.#score(top.line.tenant);
    if (stayed) top.index++;
    this.#settle(top);
  }

  /** How many demands the line has that the walk stands in. */
  get demandCount(): number {
    return this.#places[0]?.line.demands.size ?? 0;
  }

  /** Leaves out what is left of the line that the walk stands in. */
  skipLine(): void {
    const last = this.#places.pop();
    if (last === undefined || this.#places.length === 0) return;
    this.#places[0] = last;
    this.#sink(0);
  }

  #settle(top: Place): void {
    if (top.index >= top.line.entries.length) this.skipLine();
    else this.#sink(0);
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
    const [first, second] = [x?.line.entries[x.index], y?.line.entries[y.index]];
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
