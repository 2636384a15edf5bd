import {
  allowsStart,
  describeLost,
  MAX_DEPENDENCIES,
  needsOf,
  outcomeOf,
  outcomeOfDamaged,
  outcomeOfDeleted,
  type TaskOutcome,
} from "../domain/dependency.ts";
import { type FieldViolation, WrongState } from "../domain/errors.ts";
import type { Policy } from "../domain/policy.ts";
import type { TaskStore } from "../domain/ports/task-store.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import { isTerminal, type Task, type TaskSpec, type Wait } from "../domain/task.ts";
import { isDamaged, type TaskRecord } from "../domain/task-record.ts";
import { closeStages } from "../domain/transition.ts";
import { withoutAttempt } from "../domain/verdict.ts";
import { factsOf } from "./log-facts.ts";
import type { TaskBook } from "./task-book.ts";

/** As many as an answer names; there may be thousands. */
const MOST_NAMED = 10;

/** What one task needs of others, from before it is stored until it has ended. */
interface Claim {
  readonly taskId: string;
  readonly tenant: string;
  readonly needs: readonly string[];
  /** Of those that have ended. */
  readonly outcomes: Map<string, TaskOutcome>;
  /** Set while it is held back. */
  waiting: Task | undefined;
}

export interface DependenciesDeps {
  readonly book: TaskBook;
  readonly store: TaskStore;
  readonly policy: Policy;
  readonly log: Log;
  readonly clock: () => Date;
  /** All that a held back task waited for has succeeded. */
  readonly ready: (task: Task) => void;
}

/**
 * Holds tasks back until those they depend on have succeeded, and ends them when one did not. The record of each task names what
 * it needs, so that all of this is made anew at a start: an ending that was not passed on before is passed on then.
 */
export class Dependencies {
  readonly #deps: DependenciesDeps;
  readonly #claims = new Map<string, Claim>();
  /** By the task that is needed. */
  readonly #needed = new Map<string, Set<Claim>>();
  /** On their way out of the record. */
  readonly #leaving = new Set<string>();
  readonly #ending = new Set<Promise<void>>();
  readonly #closing = new AbortController();
  #waitingCount = 0;

  constructor(deps: DependenciesDeps) {
    this.#deps = deps;
  }

  get waitingCount(): number {
    return this.#waitingCount;
  }

  /** It is held back. */
  has(taskId: string): boolean {
    return this.#claims.get(taskId)?.waiting !== undefined;
  }

