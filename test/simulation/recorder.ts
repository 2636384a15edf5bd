import type { Task } from "#server/domain/task.ts";
import type { Arrival } from "./workload.ts";

export interface Waits {
  readonly name: string;
  readonly count: number;
  readonly medianSeconds: number;
  readonly p95Seconds: number;
  readonly p99Seconds: number;
  readonly mostSeconds: number;
}

export interface TenantShare {
  readonly tenant: string;
  /** CPU seconds of what it submitted in the window. */
  readonly asked: number;
  /** CPU seconds that its tasks held in the window. */
  readonly held: number;
}

interface Started {
  readonly cpus: number;
  readonly time: number;
}

/** Waiting tasks of one engine, size and priority, the oldest first; those that have started are dropped when they come to the front. */
class Line {
  readonly #tasks: Task[] = [];
  #front = 0;

  add(task: Task): void {
    this.#tasks.push(task);
  }

  oldest(isWaiting: (task: Task) => boolean): Task | undefined {
    for (; this.#front < this.#tasks.length; this.#front++) {
      const task = this.#tasks[this.#front];
      if (task !== undefined && isWaiting(task)) return task;
    }
    this.#tasks.length = 0;
    this.#front = 0;
    return undefined;
  }
}

/** What a run is judged by. The window leaves out the time in which the cluster fills up. */
export class Recorder {
  readonly #window: { readonly from: number; readonly until: number };
  readonly #agingMillis: number;
  readonly #waits = new Map<string, number[]>();
  readonly #asked = new Map<string, number>();
  readonly #held = new Map<string, number>();
  readonly #running = new Map<string, Started & { readonly tenant: string }>();
  readonly #waiting = new Map<string, Arrival>();
  /** By what fits together, then by priority. */
  readonly #lines = new Map<string, Map<number, Line>>();
  /** The latest that anybody came, beyond what its priority is worth, that started before one of its size who was waiting. */
  #passedByMillis = Number.NEGATIVE_INFINITY;
  #mostRunning = 0;
  #mostQueued = 0;

  constructor(window: { readonly from: number; readonly until: number }, agingMillis: number) {
    this.#window = window;
    this.#agingMillis = agingMillis;
  }

  arrived(arrival: Arrival, engine: string): void {
    const { task, shape, runMillis } = arrival;
    this.#waiting.set(task.id, arrival);
    this.#mostQueued = Math.max(this.#mostQueued, this.#waiting.size);
    const key = `${engine} ${shape.name}`;
    const lines = this.#lines.get(key) ?? new Map<number, Line>();
    this.#lines.set(key, lines);
    const line = lines.get(task.spec.priority) ?? new Line();
    lines.set(task.spec.priority, line);
    line.add(task);
    const time = task.createTime.getTime();
    if (time >= this.#window.from && time < this.#window.until)
      add(this.#asked, task.tenant, (shape.cpus * runMillis) / 1000);
  }

  started(task: Task, engine: string, now: number): Arrival {
    const arrival = this.#waiting.get(task.id);
    if (arrival === undefined) throw new Error(`task ${task.id} started twice, or never came`);
    this.#waiting.delete(task.id);
    this.#running.set(task.id, { tenant: task.tenant, cpus: arrival.shape.cpus, time: now });
    this.#mostRunning = Math.max(this.#mostRunning, this.#running.size);
    const created = task.createTime.getTime();
    if (created >= this.#window.from && created < this.#window.until)
      for (const name of ["all", arrival.shape.name, `priority ${task.spec.priority}`]) {
        const waits = this.#waits.get(name) ?? [];
        this.#waits.set(name, waits);
        waits.push(now - created);
      }
    this.#compareWithOldest(arrival, engine);
    return arrival;
  }

  ended(taskId: string, now: number): void {
    const started = this.#running.get(taskId);
    if (started === undefined) throw new Error(`task ${taskId} ended and was not running`);
    this.#running.delete(taskId);
    const inside = Math.min(now, this.#window.until) - Math.max(started.time, this.#window.from);
    if (inside > 0) add(this.#held, started.tenant, (started.cpus * inside) / 1000);
  }

  get waitingCount(): number {
    return this.#waiting.size;
  }

  get runningCount(): number {
    return this.#running.size;
  }

  get mostRunning(): number {
    return this.#mostRunning;
  }

  get mostQueued(): number {
    return this.#mostQueued;
  }

  get passedBySeconds(): number {
    return this.#passedByMillis / 1000;
  }

  /** Of the CPUs, over the window. */
  utilisation(cpus: number): number {
    const held = [...this.#held.values()].reduce((sum, each) => sum + each, 0);
    return held / ((cpus * (this.#window.until - this.#window.from)) / 1000);
  }

  shares(): TenantShare[] {
    return [...this.#asked].map(([tenant, asked]) => ({ tenant, asked, held: this.#held.get(tenant) ?? 0 }));
  }

  waits(): Waits[] {
    return [...this.#waits].map(([name, waits]) => {
      const sorted = Float64Array.from(waits).sort();
      const at = (share: number) =>
        (sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN) / 1000;
      return {
        name,
        count: sorted.length,
        medianSeconds: at(0.5),
        p95Seconds: at(0.95),
        p99Seconds: at(0.99),
        mostSeconds: at(1),
      };
    });
  }

  /** Of one size alone: smaller ones may go past what does not fit, which is no unfairness of the order. */
  #compareWithOldest({ task, shape }: Arrival, engine: string): void {
    const isWaiting = ({ id }: Task) => this.#waiting.has(id);
    for (const [priority, line] of this.#lines.get(`${engine} ${shape.name}`) ?? []) {
      const oldest = line.oldest(isWaiting);
      if (oldest === undefined) continue;
      const later = task.createTime.getTime() - oldest.createTime.getTime();
      const worth = (task.spec.priority - priority) * this.#agingMillis;
      this.#passedByMillis = Math.max(this.#passedByMillis, later - worth);
    }
  }
}

function add(to: Map<string, number>, key: string, amount: number): void {
  to.set(key, (to.get(key) ?? 0) + amount);
}
