import { Task as WireTask } from "@longshore/proto/longshore/v1/task.ts";
import { isDamaged, type TaskRecord } from "#server/domain/task-record.ts";
import { damagedTaskToProto, taskToProto, type View } from "./translate/task-to-proto.ts";

/** Clients commonly take messages of 4 MiB; the rest is room for what else is in one. */
const MOST_BYTES = 3.5 * 2 ** 20;

/** Tasks of one message, up to what a client takes. */
export class TaskMessages {
  readonly #view: View;
  readonly #messages: WireTask[] = [];
  #bytes = 0;

  constructor(view: View) {
    this.#view = view;
  }

  /** Whether the message still has room for it. */
  add(task: TaskRecord): boolean {
    const message = isDamaged(task) ? damagedTaskToProto(task) : taskToProto(task, this.#view);
    this.#messages.push(message);
    this.#bytes += WireTask.encode(message).finish().length;
    return this.#bytes <= MOST_BYTES;
  }

  first(count: number): WireTask[] {
    return this.#messages.slice(0, count);
  }
}
