export type { Money } from "@longshore/proto/google/type/money";
export type { EffectiveResources } from "@longshore/proto/longshore/v1/resources";
export type {
  Capacity,
  Engine,
  GetCapabilitiesResponse as Capabilities,
  LimitSupport,
  ReconcileReport,
} from "@longshore/proto/longshore/v1/system_service";
export type { Stage, Task as TaskRecord, TaskResult, Usage, Wait } from "@longshore/proto/longshore/v1/task";
export {
  Access,
  type AuditEvent,
  type AuditOptions,
  type CallerRecord,
  type CreatedToken,
  type CreateTokenOptions,
  type ListTokensOptions,
  type TokenRecord,
} from "./access.ts";
export { type Artifact, Artifacts, type DownloadAllOptions } from "./artifacts.ts";
export {
  type Blob,
  Blobs,
  type BlobUploadOptions,
  type DownloadUrl,
  type UploadUrl,
  type UploadUrlOptions,
  type UrlOptions,
} from "./blobs.ts";
export type { CallOptions } from "./channel.ts";
export {
  BadConnection,
  type ConnectionVariables,
  type LongshoreOptions,
  optionsFromEnvironment,
  type TlsOptions,
} from "./connection.ts";
export type { DownloadOptions } from "./download.ts";
export { durationToMillis, parseDuration } from "./duration.ts";
export * from "./errors.ts";
export type { InputOption, InputOptions, InputSource } from "./inputs.ts";
export {
  artifactToJson,
  auditEventToJson,
  callerToJson,
  capabilitiesToJson,
  capacityToJson,
  deliveryToJson,
  estimateToJson,
  quotaToJson,
  reconcileReportToJson,
  recordToJson,
  tokenToJson,
  usageEntryToJson,
  usageSumToJson,
  webhookToJson,
} from "./json.ts";
export {
  type ListOptions,
  Longshore,
  type SubmitConfigOptions,
  type SubmitOptions,
  type SubmitStreamOptions,
  type TasksUnderWay,
  type WatchTasksOptions,
} from "./longshore.ts";
export * from "./names.ts";
export { isTerminal, outcomeOf, type TaskOutcome } from "./outcome.ts";
export type { PictureOptions } from "./pictures.ts";
export type { Source } from "./source.ts";
export type * from "./spec.ts";
export { findViolations } from "./spec.ts";
export {
  type CancelOptions,
  type GetOptions,
  type LogOptions,
  type RerunOptions,
  type ResultOptions,
  Task,
  type WaitOptions,
} from "./task.ts";
export { parseDatasets, type TaskConfigContext } from "./task-config.ts";
export type { Progress, UploadOptions } from "./upload.ts";
export type { BlobFormatName } from "./upload-source.ts";
export type {
  Estimate,
  EstimateOptions,
  Quota,
  UsageEntry,
  UsageOptions,
  UsageRange,
  UsageReport,
  UsageSum,
} from "./usage.ts";
export type {
  GapEvent,
  HeartbeatEvent,
  LogEvent,
  LogStream,
  TaskChanged,
  TaskEvent,
  WatchOptions,
} from "./watch.ts";
export {
  type CreatedWebhook,
  type CreateWebhookOptions,
  type DeliveriesOptions,
  type DeliveryRecord,
  type DeliveryStateName,
  deliveryStateName,
  type RotatedSecret,
  type WebhookRecord,
  Webhooks,
} from "./webhooks.ts";
