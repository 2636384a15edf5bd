import { CAPACITY_PARTS } from "../domain/metrics.ts";
import type { Metrics, Observation } from "../domain/ports/metrics.ts";
import type { Resources } from "../domain/resources.ts";
import type { Task, TaskState, Wait } from "../domain/task.ts";
import type { EngineHosts } from "./engine-host.ts";

export interface MeasureHostDeps {
  readonly metrics: Metrics;
  readonly hosts: EngineHosts;
  /** Tasks that have not ended, or whose sandbox is not gone. */
  readonly live: () => readonly Task[];
  readonly waitOf: (taskId: string) => Wait | undefined;
  readonly pausedReason: () => string | undefined;
  /** Undefined while it is not known. */
  readonly freeDiskBytes: () => number | undefined;
  readonly reconcileProblems: () => number;
  readonly clock: () => Date;
}

const UNDER_WAY: readonly TaskState[] = ["QUEUED", "PREPARING", "RUNNING", "COLLECTING", "CANCELLING"];

/** Lets collectors read what is held and what waits, at the moment they ask. */
export class MeasureHost {
  readonly #deps: MeasureHostDeps;
  readonly #stops: (() => void)[] = [];
  /** What anything ever waited for: collectors keep a series that is told of no more at its last value. */
  readonly #waits = new Set(["capacity "]);

  constructor(deps: MeasureHostDeps) {
    this.#deps = deps;
  }

  start(): void {
    const { metrics, pausedReason, freeDiskBytes, reconcileProblems } = this.#deps;
    const one = (value: number | undefined) => (value === undefined ? [] : [{ labels: {}, value }]);
    this.#stops.push(
      metrics.observe("longshore.tasks.active", () => this.#tasksByState()),
      metrics.observe("longshore.queue.depth", () => this.#queueByWait()),
      metrics.observe("longshore.queue.oldest.age", () => one(this.#oldestWaitSeconds())),
      metrics.observe("longshore.starts.paused", () => one(pausedReason() === undefined ? 0 : 1)),
      metrics.observe("longshore.data.disk.free", () => one(freeDiskBytes())),
      metrics.observe("longshore.reconcile.problems", () => one(reconcileProblems())),
      metrics.observe("longshore.attempts.running", () => this.#perEngine(({ ledger }) => ledger.holdCount)),
      metrics.observe("longshore.pool.idle.sandboxes", () =>
        this.#perEngine(({ engine }) => engine.warmCount()),
      ),
      metrics.observe("longshore.capacity.cpus", () => this.#capacity((r) => r.cpuMillis / 1000)),
      metrics.observe("longshore.capacity.ram", () => this.#capacity((r) => r.ramBytes)),
      metrics.observe("longshore.capacity.storage", () => this.#capacity((r) => r.storageBytes)),
      metrics.observe("longshore.capacity.gpus", () => this.#capacity((r) => r.gpuCount)),
    );
  }

  stop(): void {
    for (const stop of this.#stops.splice(0)) stop();
  }

  #tasksByState(): Observation<"longshore.tasks.active">[] {
    const counts = new Map<TaskState, number>(UNDER_WAY.map((state) => [state, 0]));
    for (const { state } of this.#deps.live()) {
      const count = counts.get(state);
      // Ended ones are there until their sandbox is gone.
      if (count !== undefined) counts.set(state, count + 1);
    }
    return [...counts].map(([state, value]) => ({ labels: { state: state.toLowerCase() }, value }));
  }

  #queueByWait(): Observation<"longshore.queue.depth">[] {
    const counts = new Map([...this.#waits].map((key) => [key, 0]));
    for (const { id, state } of this.#deps.live()) {
      const wait = state === "QUEUED" ? this.#deps.waitOf(id) : undefined;
      if (wait === undefined) continue;
      const key = `${wait.kind} ${wait.limit ?? ""}`.toLowerCase();
      this.#waits.add(key);
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    return [...counts].map(([key, value]) => {
      const [wait = "", limit = ""] = key.split(" ");
      return { labels: { wait, limit }, value };
    });
  }

  #oldestWaitSeconds(): number {
    const now = this.#deps.clock().getTime();
    let oldest = now;
    for (const { id, state, stages, spec } of this.#deps.live()) {
      if (state !== "QUEUED") continue;
      // What waits for other tasks waits for nothing that this server could give it.
      if (spec.dependsOn.length > 0 && this.#deps.waitOf(id)?.kind === "DEPENDENCY") continue;
      const queue = stages.findLast(({ name, endTime }) => name === "queue" && endTime === null);
      if (queue !== undefined) oldest = Math.min(oldest, queue.startTime.getTime());
    }
    return (now - oldest) / 1000;
  }

  #perEngine(value: (host: ReturnType<EngineHosts["all"]>[number]) => number) {
    return this.#deps.hosts
      .all()
      .map((host) => ({ labels: { engine: host.engine.name }, value: value(host) }));
  }

  #capacity(amount: (resources: Resources) => number) {
    return this.#deps.hosts.all().flatMap(({ engine, ledger }) =>
      CAPACITY_PARTS.map((part) => ({
        labels: { engine: engine.name, part },
        value: amount(ledger[part]),
      })),
    );
  }
}
