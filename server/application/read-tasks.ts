import type { TaskStore } from "../domain/ports/task-store.ts";
import type { Task, Wait } from "../domain/task.ts";
import type { Caller, ListRequest } from "./api.ts";
import type { Meter } from "./meter.ts";
import { decodePageToken, encodePageToken } from "./page-token.ts";
import type { TaskBook } from "./task-book.ts";

/** GetTask and ListTasks: the record, with why a queued task waits. */
export class ReadTasks {
  readonly #book: TaskBook;
  readonly #store: TaskStore;
  readonly #waitOf: (taskId: string) => Wait | undefined;
  readonly #meter: Meter;
  readonly #clock: () => Date;

  constructor(deps: {
    book: TaskBook;
    store: TaskStore;
    waitOf: (taskId: string) => Wait | undefined;
    meter: Meter;
    clock: () => Date;
  }) {
    this.#book = deps.book;
    this.#store = deps.store;
    this.#waitOf = deps.waitOf;
    this.#meter = deps.meter;
    this.#clock = deps.clock;
  }

  async get(caller: Caller, id: string): Promise<Task> {
    return this.#present(await this.#book.get(id, caller.tenant));
  }

  async list(caller: Caller, request: ListRequest): Promise<{ tasks: Task[]; nextPageToken: string }> {
    const { violations, pageSize, pageToken, ...conditions } = request;
    const afterId = decodePageToken(pageToken, conditions, violations);
    const found = await this.#store.list({
      ...conditions,
      tenant: caller.tenant,
      afterId,
      limit: pageSize + 1,
    });
    const page = found.slice(0, pageSize);
    const last = page.at(-1);
    const more = found.length > pageSize && last !== undefined;
    return {
      tasks: page.map((task) => this.#present(this.#book.live(task.id) ?? task)),
      nextPageToken: more ? encodePageToken(last.id, conditions) : "",
    };
  }

  #present(task: Task): Task {
    if (task.state === "QUEUED") return { ...task, wait: this.#waitOf(task.id) ?? null };
    return this.#meter.withAccrued(task, this.#clock());
  }
}
