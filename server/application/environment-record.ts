import type { BuildFailure } from "../domain/build-failure.ts";
import type { Policy } from "../domain/policy.ts";
import { TailBuffer } from "../domain/tail-buffer.ts";
import type { Stage, Task } from "../domain/task.ts";
import { closeStages, findStage, later } from "../domain/transition.ts";
import { plain } from "../domain/verdict.ts";
import { environmentStage } from "./attempt-stages.ts";
import type { TaskBook } from "./task-book.ts";

const TAIL_BYTES = 4096;

/** What happens to environments, in the records of the tasks that wait for them. */
export class EnvironmentRecord {
  readonly #book: TaskBook;
  readonly #policy: Policy;
  readonly #clock: () => Date;

  constructor(deps: { book: TaskBook; policy: Policy; clock: () => Date }) {
    this.#book = deps.book;
    this.#policy = deps.policy;
    this.#clock = deps.clock;
  }

  /** The task as it stands; undefined when it is finished. */
  present(taskId: string): Task | undefined {
    return this.#book.live(taskId);
  }

  /** There is more output of the build. */
  tell(taskId: string): void {
    this.#book.changes.tell(taskId);
  }

  async begin(task: Task, packages: string, signal: AbortSignal): Promise<void> {
    const startTime = this.#clock();
    await this.#put(task, signal, (present) => {
      const number = present.attempts.length + 1;
      return present.state !== "QUEUED" || stageOf(present) !== undefined
        ? undefined
        : environmentStage(task.id, number, { startTime, endTime: null, note: packages });
    });
  }

  async end(task: Task, note: string, signal: AbortSignal): Promise<void> {
    const time = this.#clock();
    await this.#put(task, signal, (present) => {
      const stage = stageOf(present);
      return stage === undefined || stage.endTime !== null
        ? undefined
        : { ...stage, endTime: later(time, stage.startTime), note };
    });
  }

  /** Ends the task: it never ran, and costs nothing. */
  async fail(task: Task, why: BuildFailure, output: string, signal: AbortSignal): Promise<void> {
    const time = this.#clock();
    const bytes = Buffer.from(output);
    const tail = new TailBuffer(TAIL_BYTES);
    tail.push(bytes);
    const facts = { stdoutTail: "", stderrTail: tail.text(), stdoutBytes: 0, stderrBytes: 0 };
    const result = plain(
      "ENVIRONMENT_FAILED",
      { output: facts, artifactsError: "" },
      why.message,
      why.advice,
    );
    const retention = task.spec.retentionMillis ?? this.#policy.defaultRetentionMillis;
    await this.#book.record(
      task.id,
      (present) =>
        present.state !== "QUEUED"
          ? undefined
          : {
              kind: "end",
              time,
              result,
              usage: null,
              runTime: null,
              expireTime: new Date(time.getTime() + retention),
              stages: closeStages(present, time).map((stage) =>
                stage.name === "environment" ? { ...stage, error: why.message } : stage,
              ),
            },
      signal,
    );
  }

  async #put(task: Task, signal: AbortSignal, make: (present: Task) => Stage | undefined): Promise<void> {
    await this.#book.record(
      task.id,
      (present) => {
        const stage = make(present);
        return stage === undefined ? undefined : { kind: "stages", stages: [stage] };
      },
      signal,
    );
  }
}

/** Of the attempt that is to come. */
function stageOf(task: Task): Stage | undefined {
  const number = task.attempts.length + 1;
  return findStage(task, "environment", number === 1 ? 0 : number);
}
