import { BadCursor, NotFound } from "../domain/errors.ts";
import { DamagedJournal, type JournalFrame } from "../domain/journal.ts";
import { isTerminal, type Task, type WrittenAttempt, writtenAttempts } from "../domain/task.ts";
import type { LogGap, LogOutput, LogStream, TaskEvent } from "../domain/task-event.ts";
import type { WatchRequest } from "./api.ts";
import type { BuildOutput } from "./build-output.ts";
import { Latch } from "./changes.ts";
import type { JournalHub, JournalReading } from "./journal-hub.ts";
import { LogBatcher } from "./log-batch.ts";
import type { TaskBook } from "./task-book.ts";
import { decodeCursor, START, type WatchCursor } from "./watch-cursor.ts";

const HEARTBEAT_MILLIS = 15_000;

export interface WatchDeps {
  readonly book: TaskBook;
  readonly journals: ReadonlyMap<string, JournalHub>;
  /** As readers see it: with why it waits and what it uses. */
  readonly present: (task: Task) => Task;
  /** What the build of its environment says, while the task is not finished. */
  readonly buildOf: (taskId: string) => BuildOutput | undefined;
  readonly clock: () => Date;
}

/** Snapshot, replay from the cursor, follow; the terminal snapshot comes last, after the last byte of output. */
export class WatchTask {
  readonly #deps: WatchDeps;

  constructor(deps: WatchDeps) {
    this.#deps = deps;
  }

  async *watch(tenant: string, request: WatchRequest, signal: AbortSignal): AsyncGenerator<TaskEvent> {
    const cursor = request.cursor === "" ? START : decodeCursor(request.cursor);
    const task = await this.#deps.book.get(request.id, tenant);
    if (cursor.attempt > writtenAttempts(task).length + 1)
      throw new BadCursor("the cursor is not one of this task");
    const latch = new Latch();
    const deaf = this.#deps.book.changes.listen(task.id, () => latch.set());
    const output = new TaskOutput(this.#deps.journals, latch, cursor, request);
    try {
      yield* this.#events(task.id, request, output, latch, signal);
    } finally {
      deaf();
      output.close();
    }
  }

  async *#events(
    id: string,
    request: WatchRequest,
    output: TaskOutput,
    latch: Latch,
    signal: AbortSignal,
  ): AsyncGenerator<TaskEvent> {
    let told = "";
    while (!signal.aborted) {
      const task = await this.#present(id);
      output.version = task.version;
      const news = fingerprint(task);
      if (news !== told && !isTerminal(task.state)) {
        told = news;
        const time = this.#deps.clock();
        yield { kind: "task", cursor: output.cursor(), time, task };
      }
      output.build ??= this.#deps.buildOf(id);
      const events = request.logs ? await output.next(task) : undefined;
      if (events !== undefined) {
        yield* events;
        continue;
      }
      if (isTerminal(task.state)) {
        yield { kind: "task", cursor: output.cursor(), time: this.#deps.clock(), task };
        return;
      }
      if (!request.follow) return;
      const woken = await latch.wait(signal, HEARTBEAT_MILLIS);
      if (!woken && !signal.aborted)
        yield { kind: "heartbeat", cursor: output.cursor(), time: this.#deps.clock() };
    }
    signal.throwIfAborted();
  }

  async #present(id: string): Promise<Task> {
    const task = await this.#deps.book.find(id);
    if (task === undefined) throw new NotFound("task", id, "it was deleted while it was watched");
    return this.#deps.present(task);
  }
}

/** What makes a snapshot worth sending again. */
function fingerprint(task: Task): string {
  const { wait } = task;
  return wait === null ? `${task.version}` : `${task.version} ${wait.position} ${wait.message}`;
}

/** The output of a task over all its attempts, from a cursor on. */
class TaskOutput {
  readonly #journals: ReadonlyMap<string, JournalHub>;
  readonly #latch: Latch;
  readonly #resumed: boolean;
  readonly #tailBytes: number;
  /** Kept from when it was first seen: the end of a failed build comes after the task has ended. */
  build: BuildOutput | undefined;
  #batcher: LogBatcher;
  #attempt: number;
  #reading: JournalReading | undefined;
  #tailFrom: ReadonlyMap<LogStream, number> | undefined;
  #untouched = true;
  #broken = false;

