import type { EngineHost } from "#server/application/engine-host.ts";
import { type Cluster, type ClusterSize, cpusOf, openCluster } from "./cluster.ts";
import { type Fairness, fairnessOf } from "./fairness.ts";
import { Random } from "./random.ts";
import { Recorder, type TenantShare, type Waits } from "./recorder.ts";
import { VirtualTime } from "./virtual-time.ts";
import { type Arrival, drawTask, meanGapMillis, type Workload } from "./workload.ts";

/** Any moment will do; runs that begin at the same one can be compared. */
const BEGIN = new Date("2026-01-05T08:00:00Z");
const MINUTE = 60_000;

export interface Plan {
  readonly name: string;
  readonly cluster: ClusterSize;
  readonly workload: Workload;
  readonly agingMillis: number;
  /** Which engine a task names, when there are several: any, or the one with more CPUs free of two. */
  readonly placement: "random" | "freer of two";
  /** Tasks besides those of the workload, by when they come. */
  readonly extra?: readonly {
    readonly minute: number;
    readonly arrival: (place: number, now: number) => Arrival;
  }[];
  /** So many tasks of the workload come all at once in the first moment; none when left out. */
  readonly burst?: number;
  /** At how many milliseconds at once events are taken: 1 gives each its own pass, as on a quiet server. */
  readonly tickMillis: number;
  readonly seed: number;
}

export interface Outcome {
  readonly plan: Plan;
  readonly tasks: number;
  readonly mostRunning: number;
  readonly mostQueued: number;
  readonly utilisation: number;
  readonly waits: readonly Waits[];
  readonly fairness: Fairness;
  readonly shares: readonly TenantShare[];
  /** How much later than a waiting task one of its size came that started before it, beyond what its priority is worth. */
  readonly passedBySeconds: number;
  /** Waits of the extra tasks, in the order of the plan. */
  readonly extraWaitSeconds: readonly number[];
  /** CPU time, per task: its coming, its start and its end. */
  readonly schedulerMicrosPerTask: number;
  /** CPU time, while a quarter of the burst waits: each pass with what came, ended and started with it. */
  readonly passes: {
    readonly count: number;
    readonly meanMillis: number;
    readonly p99Millis: number;
    readonly mostMillis: number;
  };
  /** JavaScript's heap when the burst was queued, for each task of it; the simulation's own part included. 0 without a burst. */
  readonly heapBytesPerTask: number;
}

/** Plays a workload against the real scheduler, in virtual time, until every task has ended. */
export async function simulate(plan: Plan): Promise<Outcome> {
  const run = await Run.open(plan);
  return await run.play();
}

class Run {
  readonly #plan: Plan;
  readonly #time = new VirtualTime(BEGIN);
  readonly #random: Random;
  readonly #recorder: Recorder;
  readonly #until: number;
  readonly #extra = new Map<string, number>();
  readonly #extraWaits: number[] = [];
  #cluster: Cluster | undefined;
  #places = 0;
  #schedulerMillis = 0;
  #heapBytesPerTask = 0;
  readonly #passMillis: number[] = [];

  private constructor(plan: Plan) {
    this.#plan = plan;
    this.#random = new Random(plan.seed);
    const { minutes } = plan.workload;
    this.#until = BEGIN.getTime() + minutes * MINUTE;
    // The first quarter fills the cluster.
    const from = BEGIN.getTime() + (minutes * MINUTE) / 4;
    this.#recorder = new Recorder({ from, until: this.#until }, plan.agingMillis);
  }

