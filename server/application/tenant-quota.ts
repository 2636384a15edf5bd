import { addResources, NO_RESOURCES, subtractResources } from "../domain/capacity.ts";
import { QuotaExceeded } from "../domain/errors.ts";
import type { Limit } from "../domain/limits.ts";
import type { Quota, Quotas } from "../domain/quota.ts";
import type { Resources } from "../domain/resources.ts";
import type { Task } from "../domain/task.ts";
import type { QuotaState } from "./api.ts";
import type { Budgets } from "./budgets.ts";
import { describeAmount } from "./describe-wait.ts";

/** Why a tenant's task may not start although the host has room. */
export interface QuotaWait {
  readonly limit: Limit;
  readonly needed: number;
  readonly available: number;
  readonly message: string;
}

const LIMITS = [
  ["cpuMillis", "CPU"],
  ["ramBytes", "RAM"],
  ["storageBytes", "STORAGE"],
  ["gpuCount", "GPU"],
] as const satisfies readonly (readonly [keyof Resources & keyof Quota, Limit])[];

/** What tenants hold, have queued and spend, against the most they may. Asked before a task is taken and before it starts. */
export class TenantQuota {
  readonly #quotas: Quotas;
  readonly #budgets: Budgets;
  readonly #stored: (tenant: string) => Promise<number>;
  readonly #held = new Map<string, Resources>();
  readonly #holds = new Map<string, { readonly tenant: string; readonly resources: Resources }>();
  /** In the record's state QUEUED, or on the way into it. */
  readonly #queued = new Map<string, number>();

  constructor(deps: { quotas: Quotas; budgets: Budgets; stored: (tenant: string) => Promise<number> }) {
    this.#quotas = deps.quotas;
    this.#stored = deps.stored;
    this.#budgets = deps.budgets;
  }

  /** To be told of every commit, and of every task of before at the start (without `previous`). */
  note(next: Task, previous: Task | undefined): void {
    this.#count(next.tenant, Number(next.state === "QUEUED") - Number(previous?.state === "QUEUED"));
    this.#budgets.note(next, previous);
  }

  /** Throws QuotaExceeded where the tenant may have no more tasks, or has spent all it may. */
  refuseUsedUp(tenant: string): void {
    const allowed = this.#quotas.of(tenant).queuedTasks;
    const used = this.#queued.get(tenant) ?? 0;
    if (allowed !== null && used >= allowed) {
      throw new QuotaExceeded(
        "queued_tasks",
        `${used} tasks are queued, and ${allowed} are the most of tenant ${tenant}; try again when some have started`,
        { used: String(used), allowed: String(allowed) },
      );
    }
    this.#budgets.refuseUsedUp(tenant);
  }

  /** As `refuseUsedUp`, and keeps a place in the queue until it is disposed of: by then the task is in the record, or was refused. */
  enter(tenant: string): Disposable {
    this.refuseUsedUp(tenant);
    this.#count(tenant, 1);
    let kept = true;
    return {
      [Symbol.dispose]: () => {
        if (kept) this.#count(tenant, -1);
        kept = false;
      },
    };
  }

  /** Throws QuotaExceeded, naming everything of which the task alone asks for more than the tenant may ever hold. */
  refuseWhatNeverFits(tenant: string, limits: Resources): void {
    const quota = this.#quotas.of(tenant);
    const over = LIMITS.flatMap(([key, limit]) => {
      const allowed = quota[key];
      return allowed !== null && limits[key] > allowed ? [{ key, limit, allowed }] : [];
    });
    const [first] = over;
    if (first === undefined) return;
    const sentences = over.map(
      ({ key, limit, allowed }) =>
        `resources.${limit.toLowerCase()}: ${describeAmount(limit, limits[key])} asked, tenant ${tenant} may hold ${describeAmount(limit, allowed)} at once`,
    );
    throw new QuotaExceeded(first.limit.toLowerCase(), sentences.join("; "), {
      used: String(limits[first.key]),
      allowed: String(first.allowed),
    });
  }

  /** Undefined where the task may start. */
  waitOf(task: Task): QuotaWait | undefined {
    const spent = this.#budgets.usedUp(task.tenant);
    if (spent !== undefined) return { limit: "QUOTA", needed: 0, available: 0, message: spent };
    const quota = this.#quotas.of(task.tenant);
    const held = this.#held.get(task.tenant) ?? NO_RESOURCES;
    for (const [key, limit] of LIMITS) {
      const allowed = quota[key];
      const needed = task.limits[key];
      if (allowed === null || held[key] + needed <= allowed) continue;
      const available = Math.max(0, allowed - held[key]);
      const [short, left, all] = [needed, available, allowed].map((value) => describeAmount(limit, value));
      const message = `waiting for ${short} of the tenant's quota (${left} of ${all} free)`;
      return { limit, needed, available, message };
    }
    return undefined;
  }

  /** Everything that is limited, and how far it is used. */
  async states(tenant: string): Promise<QuotaState[]> {
    const quota = this.#quotas.of(tenant);
    const held = this.#held.get(tenant) ?? NO_RESOURCES;
    const states: QuotaState[] = LIMITS.flatMap(([key, limit]) => {
      const allowed = quota[key];
      return allowed === null ? [] : [{ name: limit.toLowerCase(), used: held[key], allowed }];
    });
    const { queuedTasks, storedBytes } = quota;
    if (queuedTasks !== null)
      states.push({ name: "queued_tasks", used: this.#queued.get(tenant) ?? 0, allowed: queuedTasks });
    if (storedBytes !== null)
      states.push({ name: "stored_bytes", used: await this.#stored(tenant), allowed: storedBytes });
    const money = this.#budgets.stateOf(tenant);
    if (money !== undefined) {
      const { currency } = this.#budgets;
      const spent = { currency, nanos: money.used };
      const budget = { currency, nanos: money.allowed };
      states.push({ name: "monthly_spend", spent, budget, resetTime: money.resetTime });
    }
    return states;
  }

  hold({ id, tenant, limits }: Task): void {
    const { cpuMillis, ramBytes, storageBytes, gpuCount } = limits;
    const resources = { cpuMillis, ramBytes, storageBytes, gpuCount };
    this.#holds.set(id, { tenant, resources });
    this.#held.set(tenant, addResources(this.#held.get(tenant) ?? NO_RESOURCES, resources));
  }

  giveBack(taskId: string): void {
    const hold = this.#holds.get(taskId);
    if (hold === undefined) return;
    this.#holds.delete(taskId);
    const left = subtractResources(this.#held.get(hold.tenant) ?? NO_RESOURCES, hold.resources);
    if (Object.values(left).every((value) => value === 0)) this.#held.delete(hold.tenant);
    else this.#held.set(hold.tenant, left);
  }

  #count(tenant: string, change: number): void {
    const count = (this.#queued.get(tenant) ?? 0) + change;
    if (count === 0) this.#queued.delete(tenant);
    else this.#queued.set(tenant, count);
  }
}
