/** The most that a tenant may have at once or in a month; null means no limit. */
export interface Quota {
  /** Held by its starting and running tasks together. */
  readonly cpuMillis: number | null;
  readonly ramBytes: number | null;
  readonly storageBytes: number | null;
  readonly gpuCount: number | null;
  readonly queuedTasks: number | null;
  /** Blobs and artifacts. */
  readonly storedBytes: number | null;
  /** Billionths of the price book's currency in a UTC month. */
  readonly monthlySpendNanos: bigint | null;
  /** Ends what runs when the month's money is used up; else only nothing more starts. */
  readonly stopsRunning: boolean;
}

export const NO_QUOTA: Quota = {
  cpuMillis: null,
  ramBytes: null,
  storageBytes: null,
  gpuCount: null,
  queuedTasks: null,
  storedBytes: null,
  monthlySpendNanos: null,
  stopsRunning: false,
};

/** The quota of every tenant. */
export class Quotas {
  readonly #default: Quota;
  readonly #tenants: ReadonlyMap<string, Quota>;

  constructor(fallback: Quota, tenants: ReadonlyMap<string, Quota>) {
    this.#default = fallback;
    this.#tenants = tenants;
  }

  of(tenant: string): Quota {
    return this.#tenants.get(tenant) ?? this.#default;
  }

  /** Somebody has a budget. */
  get haveBudgets(): boolean {
    return [this.#default, ...this.#tenants.values()].some(
      ({ monthlySpendNanos }) => monthlySpendNanos !== null,
    );
  }
}

export const NO_QUOTAS = new Quotas(NO_QUOTA, new Map());

/** The first moment of its UTC month, and of months after it. */
export function monthOf(time: Date, later = 0): Date {
  return new Date(Date.UTC(time.getUTCFullYear(), time.getUTCMonth() + later));
}