  static async open(plan: Plan): Promise<Run> {
    const run = new Run(plan);
    run.#cluster = await openCluster(plan.cluster, {
      time: run.#time,
      agingMillis: plan.agingMillis,
      launch: (task, host) => run.#launch(task, host),
    });
    return run;
  }

  async play(): Promise<Outcome> {
    this.#sendBurst(this.#plan.burst ?? 0);
    this.#planNext();
    for (const [place, { minute, arrival }] of (this.#plan.extra ?? []).entries())
      this.#time.at(BEGIN.getTime() + minute * MINUTE, () => {
        const drawn = arrival(this.#places++, this.#time.now);
        this.#extra.set(drawn.task.id, place);
        this.#enqueue(drawn);
      });
    for (;;) {
      // The scheduler's own calls are timed, and its pass, which comes in this turn's immediate before ours does.
      const begin = ownCpuMillis();
      if (!this.#time.step()) break;
      await new Promise((resolve) => setImmediate(resolve));
      const millis = ownCpuMillis() - begin;
      this.#schedulerMillis += millis;
      if (this.#recorder.waitingCount >= (this.#plan.burst ?? 0) / 4) this.#passMillis.push(millis);
    }
    return this.#outcome();
  }

  #sendBurst(count: number): void {
    if (count === 0) return;
    const before = heldBytes();
    for (let place = 0; place < count; place++)
      this.#enqueue(drawTask(this.#random, this.#plan.workload, this.#places++, this.#time.now));
    this.#heapBytesPerTask = (heldBytes() - before) / count;
  }

  #planNext(): void {
    const { workload, cluster, tickMillis } = this.#plan;
    let next = this.#time.now;
    const gap = meanGapMillis(workload, cpusOf(cluster));
    const arrive = () => {
      if (this.#time.now >= this.#until) return;
      this.#enqueue(drawTask(this.#random, workload, this.#places++, this.#time.now));
      next += this.#random.exponential(gap);
      this.#time.at(tick(next, tickMillis), arrive);
    };
    this.#time.at(next, arrive);
  }

  #enqueue(arrival: Arrival): void {
    const { hosts, scheduler } = this.#opened;
    const engine = this.#choose(hosts.all());
    const task = { ...arrival.task, spec: { ...arrival.task.spec, engine } };
    this.#recorder.arrived({ ...arrival, task }, engine);
    scheduler.enqueue(task);
  }

  #choose(hosts: readonly EngineHost[]): string {
    const [a, b] = [hosts[this.#random.below(hosts.length)], hosts[this.#random.below(hosts.length)]];
    if (a === undefined || b === undefined) throw new Error("a cluster has one engine at least");
    if (this.#plan.placement === "random") return a.engine.name;
    return (a.ledger.free.cpuMillis >= b.ledger.free.cpuMillis ? a : b).engine.name;
  }

  #launch(task: Arrival["task"], host: EngineHost): void {
    const { now } = this.#time;
    const { runMillis } = this.#recorder.started(task, host.engine.name, now);
    const extra = this.#extra.get(task.id);
    if (extra !== undefined) this.#extraWaits[extra] = (now - task.createTime.getTime()) / 1000;
    this.#time.at(tick(now + runMillis, this.#plan.tickMillis), () => {
      this.#recorder.ended(task.id, this.#time.now);
      this.#opened.scheduler.giveBack(host, task.id);
    });
  }

  get #opened(): Cluster {
    if (this.#cluster === undefined) throw new Error("the cluster is not open yet");
    return this.#cluster;
  }

  #outcome(): Outcome {
    const recorder = this.#recorder;
    if (recorder.waitingCount > 0 || recorder.runningCount > 0)
      throw new Error(`${recorder.waitingCount} tasks never started, ${recorder.runningCount} never ended`);
    const shares = recorder.shares();
    const cpus = cpusOf(this.#plan.cluster);
    const passes = Float64Array.from(this.#passMillis).sort();
    const pass = (share: number) => passes[Math.max(0, Math.ceil(share * passes.length) - 1)] ?? Number.NaN;
    const windowSeconds = (this.#plan.workload.minutes * 60 * 3) / 4;
    return {
      plan: this.#plan,
      tasks: this.#places,
      mostRunning: recorder.mostRunning,
      mostQueued: recorder.mostQueued,
      utilisation: recorder.utilisation(cpus),
      waits: recorder.waits(),
      shares,
      fairness: fairnessOf(shares, cpus * windowSeconds),
      passedBySeconds: recorder.passedBySeconds,
      extraWaitSeconds: this.#extraWaits,
      schedulerMicrosPerTask: (this.#schedulerMillis * 1000) / this.#places,
      passes: {
        count: passes.length,
        meanMillis: sum(this.#passMillis) / this.#passMillis.length,
        p99Millis: pass(0.99),
        mostMillis: pass(1),
      },
      heapBytesPerTask: this.#heapBytesPerTask,
    };
  }
}

function tick(millis: number, tickMillis: number): number {
  return Math.ceil(millis / tickMillis) * tickMillis;
}

/** Of this thread alone, in the kernel's ticks of some milliseconds: what else the machine does is not the scheduler's time. */
function ownCpuMillis(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

const sum = (values: readonly number[]): number => values.reduce((total, each) => total + each, 0);

/** After a collection of garbage where Node was told to let us ask for one, as scripts/simulate does. */
function heldBytes(): number {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed;
}
