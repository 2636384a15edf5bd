import type { TaskStore } from "../domain/ports/task-store.ts";
import type { Task } from "../domain/task.ts";
import { isDamaged, type TaskRecord } from "../domain/task-record.ts";
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

  async list(caller: Caller, request: ListRequest): Promise<{ tasks: TaskRecord[]; nextPageToken: string }> {
    const { violations, pageSize, pageToken, fits, ...conditions } = request;
    const afterId = decodePageToken(pageToken, conditions, violations);
    const { tenant } = caller;
    const page = await this.#store.list({ ...conditions, tenant, afterId, limit: pageSize });
    const tasks: TaskRecord[] = [];
    let next = page.nextAfterId;
    for (const record of page.records) {
      const known = this.#book.live(record.id) ?? record;
      const task = isDamaged(known) ? known : this.#present(known);
      const last = tasks.at(-1);
      if (!fits(task) && last !== undefined) {
        next = last.id;
        break;
      }
      tasks.push(task);
    }
    return { tasks, nextPageToken: next === "" ? "" : encodePageToken(next, conditions) };
  }
}
