import { isTerminal, type Task } from "../domain/task.ts";
import type { TasksRequest, TasksUnderWay } from "./api.ts";
import type { Caller } from "./caller.ts";
import { Latch } from "./changes.ts";
import type { LiveUsage } from "./live-usage.ts";
import type { TaskBook } from "./task-book.ts";

/** At most twice a second: a busy server changes more often than anybody can read. */
const LEAST_INTERVAL_MILLIS = 500;
/** So many times as long as it took to make a picture passes before the next: ten thousand queued tasks take a while. */
const SPARE = 20;

export interface WatchTasksDeps {
  readonly book: TaskBook;
  readonly usage: LiveUsage;
  /** As readers see it: with why it waits and what it uses. */
  readonly present: (task: Task) => Task;
}

/** The tasks of one tenant that have not ended, as a whole, again and again. */
export class WatchTasks {
  readonly #deps: WatchTasksDeps;

  constructor(deps: WatchTasksDeps) {
    this.#deps = deps;
  }

  async *watch(
    { tenant }: Caller,
    request: TasksRequest,
    signal: AbortSignal,
  ): AsyncGenerator<TasksUnderWay> {
    const { book, usage } = this.#deps;
    const latch = new Latch();
    const deaf = [
      book.tenantChanges.listen(tenant, () => latch.set()),
      usage.changes.listen(tenant, () => latch.set()),
    ];
    try {
      let told = "";
      while (!signal.aborted) {
        const begin = performance.now();
        const picture = this.#picture(tenant, request);
        const news = fingerprint(picture);
        const interval = Math.max(LEAST_INTERVAL_MILLIS, SPARE * (performance.now() - begin));
        if (news !== told) yield picture;
        told = news;
        await new Latch().wait(signal, interval);
        await latch.wait(signal);
      }
      signal.throwIfAborted();
    } finally {
      for (const stop of deaf) stop();
    }
  }

  #picture(tenant: string, { labels, maxTasks }: TasksRequest): TasksUnderWay {
    const wanted = Object.entries(labels);
    const mine = this.#deps.book
      .allLive()
      .filter(
        (task) =>
          task.tenant === tenant &&
          !isTerminal(task.state) &&
          wanted.every(([name, value]) => task.spec.labels[name] === value),
      );
    const started = mine.filter(({ state }) => state !== "QUEUED");
    const queued = mine.filter(({ state }) => state === "QUEUED").map(this.#deps.present);
    const tasks = [
      ...started.sort((a, b) => (a.id < b.id ? -1 : 1)).map(this.#deps.present),
      ...queued.sort((a, b) => compare(placeOf(a), placeOf(b)) || (a.id < b.id ? -1 : 1)),
    ];
    return { tasks: tasks.slice(0, maxTasks), totalCount: tasks.length };
  }
}

/** What has no place in the queue, for it waits for other tasks, comes last. */
function placeOf({ wait }: Task): number {
  const position = wait?.position ?? 0;
  return position > 0 ? position : Number.POSITIVE_INFINITY;
}

/** Their difference would be no number where both have none. */
function compare(a: number, b: number): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

function fingerprint({ tasks, totalCount }: TasksUnderWay): string {
  const parts = tasks.map(({ id, version, wait, attempts }) => {
    const usage = attempts.at(-1)?.usage;
    return `${id} ${version} ${wait?.position} ${wait?.message} ${usage?.cpuMicros} ${usage?.peakRamBytes} ${usage?.logBytes}`;
  });
  return `${totalCount}\n${parts.join("\n")}`;
}
