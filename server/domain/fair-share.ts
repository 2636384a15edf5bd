/** What a tenant has had so far counts half after this time: a long memory would punish a busy week for another one. */
const HALF_LIFE_MILLIS = 10 * 60_000;
const DECAY = Math.LN2 / HALF_LIFE_MILLIS;
/** Below this nothing is left to remember: a thousandth of a host for a second. */
const FORGOTTEN = 1;

interface Account {
  /** Shares of a host times milliseconds, decayed up to `time`. */
  used: number;
  /** Shares of a host held now. */
  held: number;
  time: number;
}

/**
 * Whose turn it is among tenants: whoever has had least of the hosts lately, for its weight. With one tenant it decides nothing.
 */
export class FairShare {
  readonly #weights: ReadonlyMap<string, number>;
  readonly #clock: () => Date;
  readonly #accounts = new Map<string, Account>();
  readonly #holds = new Map<string, { readonly tenant: string; readonly share: number }>();

  constructor(weights: ReadonlyMap<string, number>, clock: () => Date) {
    this.#weights = weights;
    this.#clock = clock;
  }

  /** A task of the tenant holds this share of a host from now on. */
  hold(tenant: string, taskId: string, share: number): void {
    const account = this.#present(tenant) ?? { used: 0, held: 0, time: this.#clock().getTime() };
    account.held += share;
    this.#accounts.set(tenant, account);
    this.#holds.set(taskId, { tenant, share });
  }

  giveBack(taskId: string): void {
    const hold = this.#holds.get(taskId);
    if (hold === undefined) return;
    this.#holds.delete(taskId);
    const account = this.#present(hold.tenant);
    if (account === undefined) return;
    account.held = Math.max(0, account.held - hold.share);
  }

  /** The less, the sooner it is the tenant's turn. What is held now counts as if it were held for a while. */
  score(tenant: string): number {
    const account = this.#present(tenant);
    if (account === undefined) return 0;
    return (account.used + account.held / DECAY) / (this.#weights.get(tenant) ?? 1);
  }

  /** The account up to now; undefined when nothing is left to remember. */
  #present(tenant: string): Account | undefined {
    const account = this.#accounts.get(tenant);
    if (account === undefined) return undefined;
    const now = this.#clock().getTime();
    const kept = Math.exp(-DECAY * Math.max(0, now - account.time));
    account.used = account.used * kept + (account.held / DECAY) * (1 - kept);
    account.time = now;
    if (account.used >= FORGOTTEN || account.held > 0) return account;
    this.#accounts.delete(tenant);
    return undefined;
  }
}
