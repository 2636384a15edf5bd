import { InvalidRequest } from "../domain/errors.ts";
import type { Policy } from "../domain/policy.ts";
import { isTerminal, type Task } from "../domain/task.ts";
import { allows, closeStages } from "../domain/transition.ts";
import { withoutAttempt } from "../domain/verdict.ts";
import type { TaskAudit } from "./audit-event.ts";
import type { Caller } from "./caller.ts";
import type { RunAttempts } from "./run-attempts.ts";
import type { TaskBook } from "./task-book.ts";
import type { TaskQueue } from "./task-queue.ts";

/** Asks for the end of a task; on one that is ending or has ended it changes nothing. */
export class CancelTask {
  readonly #audit: TaskAudit;
  readonly #book: TaskBook;
  readonly #queue: TaskQueue;
  readonly #attempts: RunAttempts;
  readonly #policy: Policy;
  readonly #clock: () => Date;

  constructor(deps: {
    audit: TaskAudit;
    book: TaskBook;
    queue: TaskQueue;
    attempts: RunAttempts;
    policy: Policy;
    clock: () => Date;
  }) {
    this.#audit = deps.audit;
    this.#book = deps.book;
    this.#queue = deps.queue;
    this.#attempts = deps.attempts;
    this.#policy = deps.policy;
    this.#clock = deps.clock;
  }

  async cancel(caller: Caller, id: string, reason: string, graceMillis: number | null): Promise<Task> {
    const policy = this.#policy;
    const grace = graceMillis ?? policy.defaultStopGraceMillis;
    if (grace < 0 || grace > policy.maxStopGraceMillis) {
      throw new InvalidRequest([
        { field: "grace", description: `must be between 0 and ${policy.maxStopGraceMillis / 1000} s` },
      ]);
    }
    if (reason.length > 1000)
      throw new InvalidRequest([{ field: "reason", description: "has more than 1000 characters" }]);
    const task = await this.#book.get(id, caller.tenant);
    if (isTerminal(task.state)) return task;
    const time = this.#clock();
    const changed = await this.#book.change(
      id,
      (present) => {
        if (present.state === "QUEUED") {
          const message = `cancelled by a client while it was queued${reason === "" ? "" : `: ${reason}`}`;
          const expireTime = new Date(
            time.getTime() + (present.spec.retentionMillis ?? policy.defaultRetentionMillis),
          );
          const result = withoutAttempt("CANCELLED", message, "");
          return {
            kind: "end",
            time,
            result,
            usage: null,
            runTime: null,
            expireTime,
            stages: closeStages(present, time),
          };
        }
        if (!allows(present.state, "cancel")) return undefined;
        return { kind: "cancel", cancellation: { reason, graceMillis: grace, time } };
      },
      this.#audit(caller, "task.cancel", id, reason),
    );
    if (isTerminal(changed.state)) this.#queue.remove(id);
    else this.#attempts.cancel(id);
    return changed;
  }
}
