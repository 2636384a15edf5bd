import { amountOf, type Charge, formatMoney } from "../domain/charge.ts";
import { QuotaExceeded } from "../domain/errors.ts";
import { endedEntries } from "../domain/ledger.ts";
import type { UsageLedger } from "../domain/ports/usage-ledger.ts";
import { monthOf, type Quotas } from "../domain/quota.ts";
import { isTerminal, type Task } from "../domain/task.ts";
import type { Meter } from "./meter.ts";

const HOUR_MILLIS = 3_600_000;
const LONGEST_TIMER_MILLIS = 2 ** 31 - 1;
/** Amounts are known to the millisecond at best; a timer that fires a little early must not fire again and again. */
const LEAST_TIMER_MILLIS = 20;

export interface BudgetsDeps {
  readonly quotas: Quotas;
  /** Currency of the price book. */
  readonly currency: string;
  readonly meter: Meter;
  readonly ledger: UsageLedger;
  readonly clock: () => Date;
  /** Somebody's budget was used up, or a new month has begun. */
  readonly changed: () => void;
  /** The task is to end: its tenant's money is used up. */
  readonly stop: (taskId: string) => void;
}

/**
 * What each tenant has spent of its month's money: the ledger's rows, read once at the start and added to with each commit, and what
 * runs now. A timer is set for the moment at which running tasks will have used the rest up.
 */
export class Budgets {
  readonly #deps: BudgetsDeps;
  #month: Date;
  /** What ended attempts of this month cost, by tenant. */
  #spent = new Map<string, bigint>();
  /** Attempts under way of tenants that have a budget, by tenant and task. */
  readonly #running = new Map<string, Map<string, Task>>();
  readonly #timers = new Map<string, NodeJS.Timeout>();
  #monthTimer: NodeJS.Timeout | undefined;

  constructor(deps: BudgetsDeps) {
    this.#deps = deps;
    this.#month = monthOf(deps.clock());
  }

  /** Before anything is started or answered. */
  async open(): Promise<void> {
    const { quotas, ledger, currency } = this.#deps;
    if (!quotas.haveBudgets) return;
    this.#spent = new Map(await ledger.spent(this.#month, currency));
    this.#awaitMonth();
  }

  close(): void {
    clearTimeout(this.#monthTimer);
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  /** Once what ran before is followed again. */
  start(): void {
    for (const tenant of this.#running.keys()) this.#look(tenant);
  }

  /** To be told of every commit, and of every task of before at the start (without `previous`). */
  note(next: Task, previous: Task | undefined): void {
    const { tenant } = next;
    if (this.#budgetOf(tenant) === null) return;
    this.#turnMonth();
    for (const { endTime, usage } of previous === undefined ? [] : endedEntries(next, previous)) {
      if (usage.charge?.currency !== this.#deps.currency || endTime < this.#month) continue;
      this.#spent.set(tenant, (this.#spent.get(tenant) ?? 0n) + usage.charge.nanos);
    }
    const running = this.#running.get(tenant) ?? new Map<string, Task>();
    this.#running.set(tenant, running);
    const accrues = !isTerminal(next.state) && this.#accrued(next) !== undefined;
    if (accrues) running.set(next.id, next);
    else if (!running.delete(next.id)) return;
    // At the start nobody could be stopped yet: `start` looks at them all.
    if (previous !== undefined) this.#look(tenant);
  }

  /** What of its month's money a tenant has used, and when it gets new; undefined without a budget. */
  stateOf(tenant: string): { used: bigint; allowed: bigint; resetTime: Date } | undefined {
    const allowed = this.#budgetOf(tenant);
    if (allowed === null) return undefined;
    this.#turnMonth();
    let used = this.#spent.get(tenant) ?? 0n;
    for (const task of this.#running.get(tenant)?.values() ?? []) used += this.#accrued(task)?.nanos ?? 0n;
    return { used, allowed, resetTime: monthOf(this.#month, 1) };
  }

  get currency(): string {
    return this.#deps.currency;
  }

  /** One sentence where nothing is left; undefined where there is. */
  usedUp(tenant: string): string | undefined {
    const state = this.stateOf(tenant);
    if (state === undefined || state.used < state.allowed) return undefined;
    const { currency } = this.#deps;
    const [used, allowed] = [state.used, state.allowed].map((nanos) => formatMoney({ currency, nanos }));
    return `${used} of this month's budget of ${allowed} are spent; the next begins at ${state.resetTime.toISOString()}`;
  }

  /** Throws QuotaExceeded where nothing is left. */
  refuseUsedUp(tenant: string): void {
    const message = this.usedUp(tenant);
    const state = this.stateOf(tenant);
    if (message === undefined || state === undefined) return;
    const { currency } = this.#deps;
    throw new QuotaExceeded("monthly_spend", `${message}; ask the operator for more`, {
      used: formatMoney({ currency, nanos: state.used }),
      allowed: formatMoney({ currency, nanos: state.allowed }),
      resetTime: state.resetTime,
    });
  }

  #budgetOf(tenant: string): bigint | null {
    return this.#deps.quotas.of(tenant).monthlySpendNanos;
  }

  #accrued(task: Task): Charge | undefined {
    const { accrued } = this.#deps.meter.withAccrued(task, this.#deps.clock());
    return accrued?.currency === this.#deps.currency ? accrued : undefined;
  }

  /** Acts where the money is used up, else looks again when it will be. */
  #look(tenant: string): void {
    clearTimeout(this.#timers.get(tenant));
    this.#timers.delete(tenant);
    const running = this.#running.get(tenant);
    if (running === undefined || running.size === 0) return;
    if (this.usedUp(tenant) !== undefined) {
      this.#deps.changed();
      if (this.#deps.quotas.of(tenant).stopsRunning) for (const id of running.keys()) this.#deps.stop(id);
      return;
    }
    const wait = this.#millisLeft(tenant, [...running.values()]);
    if (wait === undefined) return;
    const millis = Math.min(Math.max(wait, LEAST_TIMER_MILLIS), LONGEST_TIMER_MILLIS);
    this.#timers.set(
      tenant,
      setTimeout(() => this.#look(tenant), millis),
    );
  }

  /** How long the rest lasts for what runs now; undefined where that costs nothing. */
  #millisLeft(tenant: string, running: readonly Task[]): number | undefined {
    const state = this.stateOf(tenant);
    let perHour = 0n;
    for (const task of running) {
      const accrued = this.#accrued(task);
      if (accrued !== undefined) perHour += amountOf(accrued, task.limits, HOUR_MILLIS);
    }
    if (state === undefined || perHour === 0n) return undefined;
    return Number(((state.allowed - state.used) * BigInt(HOUR_MILLIS)) / perHour) + 1;
  }

  #turnMonth(): void {
    const month = monthOf(this.#deps.clock());
    if (month <= this.#month) return;
    this.#month = month;
    this.#spent.clear();
    this.#deps.changed();
  }

  #awaitMonth(): void {
    const left = monthOf(this.#month, 1).getTime() - this.#deps.clock().getTime();
    this.#monthTimer = setTimeout(
      () => {
        this.#turnMonth();
        this.#awaitMonth();
      },
      Math.min(Math.max(left, LEAST_TIMER_MILLIS), LONGEST_TIMER_MILLIS),
    );
    this.#monthTimer.unref();
  }
}
