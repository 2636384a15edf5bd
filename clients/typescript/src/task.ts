import type { Money } from "@longshore/proto/google/type/money";
import type { Task as TaskRecord } from "@longshore/proto/longshore/v1/task";
import { TaskServiceService, TaskView } from "@longshore/proto/longshore/v1/task_service";
import { Artifacts } from "./artifacts.ts";
import type { CallOptions, Channel } from "./channel.ts";
import { LongshoreError, TaskFailed } from "./errors.ts";
import { isTerminal, outcomeOf, type TaskOutcome } from "./outcome.ts";
import { type DurationText, durationOption, type ResourceOptions, resourcesOf } from "./spec.ts";
import { type LogEvent, type LogStream, type TaskEvent, type WatchOptions, watchTask } from "./watch.ts";

export interface GetOptions extends CallOptions {
  /** "basic" leaves out the code, stdin and the tails of the output. */
  readonly view?: "basic" | "full";
}

export interface WaitOptions extends CallOptions {
  /** Told everything that happens until then, output included. */
  readonly onEvent?: (event: TaskEvent) => void | Promise<void>;
}

export interface ResultOptions extends WaitOptions {
  /** False answers the outcome of a task that failed, too, where TaskFailed would be thrown. */
  readonly reject?: boolean;
}

export interface LogOptions extends Omit<WatchOptions, "logs"> {
  /** This one alone. */
  readonly stream?: LogStream;
}

export interface CancelOptions extends CallOptions {
  /** For the record. */
  readonly reason?: string;
  /** Between SIGTERM and SIGKILL; 5 s by default. */
  readonly grace?: DurationText;
}

export interface RerunOptions extends CallOptions, ResourceOptions {
  readonly timeout?: DurationText;
  readonly requestId?: string;
}

/** A task on the server. Dropping the handle changes nothing there. */
export class Task {
  readonly id: string;
  /** What the task left behind. */
  readonly artifacts: Artifacts;
  readonly #channel: Channel;
  #latest: TaskRecord | undefined;

  constructor(channel: Channel, id: string, record?: TaskRecord) {
    this.#channel = channel;
    this.id = id;
    this.#latest = record;
    this.artifacts = new Artifacts(channel, id);
  }

  /** The record as this handle last saw it: at its creation, by get, wait, result or cancel. */
  get latest(): TaskRecord | undefined {
    return this.#latest;
  }

  /** How the task ended, once this handle has seen it end. */
  get outcome(): TaskOutcome | undefined {
    return this.#latest !== undefined && isTerminal(this.#latest) ? outcomeOf(this.#latest) : undefined;
  }

  /** One file that the task leaves behind, as an input of another task, which then waits for this one. */
  artifact(path: string): { readonly taskId: string; readonly artifact: string } {
    return { taskId: this.id, artifact: path };
  }

  /** What the task has cost so far, as this handle last saw it; undefined where nothing has a price. */
  get cost(): Money | undefined {
    return this.#latest?.cost;
  }

  /** Id of the task whose result answered this one; empty while this handle has not seen that, and for a task that runs itself. */
  get cachedFrom(): string {
    return this.#latest?.cachedFrom ?? "";
  }

  /** Reads the record. */
  async get(options: GetOptions = {}): Promise<TaskRecord> {
    const request = { id: this.id, view: options.view === "basic" ? TaskView.BASIC : TaskView.FULL };
    const answer = await this.#channel.unary(TaskServiceService.getTask, request, {
      ...options,
      retry: true,
    });
    return this.#keep(answer.task);
  }

  /**
   * Everything that happens, from the beginning or from a cursor, until the task has ended. A lost connection or a restart
   * of the server is waited out; no byte is lost or repeated. Leaving the loop ends the watch, never the task.
   */
  watch(options: WatchOptions = {}): AsyncGenerator<TaskEvent, void, undefined> {
    return watchTask(this.#channel, this.id, options);
  }

  /** The output alone. With `follow: false`, what there is now. */
  async *logs(options: LogOptions = {}): AsyncGenerator<LogEvent, void, undefined> {
    const { stream } = options;
    for await (const event of this.watch(options))
      if (event.kind === "log" && (stream === undefined || event.stream === stream)) yield event;
  }

  /** Waits for the end, however the task ends, and answers this handle. */
  async wait(options: WaitOptions = {}): Promise<this> {
    let record: TaskRecord | undefined;
    for await (const event of this.watch({ ...options, logs: options.onEvent !== undefined })) {
      if (event.kind === "task") record = event.task;
      await options.onEvent?.(event);
    }
    this.#keep(record);
    return this;
  }

  /** Waits for the end. Throws TaskFailed unless the task succeeded or `reject` is false. */
  async result(options: ResultOptions = {}): Promise<TaskOutcome> {
    const { outcome } = await this.wait(options);
    if (outcome === undefined)
      throw new LongshoreError("the server ended the watch without a result", { code: "INTERNAL" });
    if (!outcome.succeeded && options.reject !== false) throw new TaskFailed(outcome);
    return outcome;
  }

  /** Asks for the end; the task may still be ending when this answers. Asking twice is no error. */
  async cancel(options: CancelOptions = {}): Promise<TaskRecord> {
    const grace = durationOption("grace", options.grace);
    const request = { id: this.id, reason: options.reason ?? "", grace };
    const answer = await this.#channel.unary(TaskServiceService.cancelTask, request, {
      ...options,
      retry: true,
    });
    return this.#keep(answer.task);
  }

  /** Runs the same again, as a new task. */
  async rerun(options: RerunOptions = {}): Promise<Task> {
    const request = {
      id: this.id,
      requestId: options.requestId ?? crypto.randomUUID(),
      resources: resourcesOf(options),
      timeout: durationOption("timeout", options.timeout),
    };
    const { task } = await this.#channel.unary(TaskServiceService.rerunTask, request, {
      ...options,
      retry: true,
    });
    return taskFrom(this.#channel, task);
  }

  /** Removes the record, the output and the artifacts of a task that has ended. */
  async delete(options: CallOptions = {}): Promise<void> {
    // A repeated delete would answer NOT_FOUND for what the first one did.
    await this.#channel.unary(TaskServiceService.deleteTask, { id: this.id }, { ...options, retry: false });
  }

  #keep(record: TaskRecord | undefined): TaskRecord {
    if (record === undefined)
      throw new LongshoreError("the server answered without a task", { code: "INTERNAL" });
    this.#latest = record;
    return record;
  }
}

export function taskFrom(channel: Channel, record: TaskRecord | undefined): Task {
  if (record === undefined)
    throw new LongshoreError("the server answered without a task", { code: "INTERNAL" });
  return new Task(channel, record.id, record);
}
