import type { JsonObject, JsonValue } from "@bufbuild/protobuf";

/** What somebody has on the server, by which a stranger could try to reach it. */
export interface Belongings {
  readonly tenant: string;
  readonly subject: string;
  /** Of a task that has ended, and of one that runs. */
  readonly endedId: string;
  readonly runningId: string;
  /** Cursor of a watch of the ended task. */
  readonly cursor: string;
  readonly requestId: string;
  /** What the ended task ran, with the result cache. */
  readonly code: string;
  readonly artifactPath: string;
  /** A project that is stored, a blob that is, and one of which half is here; all of `sizeBytes`. */
  readonly archiveSha256: string;
  readonly blobSha256: string;
  readonly partialSha256: string;
  readonly sizeBytes: string;
  readonly tokenId: string;
  readonly webhookId: string;
  readonly deliveryId: string;
}

export interface RpcEntry {
  /** The scope it asks for; "any" is content with any good credential. */
  readonly need: string;
  /** Ways to call it with what is somebody else's; each is the messages of one call. Those that name nothing are one call. */
  readonly trials: (theirs: Belongings) => readonly (readonly JsonValue[])[];
}

const byId = (need: string, field = "id"): RpcEntry => ({
  need,
  trials: ({ endedId, runningId }) => [[{ [field]: endedId }], [{ [field]: runningId }]],
});

/** Parts of an upload. */
const header = (value: JsonObject): JsonValue => ({ header: value });
const chunk = (text: string): JsonValue => ({ chunk: Buffer.from(text).toString("base64") });

const newTask = (theirs: Belongings): readonly { readonly [key: string]: JsonValue }[] => [
  { archiveSha256: theirs.archiveSha256, entrypoint: "main.py" },
  { code: "pass", requestId: theirs.requestId },
  { code: theirs.code, useResultCache: true },
  { code: "pass", dependsOn: [theirs.endedId] },
  { code: "pass", inputs: [{ path: "in", blobSha256: theirs.blobSha256 }] },
  { code: "pass", inputs: [{ path: "in", artifact: { taskId: theirs.endedId, path: theirs.artifactPath } }] },
];

const ofTenant = (need: string): RpcEntry => ({
  need,
  trials: ({ tenant }) => [[{}], [{ tenant }]],
});

/**
 * How to call every RPC with what belongs to another tenant. A new RPC fails the tests of tenancy and of access until it has a line here:
 * name each field through which it could reach something that has an owner.
 */
