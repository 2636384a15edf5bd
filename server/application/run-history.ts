import type { TaskStore } from "../domain/ports/task-store.ts";
import type { Task } from "../domain/task.ts";

/** The median of so few follows a change of the data soon, and one odd run does not move it. */
const RUNS = 5;
/** About as many programs as people work on at once; the rest is read again when it comes back. */
const MOST_PROGRAMS = 10_000;

/** How long programs ran lately, which is how long they are expected to run the next time. */
export class RunHistory {
  readonly #store: TaskStore;
  /** The last runs in milliseconds, latest first; the programs asked for last come last. */
  readonly #runs = new Map<string, readonly number[]>();

  constructor(store: TaskStore) {
    this.#store = store;
  }

  /** The median of the last runs that succeeded; null when there was none. */
  async expect(tenant: string, programDigest: string): Promise<number | null> {
    const key = keyOf(tenant, programDigest);
    const known = this.#runs.get(key) ?? (await this.#store.lastRuns(tenant, programDigest, RUNS));
    this.#remember(key, this.#runs.get(key) ?? known);
    const sorted = known.toSorted((a, b) => a - b);
    return sorted[sorted.length >> 1] ?? null;
  }

  /** To be called after the commit of every ending. */
  ended(task: Task): void {
    const key = keyOf(task.tenant, task.programDigest);
    const known = this.#runs.get(key);
    if (known === undefined || task.state !== "SUCCEEDED") return;
    if (task.startTime === null || task.endTime === null) return;
    const millis = Math.max(0, task.endTime.getTime() - task.startTime.getTime());
    this.#remember(key, [millis, ...known].slice(0, RUNS));
  }

  #remember(key: string, runs: readonly number[]): void {
    this.#runs.delete(key);
    this.#runs.set(key, runs);
    for (const oldest of this.#runs.keys()) {
      if (this.#runs.size <= MOST_PROGRAMS) break;
      this.#runs.delete(oldest);
    }
  }
}

/** A digest has one length, so no tenant's name can make two keys equal. */
function keyOf(tenant: string, programDigest: string): string {
  return `${programDigest} ${tenant}`;
}