  constructor(
    journals: ReadonlyMap<string, JournalHub>,
    latch: Latch,
    from: WatchCursor,
    request: { readonly cursor: string; readonly tailBytes: number },
  ) {
    this.#journals = journals;
    this.#latch = latch;
    this.#resumed = request.cursor !== "";
    this.#tailBytes = this.#resumed ? 0 : request.tailBytes;
    this.#attempt = from.attempt;
    this.#batcher = new LogBatcher(from);
  }

  set version(version: number) {
    this.#batcher.version = version;
  }

  cursor(): string {
    return this.#batcher.cursor();
  }

  close(): void {
    this.#reading?.[Symbol.dispose]();
    this.#reading = undefined;
  }

  /** What came since the last call; undefined when there is nothing new. Never waits for growth. */
  async next(task: Task): Promise<Iterable<LogOutput | LogGap> | undefined> {
    const built = this.build === undefined ? undefined : this.#batcher.built(this.build, new Date());
    if (built !== undefined) return [built];
    const attempts = writtenAttempts(task);
    const attempt = attempts[this.#attempt - 1];
    if (attempt === undefined) return undefined;
    // The journal comes with the container; the change of the record that names it wakes this watch again.
    if (attempt.containerId === "" && attempt.endTime === null) return undefined;
    const frames = await this.#poll(attempt);
    if (frames !== undefined) return this.#cut(this.#batcher.events(frames));
    if (attempt.endTime === null) return undefined;
    const gaps = [...this.#batcher.missing(attempt)];
    if (gaps.length > 0 && this.#tailFrom === undefined) return gaps;
    if (attempts.length === this.#attempt) return undefined;
    this.#attempt++;
    this.close();
    this.#broken = false;
    this.#batcher = new LogBatcher({ ...START, attempt: this.#attempt });
    this.version = task.version;
    return [];
  }

  async #poll(attempt: WrittenAttempt): Promise<JournalFrame[] | undefined> {
    if (this.#broken) return undefined;
    const hub = this.#journals.get(attempt.engine);
    if (hub === undefined) return undefined;
    if (this.#reading === undefined) {
      if (this.#tailBytes > 0) this.#tailFrom = await this.#findTail(hub, attempt.sandboxId);
      this.#reading = hub.open(attempt.sandboxId, this.#batcher.frame, this.#latch);
    }
    try {
      const frames = await this.#reading.poll();
      if (frames !== undefined && frames.length > 0) this.#untouched = false;
      return frames;
    } catch (error) {
      if (!(error instanceof DamagedJournal)) throw error;
      // At the very place that the cursor names, the cursor is to blame; anywhere else the task's journal is.
      if (this.#resumed && this.#untouched) throw new BadCursor("the cursor is not one of this task");
      this.#broken = true;
      return undefined;
    }
  }

  /** Where the last bytes of each stream begin, as far as they are written now. */
  async #findTail(hub: JournalHub, sandboxId: string): Promise<ReadonlyMap<LogStream, number>> {
    const totals = new Map<LogStream, number>();
    using reading = hub.open(sandboxId, 0, new Latch());
    for (let frames = await reading.poll(); frames !== undefined; frames = await reading.poll()) {
      for (const frame of frames) {
        const bytes = frame.kind === "log" ? frame.data.length : frame.kind === "gap" ? frame.bytes : 0;
        if (frame.kind === "log" || frame.kind === "gap")
          totals.set(frame.stream, (totals.get(frame.stream) ?? 0) + bytes);
      }
    }
    return new Map([...totals].map(([stream, total]) => [stream, Math.max(0, total - this.#tailBytes)]));
  }

  /** Leaves out what lies before the tail that was asked for. */
  *#cut(events: Iterable<LogOutput | LogGap>): Generator<LogOutput | LogGap> {
    for (const event of events) {
      const from = this.#tailFrom?.get(event.stream) ?? 0;
      if (event.kind === "gap" || event.offset >= from) yield event;
      else if (event.offset + event.data.length > from) {
        const skipped = from - event.offset;
        yield {
          ...event,
          offset: from,
          data: event.data.subarray(skipped),
          cursorAt: (byteOffset) => event.cursorAt(byteOffset + skipped),
        };
      }
    }
  }
}