  /**
   * Claims what a new task needs, so that none of it can be deleted, and adds what cannot be had to `violations`. To be undone by
   * `release` when the task does not come to be.
   */
  async claim(id: string, tenant: string, spec: TaskSpec, violations: FieldViolation[]): Promise<void> {
    const needs = boundedNeedsOf(spec);
    if (needs.length === 0) return;
    const claim = this.#hold(id, tenant, needs);
    let found: Map<string, TaskOutcome>;
    try {
      found = await this.#outcomes(needs);
    } catch (error) {
      this.release(id);
      throw error;
    }
    for (const outcome of found.values()) this.#note(claim, outcome);
    violations.push(...this.#problems(tenant, spec, found));
  }

  /** What `claim` would find wrong now. */
  async check(tenant: string, spec: TaskSpec): Promise<FieldViolation[]> {
    const needs = boundedNeedsOf(spec);
    return needs.length === 0 ? [] : this.#problems(tenant, spec, await this.#outcomes(needs));
  }

  /** Gives up what a task claimed; does nothing when it claimed nothing. */
  release(id: string): void {
    const claim = this.#claims.get(id);
    if (claim === undefined) return;
    this.#claims.delete(id);
    this.#letGo(claim);
    for (const need of claim.needs) {
      const claims = this.#needed.get(need);
      claims?.delete(claim);
      if (claims?.size === 0) this.#needed.delete(need);
    }
  }

  /** At a start, before any task enters: claims for all that an earlier server left. */
  async restore(tasks: readonly Task[]): Promise<void> {
    const present = new Map(tasks.map((task) => [task.id, outcomeOf(task)]));
    const open = tasks.filter((task) => !isTerminal(task.state) && needsOf(task.spec).length > 0);
    const others = new Set(open.flatMap((task) => needsOf(task.spec)).filter((id) => !present.has(id)));
    const stored = await this.#deps.store.outcomes([...others]);
    for (const task of open) {
      const claim = this.#hold(task.id, task.tenant, needsOf(task.spec));
      for (const id of claim.needs)
        this.#note(claim, present.get(id) ?? endOf(stored.get(id)) ?? outcomeOfDeleted(id, task.tenant));
    }
  }

  /** False when the task has nothing to wait for, and is the caller's to go on with. */
  holdBack(task: Task): boolean {
    const claim = this.#claims.get(task.id);
    // A task that was started once had all it needs.
    if (claim === undefined || task.attempts.length > 0) return false;
    if (claim.waiting === undefined) this.#waitingCount++;
    claim.waiting = task;
    if (this.#isReady(claim, task)) {
      this.#letGo(claim);
      return false;
    }
    this.#endIfLost(claim, task);
    return true;
  }

  /** To be called after the commit of every ending. */
  ended(task: Task): void {
    this.release(task.id);
    const outcome = outcomeOf(task);
    for (const claim of [...(this.#needed.get(task.id) ?? [])]) {
      this.#note(claim, outcome);
      const { waiting } = claim;
      if (waiting === undefined) continue;
      if (this.#isReady(claim, waiting)) {
        this.#letGo(claim);
        this.#deps.ready(this.#deps.book.live(waiting.id) ?? waiting);
      } else {
        this.#endIfLost(claim, waiting);
        this.#deps.book.changes.tell(waiting.id);
      }
    }
  }

  /** Since when nothing but its turn has held a task up; undefined while it is held back. */
  readyTime(task: Task): Date | undefined {
    const claim = this.#claims.get(task.id);
    if (claim?.waiting !== undefined) return undefined;
    const ends = [...(claim?.outcomes.values() ?? [])].map(({ endTime }) => endTime?.getTime() ?? 0);
    return new Date(Math.max(task.createTime.getTime(), ...ends));
  }

  /** What a task that is held back waits for; undefined for every other. */
  waitOf(taskId: string): Wait | undefined {
    const claim = this.#claims.get(taskId);
    if (claim?.waiting === undefined) return undefined;
    const open = claim.needs.filter((id) => !claim.outcomes.has(id));
    const [first] = open;
    const state = first === undefined ? "" : (this.#deps.book.live(first)?.state.toLowerCase() ?? "");
    const message =
      open.length === 1
        ? `waiting for task ${first}${state === "" ? "" : `, which is ${state}`}`
        : `waiting for ${open.length} of ${claim.needs.length} tasks that it depends on`;
    return {
      kind: "DEPENDENCY",
      limit: null,
      needed: 0,
      available: 0,
      position: 0,
      blockingTaskIds: open.slice(0, MOST_NAMED),
      since: claim.waiting.createTime,
      message,
    };
  }

  /** Tasks that have not ended and need this one. */
  neededBy({ id, tenant }: Pick<Task, "id" | "tenant">): string[] {
    // Until it is refused, a request may claim what is not its tenant's, which must neither show nor hold anything up.
    return [...(this.#needed.get(id) ?? [])].flatMap((claim) =>
      claim.tenant === tenant ? claim.taskId : [],
    );
  }

  /** Announces the removal of a record until disposed. Throws WrongState while another task needs it. */
  leave(task: TaskRecord): Disposable {
    const [first, ...more] = this.neededBy(task);
    if (first !== undefined) {
      const others = more.length === 0 ? "" : ` and ${more.length} more`;
      throw new WrongState(
        `task ${task.id} is needed by task ${first}${others}; wait until it has ended, or cancel it first`,
        task.state ?? "",
      );
    }
    this.#leaving.add(task.id);
    return { [Symbol.dispose]: () => this.#leaving.delete(task.id) };
  }

  /** What was not passed on is at the next start. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.allSettled(this.#ending);
  }

  #hold(taskId: string, tenant: string, needs: readonly string[]): Claim {
    const claim: Claim = { taskId, tenant, needs, outcomes: new Map(), waiting: undefined };
    this.#claims.set(taskId, claim);
    for (const need of needs) this.#needed.set(need, (this.#needed.get(need) ?? new Set()).add(claim));
    return claim;
  }

  #letGo(claim: Claim): void {
    if (claim.waiting !== undefined) this.#waitingCount--;
    claim.waiting = undefined;
  }

  /** What was read may be older than what was told meanwhile, but an end is an end. */
  #note(claim: Claim, outcome: TaskOutcome): void {
    if (isTerminal(outcome.state)) claim.outcomes.set(outcome.id, outcome);
  }

  async #outcomes(ids: readonly string[]): Promise<Map<string, TaskOutcome>> {
    const stored = await this.#deps.store.outcomes(ids);
    for (const id of ids) {
      const live = this.#deps.book.live(id);
      const outcome = stored.get(id);
      if (live !== undefined) stored.set(id, outcomeOf(live));
      else if (outcome !== undefined && !isTerminal(outcome.state)) {
        // It ended meanwhile, or nobody works on it, for its record cannot be read.
        const record = await this.#deps.store.get(id);
        if (record === undefined) stored.delete(id);
        else stored.set(id, isDamaged(record) ? outcomeOfDamaged(record) : outcomeOf(record));
      }
    }
    return stored;
  }

  #problems(tenant: string, spec: TaskSpec, found: ReadonlyMap<string, TaskOutcome>): FieldViolation[] {
    const isUnknown = (id: string) => this.#leaving.has(id) || found.get(id)?.tenant !== tenant;
    const unknown = (field: string, id: string) => ({
      field,
      description: `there is no task ${id.slice(0, 100)}`,
    });
    const named = spec.dependsOn.flatMap((id, index) => {
      const field = `depends_on[${index}]`;
      if (isUnknown(id)) return [unknown(field, id)];
      const outcome = found.get(id);
      if (outcome === undefined || !isTerminal(outcome.state) || outcome.state === "SUCCEEDED") return [];
      return [{ field, description: `${describeLost(outcome)}; rerun it, and name the new task` }];
    });
    const sources = spec.inputs.flatMap((input, index) =>
      input.kind === "artifact" && isUnknown(input.taskId)
        ? [unknown(`inputs[${index}].artifact.task_id`, input.taskId)]
        : [],
    );
    return [...named, ...sources];
  }

  #isReady({ needs, outcomes }: Claim, task: Task): boolean {
    return needs.every((id) => {
      const outcome = outcomes.get(id);
      return outcome !== undefined && allowsStart(task, outcome);
    });
  }

  #endIfLost(claim: Claim, task: Task): void {
    const lost = claim.needs.flatMap((id) => claim.outcomes.get(id) ?? []).find((o) => !allowsStart(task, o));
    if (lost === undefined) return;
    const work = this.#end(task.id, lost)
      .catch((error: unknown) => {
        if (!this.#closing.signal.aborted)
          this.#deps.log.error("a dependent task was left queued", {
            ...factsOf(task),
            error: String(error),
          });
      })
      .finally(() => this.#ending.delete(work));
    this.#ending.add(work);
  }

  async #end(id: string, lost: TaskOutcome): Promise<void> {
    const { book, policy, clock } = this.#deps;
    const advice = `see what happened with longshore describe ${lost.id}; then submit both again`;
    const result = withoutAttempt("DEPENDENCY_FAILED", describeLost(lost), advice);
    await book.record(
      id,
      (present) => {
        if (present.state !== "QUEUED") return undefined;
        const time = clock();
        const retention = present.spec.retentionMillis ?? policy.defaultRetentionMillis;
        const expireTime = new Date(time.getTime() + retention);
        const stages = closeStages(present, time);
        return { kind: "end", time, result, usage: null, runTime: null, expireTime, stages };
      },
      this.#closing.signal,
    );
  }
}

/** At a start, of a task that is not under way: one whose record cannot be read was not taken up, and never ends. */
function endOf(outcome: TaskOutcome | undefined): TaskOutcome | undefined {
  return outcome === undefined || isTerminal(outcome.state) ? outcome : outcomeOfDamaged(outcome);
}

/** What is refused for its length is not looked up, too. */
function boundedNeedsOf(spec: TaskSpec): string[] {
  const longest = Math.max(spec.dependsOn.length, spec.inputs.length);
  return longest > MAX_DEPENDENCIES ? [] : needsOf(spec);
}
