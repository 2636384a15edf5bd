import { amountOf, type Charge } from "../domain/charge.ts";
import type { Policy } from "../domain/policy.ts";
import { type PriceBook, unitPrices } from "../domain/price-book.ts";
import {
  type Attempt as AttemptRecord,
  isTerminal,
  type Stage,
  type Task,
  type TaskResult,
  type Usage,
} from "../domain/task.ts";
import { currentAttempt, findStage } from "../domain/transition.ts";
import { type AttemptEnd, BACKSTOP_SLACK_MILLIS } from "./attempt-end.ts";
import type { EngineHosts } from "./engine-host.ts";

interface Interval {
  readonly begin: Date;
  readonly millis: number;
}

/**
 * What attempts used and what that costs. Charged is the time in which the user's code held what it asked for: from its begin to
 * its end, never longer than its timeout, and nothing where the fault was ours.
 */
export class Meter {
  readonly #prices: PriceBook | null;
  readonly #hosts: EngineHosts;
  readonly #policy: Policy;

  constructor(deps: { prices: PriceBook | null; hosts: EngineHosts; policy: Policy }) {
    this.#prices = deps.prices;
    this.#hosts = deps.hosts;
    this.#policy = deps.policy;
  }

  /** Of the attempt that ends. `seen` is null when its spec was never sent. */
  usageOf(result: TaskResult, seen: AttemptEnd | null, task: Task, time: Date): Usage {
    const attempt = currentAttempt(task);
    const interval =
      attempt === undefined || seen === null || this.#isFree(result, seen, task)
        ? undefined
        : this.#interval(task, attempt, seen.stages, seen.time);
    const chargedMillis = interval?.millis ?? 0;
    return {
      cpuMicros: seen?.end?.cpuMicros ?? 0,
      peakRamBytes: seen?.end?.peakRamBytes ?? 0,
      peakStorageBytes: seen?.end?.peakStorageBytes ?? 0,
      peakProcesses: seen?.end?.peakProcesses ?? 0,
      logBytes: seen?.log.bytes ?? 0,
      chargedMillis,
      charge:
        attempt === undefined ? null : this.#charge(task, attempt, interval?.begin ?? time, chargedMillis),
    };
  }

  /** The task with what its attempt under way costs by now. */
  withAccrued(task: Task, now: Date): Task {
    if (isTerminal(task.state)) return task;
    const attempt = currentAttempt(task);
    const interval = attempt === undefined ? undefined : this.#interval(task, attempt, [], now);
    if (attempt === undefined || interval === undefined) return task;
    return { ...task, accrued: this.#charge(task, attempt, interval.begin, interval.millis) };
  }

  /**
   * What a runner says when it stands in an image of the user's choosing is a claim: there a sandbox that ends without its last
   * word, which is how our own faults look too, is paid for.
   */
  #isFree({ reason }: TaskResult, seen: AttemptEnd, task: Task): boolean {
    if (reason === "LOST") return true;
    return reason === "SYSTEM_ERROR" && (this.#trusts(task) || !seen.accepted);
  }

  #trusts({ image }: Pick<Task, "image">): boolean {
    return image === this.#policy.defaultImage;
  }

  /** The longest that one attempt is charged for: its timeout, or as long as the server's own patience lasts. */
  longestMillis(task: Pick<Task, "image" | "limits">): number {
    const { maxStageInMillis, maxCollectMillis } = this.#policy;
    const { runMillis } = task.limits;
    if (this.#trusts(task)) return runMillis;
    return runMillis + maxStageInMillis + maxCollectMillis + BACKSTOP_SLACK_MILLIS;
  }

  /** How many attempts of a task may be charged: faults of the system are free where they can be told. */
  mostCharged(task: Pick<Task, "image">, maxAttempts: number): number {
    return this.#trusts(task) ? 1 : Math.max(1, maxAttempts);
  }

  /** Stages that were seen and are not in the record yet come first. `seenEnd`: when the server knew that it was over. */
  #interval(
    task: Task,
    attempt: AttemptRecord,
    fresh: readonly Stage[],
    seenEnd: Date,
  ): Interval | undefined {
    const stage = (name: "sandbox" | "run") =>
      fresh.find((other) => other.name === name && other.attempt === attempt.number) ??
      findStage(task, name, attempt.number);
    const millis = (begin: Date, end: Date) =>
      Math.min(Math.max(0, end.getTime() - begin.getTime()), this.longestMillis(task));
    if (!this.#trusts(task)) {
      // By the server's clock alone: from the moment at which the runner took its spec.
      const begin = stage("sandbox")?.endTime ?? null;
      return begin === null ? undefined : { begin, millis: millis(begin, seenEnd) };
    }
    const run = stage("run");
    const begin = attempt.runStartTime ?? run?.startTime ?? null;
    if (begin === null) return undefined;
    return { begin, millis: millis(begin, run?.endTime ?? seenEnd) };
  }

  /** At the prices of the moment at which the charged time began. */
  #charge(task: Task, attempt: AttemptRecord, begin: Date, millis: number): Charge {
    const prices = this.#prices?.at(begin);
    const unit = unitPrices(prices, this.#gpusOf(task, attempt));
    const currency = prices === undefined ? "" : (this.#prices?.currency ?? "");
    return { ...unit, currency, nanos: amountOf(unit, task.limits, millis) };
  }

  #gpusOf(task: Task, { engine, gpuIds }: AttemptRecord): { model: string; count: number }[] {
    const known = this.#hosts.all().find((host) => host.engine.name === engine)?.capabilities.gpus ?? [];
    const counts = new Map<string, number>();
    for (const id of gpuIds) {
      // A device that has gone since is charged at the price of any model.
      const model = known.find((gpu) => gpu.id === id)?.model ?? "";
      counts.set(model, (counts.get(model) ?? 0) + 1);
    }
    // An engine that allocates devices by itself may not tell which; they are what was asked for.
    const untold = task.limits.gpuCount - gpuIds.length;
    const asked = task.spec.resources?.gpuModel ?? "";
    if (untold > 0) counts.set(asked, (counts.get(asked) ?? 0) + untold);
    return [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([model, count]) => ({ model, count }));
  }
}
