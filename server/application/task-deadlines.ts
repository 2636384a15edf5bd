import type { Limit } from "../domain/limits.ts";
import type { Policy } from "../domain/policy.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import type { ResultReason, Stage, Task, Wait } from "../domain/task.ts";
import { closeStages } from "../domain/transition.ts";
import { withoutAttempt } from "../domain/verdict.ts";
import { factsOf } from "./log-facts.ts";
import type { TaskBook } from "./task-book.ts";

const LONGEST_TIMER_MILLIS = 2 ** 31 - 1;

/** What a deadline has to know of the queue. */
export interface QueueView {
  /** Since when nothing but its turn has held the task up; undefined while it waits for other tasks. */
  readyTime(task: Task): Date | undefined;
  waitOf(taskId: string): Wait | undefined;
  remove(taskId: string): void;
}

/** Ends queued tasks whose queue time or total time is up; running ones are held to theirs by runner and attempt. */
export class TaskDeadlines {
  readonly #book: TaskBook;
  readonly #queue: QueueView;
  readonly #policy: Policy;
  readonly #log: Log;
  readonly #clock: () => Date;
  readonly #timers = new Map<string, NodeJS.Timeout>();
  readonly #closing = new AbortController();

  constructor(deps: { book: TaskBook; queue: QueueView; policy: Policy; log: Log; clock: () => Date }) {
    this.#book = deps.book;
    this.#queue = deps.queue;
    this.#policy = deps.policy;
    this.#log = deps.log;
    this.#clock = deps.clock;
  }

  /** To be called whenever a task enters the queue. */
  watch(task: Task): void {
    const due = this.#due(task);
    if (due === undefined) return;
    const wait = Math.min(Math.max(0, due.at - this.#clock().getTime()), LONGEST_TIMER_MILLIS);
    clearTimeout(this.#timers.get(task.id));
    this.#timers.set(
      task.id,
      setTimeout(() => {
        this.#timers.delete(task.id);
        this.#expire(task.id).catch((error: unknown) => {
          if (!this.#closing.signal.aborted)
            this.#log.error("deadline failed", { ...factsOf(task), error: String(error) });
        });
      }, wait),
    );
  }

  close(): void {
    this.#closing.abort();
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  #due(task: Task): { at: number; reason: ResultReason; limit: Limit; millis: number } | undefined {
    const { queueMillis, totalMillis } = task.limits;
    const created = task.createTime.getTime();
    // A task that goes back to the queue for another try waits anew: the time it ran was no waiting.
    const queued = openQueueStage(task)?.startTime.getTime() ?? created;
    const ready = this.#queue.readyTime(task)?.getTime();
    const queue =
      queueMillis === null || ready === undefined
        ? undefined
        : ({
            at: Math.max(queued, ready) + queueMillis,
            reason: "QUEUE_TIMED_OUT",
            limit: "QUEUE_TIME",
            millis: queueMillis,
          } as const);
    const total =
      totalMillis === null
        ? undefined
        : ({
            at: created + totalMillis,
            reason: "TIMED_OUT",
            limit: "TOTAL_TIME",
            millis: totalMillis,
          } as const);
    if (queue === undefined || total === undefined) return queue ?? total;
    return queue.at <= total.at ? queue : total;
  }

  async #expire(id: string): Promise<void> {
    const task = this.#book.live(id);
    const due = task === undefined ? undefined : this.#due(task);
    if (task === undefined || task.state !== "QUEUED" || due === undefined) return;
    if (due.at > this.#clock().getTime()) {
      this.watch(task);
      return;
    }
    const time = this.#clock();
    const why = this.#queue.waitOf(id)?.message ?? "";
    const message = `waited longer than its ${due.limit === "QUEUE_TIME" ? "queue" : "total"} timeout of ${due.millis / 1000} s${why === "" ? "" : `: ${why}`}`;
    const result = {
      ...withoutAttempt(due.reason, message, "ask for less, allow a longer wait, or submit it again later"),
      termination: {
        limit: due.limit,
        limitValue: due.millis,
        observedPeak: time.getTime() - task.createTime.getTime(),
        killer: "SERVER",
        process: "",
      } as const,
    };
    await this.#book.record(
      id,
      (present) => {
        if (present.state !== "QUEUED") return undefined;
        const retention = present.spec.retentionMillis ?? this.#policy.defaultRetentionMillis;
        const expireTime = new Date(time.getTime() + retention);
        const stages = closeStages(present, time);
        return { kind: "end", time, result, usage: null, runTime: null, expireTime, stages };
      },
      this.#closing.signal,
    );
    this.#queue.remove(id);
  }
}

function openQueueStage(task: Task): Stage | undefined {
  return task.stages.findLast((stage) => stage.name === "queue" && stage.endTime === null);
}
