import type { AccessServiceService } from "@longshore/proto/longshore/v1/access_service.ts";
import type { BlobServiceService } from "@longshore/proto/longshore/v1/blob_service.ts";
import type { SystemServiceService } from "@longshore/proto/longshore/v1/system_service.ts";
import type { TaskServiceService } from "@longshore/proto/longshore/v1/task_service.ts";
import type { UsageServiceService } from "@longshore/proto/longshore/v1/usage_service.ts";
import type { WebhookServiceService } from "@longshore/proto/longshore/v1/webhook_service.ts";
import type { Scope } from "./application.ts";

/** What an RPC asks of a credential: a scope, or only that it is good. */
export type Need = Scope | "any";

/** Every RPC of a service with what it asks; one that is missing does not compile. */
export type Needs<D> = { readonly [K in keyof D]: Need };

export const TASK_NEEDS: Needs<typeof TaskServiceService> = {
  createTask: "tasks:write",
  // Whoever may make a task may see what becomes of it in the same call.
  runTask: "tasks:write",
  submitTask: "tasks:write",
  validateTask: "tasks:write",
  getTask: "tasks:read",
  listTasks: "tasks:read",
  watchTask: "tasks:read",
  watchTasks: "tasks:read",
  cancelTask: "tasks:write",
  rerunTask: "tasks:write",
  deleteTask: "tasks:write",
  listArtifacts: "tasks:read",
  downloadArtifact: "tasks:read",
};

export const BLOB_NEEDS: Needs<typeof BlobServiceService> = {
  getBlob: "blobs",
  uploadBlob: "blobs",
  downloadBlob: "blobs",
  createUploadUrl: "blobs",
  createDownloadUrl: "blobs",
};

export const USAGE_NEEDS: Needs<typeof UsageServiceService> = {
  getUsage: "usage",
  listUsage: "usage",
  // Tells nothing of the tenant but its prices; whoever may make the task may ask what it costs.
  estimateCost: "tasks:write",
  // So that whoever waits can see for what.
  getQuota: "any",
};

export const SYSTEM_NEEDS: Needs<typeof SystemServiceService> = {
  getCapabilities: "any",
  // Totals of the host alone, so that people can see why they wait; no tenant's part in them.
  getCapacity: "any",
  watchCapacity: "any",
  // Names sandboxes and files of every tenant.
  getReconcileReport: "operator",
};

export const ACCESS_NEEDS: Needs<typeof AccessServiceService> = {
  getCaller: "any",
  createToken: "admin",
  listTokens: "admin",
  revokeToken: "admin",
  listAuditEvents: "admin",
};

export const WEBHOOK_NEEDS: Needs<typeof WebhookServiceService> = {
  createWebhook: "admin",
  listWebhooks: "admin",
  deleteWebhook: "admin",
  rotateWebhookSecret: "admin",
  // What they show is what becomes of tasks.
  listDeliveries: "tasks:read",
  redeliver: "tasks:write",
};
