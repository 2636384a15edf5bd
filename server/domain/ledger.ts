import { type Charge, type Money, sumMoney } from "./charge.ts";
import type { Resources } from "./resources.ts";
import { NO_USAGE, type ResultReason, type Task, type Usage } from "./task.ts";

/** What one attempt held, used and costs. Written with the attempt's end, never changed, and kept when its task is deleted. */
export interface LedgerEntry {
  readonly taskId: string;
  readonly attempt: number;
  readonly tenant: string;
  readonly owner: string;
  readonly labels: Readonly<Record<string, string>>;
  /** When the user's code began; null when it never did. */
  readonly runStartTime: Date | null;
  /** Entries belong to the day and month, in UTC, of their end. */
  readonly endTime: Date;
  readonly reason: ResultReason;
  readonly resources: Resources;
  readonly usage: Usage;
}

/** The entries of the attempts that `next` ends. Both stores write what this answers, with the task. */
export function endedEntries(next: Task, previous: Task): LedgerEntry[] {
  const before = new Set(previous.attempts.filter(({ endTime }) => endTime !== null).map((a) => a.number));
  return next.attempts.flatMap((attempt): LedgerEntry[] => {
    const { number, endTime, result, runStartTime, usage } = attempt;
    if (endTime === null || result === null || before.has(number)) return [];
    const { cpuMillis, ramBytes, storageBytes, gpuCount } = next.limits;
    return [
      {
        taskId: next.id,
        attempt: number,
        tenant: next.tenant,
        owner: next.owner,
        labels: next.spec.labels,
        runStartTime,
        endTime,
        reason: result.reason,
        resources: { cpuMillis, ramBytes, storageBytes, gpuCount },
        usage: usage ?? NO_USAGE,
      },
    ];
  });
}

/** Sums over entries; of products of an amount and a time, so that they are beyond what a number holds exactly. */
export interface UsageSum {
  readonly attempts: number;
  readonly chargedMillis: bigint;
  /** Thousandths of a CPU times milliseconds. */
  readonly cpuMilliMillis: bigint;
  readonly ramByteMillis: bigint;
  readonly storageByteMillis: bigint;
  /** GPUs times milliseconds, by model. */
  readonly gpuMillis: ReadonlyMap<string, bigint>;
  /** Measured, not asked for. */
  readonly cpuMicros: bigint;
  readonly peakRamBytes: number;
  readonly costs: readonly Money[];
}

export const NO_SUM: UsageSum = {
  attempts: 0,
  chargedMillis: 0n,
  cpuMilliMillis: 0n,
  ramByteMillis: 0n,
  storageByteMillis: 0n,
  gpuMillis: new Map(),
  cpuMicros: 0n,
  peakRamBytes: 0,
  costs: [],
};

/** Entries that held alike, added up: what multiplies is the same in all of them. */
export interface AlikeEntries {
  readonly attempts: number;
  readonly chargedMillis: bigint;
  readonly cpuMicros: bigint;
  readonly peakRamBytes: number;
  readonly resources: Resources;
  readonly gpus: readonly { readonly model: string; readonly count: number }[];
  readonly cost: Money;
}

export function addAlike(sum: UsageSum, alike: AlikeEntries): UsageSum {
  const { resources, chargedMillis } = alike;
  const gpuMillis = new Map(sum.gpuMillis);
  for (const { model, count } of alike.gpus)
    gpuMillis.set(model, (gpuMillis.get(model) ?? 0n) + BigInt(count) * chargedMillis);
  return {
    attempts: sum.attempts + alike.attempts,
    chargedMillis: sum.chargedMillis + chargedMillis,
    cpuMilliMillis: sum.cpuMilliMillis + BigInt(resources.cpuMillis) * chargedMillis,
    ramByteMillis: sum.ramByteMillis + BigInt(resources.ramBytes) * chargedMillis,
    storageByteMillis: sum.storageByteMillis + BigInt(resources.storageBytes) * chargedMillis,
    gpuMillis,
    cpuMicros: sum.cpuMicros + alike.cpuMicros,
    peakRamBytes: Math.max(sum.peakRamBytes, alike.peakRamBytes),
    costs: sumMoney([...sum.costs, alike.cost]),
  };
}

export function alikeOf({ resources, usage }: LedgerEntry): AlikeEntries {
  const charge: Charge | null = usage.charge;
  return {
    attempts: 1,
    chargedMillis: BigInt(usage.chargedMillis),
    cpuMicros: BigInt(Math.round(usage.cpuMicros)),
    peakRamBytes: usage.peakRamBytes,
    resources,
    gpus: charge?.gpus ?? [],
    cost: { currency: charge?.currency ?? "", nanos: charge?.nanos ?? 0n },
  };
}
