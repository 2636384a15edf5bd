import type { Duration } from "@longshore/proto/google/protobuf/duration.ts";
import { TaskResult_Reason } from "@longshore/proto/longshore/v1/task.ts";
import type {
  EstimateCostResponse,
  UsageEntry as WireEntry,
  UnitPrices as WirePrices,
  Quota as WireQuota,
  UsageSum as WireSum,
} from "@longshore/proto/longshore/v1/usage_service.ts";
import type { Charge } from "#server/domain/charge.ts";
import type { LedgerEntry, UsageSum } from "#server/domain/ledger.ts";
import { GIBIBYTE } from "#server/domain/resources.ts";
import type { Estimate, QuotaState } from "../application.ts";
import { resourcesToProto, usageToProto } from "./task-to-proto.ts";
import { durationOfMillis, int64, moneyToProto } from "./to-wire.ts";

const NANOS_PER_MILLI = 1_000_000n;
const NANOS_PER_SECOND = 1_000_000_000n;
const GB = BigInt(GIBIBYTE);
const MILLIS_PER_CPU = 1000n;

/** Sums pass what a number holds; parts of a nanosecond are cut off. */
function durationOfNanos(nanos: bigint): Duration {
  return { seconds: nanos / NANOS_PER_SECOND, nanos: Number(nanos % NANOS_PER_SECOND) };
}

export function sumToProto(sum: UsageSum): WireSum {
  return {
    attempts: BigInt(sum.attempts),
    chargedTime: durationOfNanos(sum.chargedMillis * NANOS_PER_MILLI),
    cpuTime: durationOfNanos((sum.cpuMilliMillis * NANOS_PER_MILLI) / MILLIS_PER_CPU),
    ramGbTime: durationOfNanos((sum.ramByteMillis * NANOS_PER_MILLI) / GB),
    storageGbTime: durationOfNanos((sum.storageByteMillis * NANOS_PER_MILLI) / GB),
    gpuTimes: [...sum.gpuMillis].map(([model, millis]) => ({
      model,
      gpuTime: durationOfNanos(millis * NANOS_PER_MILLI),
    })),
    measuredCpuTime: durationOfNanos(sum.cpuMicros * 1000n),
    peakRamBytes: int64(sum.peakRamBytes),
    costs: sum.costs.map(moneyToProto),
  };
}

export function entryToProto(entry: LedgerEntry): WireEntry {
  const { usage } = entry;
  const charge = usage.charge?.currency ? usage.charge : null;
  return {
    taskId: entry.taskId,
    attempt: entry.attempt,
    owner: entry.owner,
    labels: entry.labels,
    runStartTime: entry.runStartTime ?? undefined,
    endTime: entry.endTime,
    reason: TaskResult_Reason[entry.reason],
    resources: resourcesToProto(entry.resources),
    usage: usageToProto(usage),
    prices: charge === null ? undefined : pricesToProto(charge),
    cost: charge === null ? undefined : moneyToProto(charge),
  };
}

export function estimateToProto(estimate: Estimate): EstimateCostResponse {
  const { limits, longestMillis, most, expectedMillis, expected } = estimate;
  return {
    resources: resourcesToProto(limits),
    longestTime: durationOfMillis(longestMillis),
    most: most === null ? undefined : moneyToProto(most),
    expectedTime: durationOfMillis(expectedMillis),
    expected: expected === null ? undefined : moneyToProto(expected),
    prices: most === null ? undefined : pricesToProto(most),
  };
}

export function quotaToProto(state: QuotaState): WireQuota {
  const counted = "used" in state ? state : { used: 0, allowed: 0 };
  const money = "budget" in state ? state : undefined;
  return {
    name: state.name,
    used: int64(counted.used),
    allowed: int64(counted.allowed),
    spent: money && moneyToProto(money.spent),
    budget: money && moneyToProto(money.budget),
    resetTime: money?.resetTime,
  };
}

function pricesToProto(charge: Charge): WirePrices {
  const money = (nanos: bigint) => moneyToProto({ currency: charge.currency, nanos });
  return {
    cpuHour: money(charge.cpuHourNanos),
    ramGbHour: money(charge.ramGbHourNanos),
    storageGbHour: money(charge.storageGbHourNanos),
    gpus: charge.gpus.map(({ model, count, hourNanos }) => ({ model, count, hour: money(hourNanos) })),
  };
}