export const RPC_TABLE: Readonly<Record<string, RpcEntry>> = {
  "TaskService/CreateTask": {
    need: "tasks:write",
    trials: (theirs) => newTask(theirs).map((task) => [task]),
  },
  "TaskService/RunTask": { need: "tasks:write", trials: (theirs) => newTask(theirs).map((task) => [task]) },
  "TaskService/SubmitTask": {
    need: "tasks:write",
    trials: ({ archiveSha256, partialSha256, sizeBytes, requestId }) => {
      const task = { entrypoint: "main.py" };
      const offsetBytes = String(Number(sizeBytes) / 2);
      return [
        [header({ task, archive: { sha256: archiveSha256, sizeBytes } })],
        [header({ task: { ...task, requestId }, archive: { format: "BLOB_FORMAT_ZIP" } }), chunk("no zip")],
        [header({ task, archive: { sha256: partialSha256, sizeBytes, offsetBytes } })],
      ];
    },
  },
  "TaskService/ValidateTask": {
    need: "tasks:write",
    trials: (theirs) => newTask(theirs).map((task) => [{ task }]),
  },
  "TaskService/GetTask": byId("tasks:read"),
  "TaskService/ListTasks": {
    need: "tasks:read",
    trials: ({ subject }) => [[{}], [{ owner: subject }], [{ labels: { shared: "label" } }]],
  },
  "TaskService/WatchTask": {
    need: "tasks:read",
    trials: ({ endedId, runningId, cursor }) => [
      [{ id: endedId }],
      [{ id: runningId }],
      [{ id: endedId, cursor }],
    ],
  },
  "TaskService/WatchTasks": { need: "tasks:read", trials: () => [[{ maxTasks: -1 }]] },
  "TaskService/CancelTask": byId("tasks:write"),
  "TaskService/RerunTask": byId("tasks:write"),
  "TaskService/DeleteTask": byId("tasks:write"),
  "TaskService/ListArtifacts": byId("tasks:read", "taskId"),
  "TaskService/DownloadArtifact": {
    need: "tasks:read",
    trials: ({ endedId, artifactPath }) => [[{ artifact: { taskId: endedId, path: artifactPath } }]],
  },
  "BlobService/GetBlob": {
    need: "blobs",
    trials: ({ blobSha256, archiveSha256, partialSha256 }) =>
      [blobSha256, archiveSha256, partialSha256].map((sha256) => [{ sha256 }]),
  },
  "BlobService/UploadBlob": {
    need: "blobs",
    trials: ({ blobSha256, partialSha256, sizeBytes }) => [
      [header({ sha256: blobSha256, sizeBytes })],
      [header({ sha256: partialSha256, sizeBytes, offsetBytes: String(Number(sizeBytes) / 2) })],
      [header({ sha256: blobSha256 }), chunk("other bytes")],
    ],
  },
  "BlobService/DownloadBlob": {
    need: "blobs",
    trials: ({ blobSha256, archiveSha256, partialSha256 }) =>
      [blobSha256, archiveSha256, partialSha256].map((sha256) => [{ sha256 }]),
  },
  "BlobService/CreateUploadUrl": {
    need: "blobs",
    trials: ({ blobSha256, sizeBytes }) => [[{ sha256: blobSha256, sizeBytes }]],
  },
  "BlobService/CreateDownloadUrl": {
    need: "blobs",
    trials: ({ blobSha256 }) => [[{ sha256: blobSha256 }]],
  },
  "UsageService/GetUsage": {
    need: "usage",
    trials: ({ subject }) => [
      [{ grouping: "USAGE_GROUPING_TASK" }],
      [{ grouping: "USAGE_GROUPING_OWNER", filter: { owner: subject } }],
      [{ grouping: "USAGE_GROUPING_LABEL", label: "shared", filter: { labels: { shared: "label" } } }],
    ],
  },
  "UsageService/ListUsage": {
    need: "usage",
    trials: ({ subject }) => [[{}], [{ filter: { owner: subject } }]],
  },
  "UsageService/EstimateCost": {
    need: "tasks:write",
    trials: (theirs) => newTask(theirs).map((task) => [{ task }]),
  },
  "UsageService/GetQuota": { need: "any", trials: () => [[{}]] },
  "SystemService/GetCapabilities": { need: "any", trials: () => [[{}]] },
  "SystemService/GetCapacity": { need: "any", trials: () => [[{}]] },
  "SystemService/WatchCapacity": { need: "any", trials: () => [[{ engine: "nowhere" }]] },
  "SystemService/GetReconcileReport": { need: "operator", trials: () => [[{}]] },
  "AccessService/GetCaller": { need: "any", trials: () => [[{}]] },
  "AccessService/CreateToken": {
    need: "admin",
    trials: ({ tenant, subject }) => [
      [{ tenant, scopes: ["tasks:read"] }],
      [{ subject, scopes: ["tasks:read"] }],
      [{ scopes: ["operator"] }],
    ],
  },
  "AccessService/ListTokens": ofTenant("admin"),
  "AccessService/RevokeToken": { need: "admin", trials: ({ tokenId }) => [[{ id: tokenId }]] },
  "AccessService/ListAuditEvents": ofTenant("admin"),
  "WebhookService/CreateWebhook": { need: "admin", trials: () => [[{}]] },
  "WebhookService/ListWebhooks": { need: "admin", trials: () => [[{}]] },
  "WebhookService/DeleteWebhook": { need: "admin", trials: ({ webhookId }) => [[{ id: webhookId }]] },
  "WebhookService/RotateWebhookSecret": {
    need: "admin",
    // Overlaps for ever, and is refused: a secret differs each time.
    trials: () => [[{ overlap: "315576000000s" }]],
  },
  "WebhookService/ListDeliveries": {
    need: "tasks:read",
    trials: ({ webhookId, endedId }) => [[{}], [{ webhookId }], [{ taskId: endedId }]],
  },
  "WebhookService/Redeliver": { need: "tasks:write", trials: ({ deliveryId }) => [[{ id: deliveryId }]] },
};

export function entryOf(service: string, rpc: string): RpcEntry {
  const name = `${service.replace(/^.*\./, "")}/${rpc}`;
  const entry = RPC_TABLE[name];
  if (entry === undefined)
    throw new Error(`${name} is not in RPC_TABLE of test/support/rpc-table.ts: say there how to call it`);
  return entry;
}
