import type { TaskStore } from "../domain/ports/task-store.ts";
import type { Task } from "../domain/task.ts";
import type { ListRequest } from "./api.ts";
import type { Caller } from "./caller.ts";
import { decodePageToken, encodePageToken } from "./page-token.ts";
import type { TaskBook } from "./task-book.ts";

/** GetTask and ListTasks: the record, as it is presented: with why a queued task waits and what a running one uses. */
export class ReadTasks {
  readonly #book: TaskBook;
  readonly #store: TaskStore;
  readonly #present: (task: Task) => Task;

  constructor(deps: { book: TaskBook; store: TaskStore; present: (task: Task) => Task }) {
    this.#book = deps.book;
    this.#store = deps.store;
    this.#present = deps.present;
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
}
