import { AuditEvent, GetCallerResponse, Token } from "@longshore/proto/longshore/v1/access_service";
import {
  GetCapabilitiesResponse,
  GetCapacityResponse,
  ReconcileReport,
} from "@longshore/proto/longshore/v1/system_service";
import { Artifact, Task } from "@longshore/proto/longshore/v1/task";
import {
  EstimateCostResponse,
  Quota,
  UsageEntry,
  UsageSum,
} from "@longshore/proto/longshore/v1/usage_service";
import { Delivery, WebhookEndpoint } from "@longshore/proto/longshore/v1/webhook_service";

/**
 * Fields of the type google.protobuf.Duration. The generated code writes them as objects; JSON of protos, which grpcurl and
 * every other tool speak, has them as "1.5s".
 */
export const DURATION_FIELDS: ReadonlySet<string> = new Set([
  "chargedTime",
  "cpuTime",
  "defaultTimeout",
  "effectiveTimeout",
  "elapsed",
  "expectedDuration",
  "expectedTime",
  "gpuTime",
  "grace",
  "lifetime",
  "longestTime",
  "maxTimeout",
  "measuredCpuTime",
  "overlap",
  "queueTimeout",
  "ramGbTime",
  "retention",
  "storageGbTime",
  "timeout",
  "totalTimeout",
]);

/** A record as the JSON of its proto. */
export function recordToJson(record: Task): unknown {
  return withDurations(Task.toJSON(record));
}

export function artifactToJson(artifact: Artifact): unknown {
  return withDurations(Artifact.toJSON(artifact));
}

export function capabilitiesToJson(capabilities: GetCapabilitiesResponse): unknown {
  return withDurations(GetCapabilitiesResponse.toJSON(capabilities));
}

export function capacityToJson(capacity: GetCapacityResponse): unknown {
  return withDurations(GetCapacityResponse.toJSON(capacity));
}

export function reconcileReportToJson(report: ReconcileReport): unknown {
  return withDurations(ReconcileReport.toJSON(report));
}

export function tokenToJson(token: Token): unknown {
  return Token.toJSON(token);
}

export function auditEventToJson(event: AuditEvent): unknown {
  return AuditEvent.toJSON(event);
}

export function callerToJson(caller: GetCallerResponse): unknown {
  return GetCallerResponse.toJSON(caller);
}

export function webhookToJson(webhook: WebhookEndpoint): unknown {
  return WebhookEndpoint.toJSON(webhook);
}

export function deliveryToJson(delivery: Delivery): unknown {
  return Delivery.toJSON(delivery);
}

export function usageSumToJson(sum: UsageSum): unknown {
  return withDurations(UsageSum.toJSON(sum));
}

export function usageEntryToJson(entry: UsageEntry): unknown {
  return withDurations(UsageEntry.toJSON(entry));
}

export function quotaToJson(quota: Quota): unknown {
  return withDurations(Quota.toJSON(quota));
}

export function estimateToJson(estimate: EstimateCostResponse): unknown {
  return withDurations(EstimateCostResponse.toJSON(estimate));
}

/** Maps of the user's own keep their values, whatever their keys are called. */
const USER_MAPS: ReadonlySet<string> = new Set(["env", "secretEnv", "labels"]);

function withDurations(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withDurations);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => {
      if (USER_MAPS.has(key)) return [key, inner];
      return [key, DURATION_FIELDS.has(key) ? durationText(inner) : withDurations(inner)];
    }),
  );
}

function durationText(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  const seconds = "seconds" in value ? String(value.seconds) : "0";
  const nanos = "nanos" in value ? Number(value.nanos) : 0;
  if (nanos === 0) return `${seconds}s`;
  const fraction = String(Math.abs(nanos)).padStart(9, "0").replace(/0+$/, "");
  const sign = nanos < 0 && !seconds.startsWith("-") ? "-" : "";
  return `${sign}${seconds}.${fraction}s`;
}
