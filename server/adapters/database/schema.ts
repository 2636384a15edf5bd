import { defineEntity, p } from "@mikro-orm/core";
import type { InferKyselyDB } from "@mikro-orm/sql";

/*
 * The tables, from which MikroORM derives the migrations. Two conventions hold for SQLite and PostgreSQL alike:
 * a time is a count of milliseconds since 1970, because it sorts, compares and stays exact in both (a Date never passes
 * 2^53); a truth value is 0 or 1, because SQLite has no other and a partial index needs one way of writing it.
 * Small columns come before texts: SQLite reads a row from its beginning and follows overflow pages only when it must.
 */

const time = () => p.bigint("number");
const flag = () => p.smallint();

export const TaskTable = defineEntity({
  name: "Task",
  tableName: "task",
  properties: {
    id: p.text().primary(),
    tenant: p.text(),
    owner: p.text(),
    version: p.integer(),
    state: p.text(),
    /** 1 while the task is not terminal or holds an attempt that is not released: what a boot has to look at. */
    unfinished: flag(),
    resultReason: p.text().nullable(),
    createTime: time(),
    startTime: time().nullable(),
    endTime: time().nullable(),
    expireTime: time().nullable(),
    /** Null instead of empty, so that the unique index lets any number of tasks have none. */
    requestId: p.text().nullable(),
    archiveSha256: p.text().nullable().fieldName("archive_sha256"),
    specDigest: p.text(),
    /** Null in rows of an earlier version. */
    programDigest: p.text().nullable(),
    expectedMillis: p.bigint("number").nullable(),
    isolation: p.text(),
    network: p.text(),
    image: p.text(),
    traceId: p.text(),
    rootSpanId: p.text(),
    parentSpanId: p.text(),
    rerunOf: p.text(),
    cacheKey: p.text().nullable(),
    cachedFrom: p.text().nullable(),
    /** Where the output of the task in cached_from lies. */
    outputEngine: p.text().nullable(),
    outputSandboxId: p.text().nullable(),
    limits: p.text(),
    wait: p.text().nullable(),
    cancellation: p.text().nullable(),
    result: p.text().nullable(),
  },
  uniques: [{ name: "task_request_id", properties: ["tenant", "requestId"] }],
  indexes: [
    // create_time rides along so that a filter on it is answered from the index.
    { name: "task_page", properties: ["tenant", "id", "createTime"] },
    { name: "task_owner_page", properties: ["tenant", "owner", "id"] },
    { name: "task_state_page", properties: ["tenant", "state", "id"] },
    {
      name: "task_reason_page",
      properties: ["tenant", "resultReason", "id"],
      where: "result_reason is not null",
    },
    { name: "task_unfinished", properties: ["id"], where: "unfinished = 1" },
    {
      name: "task_program",
      properties: ["tenant", "programDigest", "id"],
      where: "program_digest is not null and state = 'SUCCEEDED'",
    },
    {
      name: "task_cache_key",
      properties: ["tenant", "cacheKey", "id"],
      where: "cache_key is not null and cached_from is null and state = 'SUCCEEDED'",
    },
    {
      name: "task_output_sandbox",
      properties: ["outputSandboxId"],
      where: "output_sandbox_id is not null",
    },
    { name: "task_expire_time", properties: ["expireTime", "id"], where: "expire_time is not null" },
    { name: "task_archive", properties: ["archiveSha256"], where: "archive_sha256 is not null" },
  ],
});

/** Its index would repeat the beginning of the primary key. */
const ofTask = () => p.manyToOne(TaskTable).primary().deleteRule("cascade").index(false);

/** Apart from the task, because a change of a row rewrites the whole row and a spec may carry a megabyte of code. */
export const TaskSpecTable = defineEntity({
  name: "TaskSpec",
  tableName: "task_spec",
  properties: {
    task: ofTask,
    program: p.text(),
    environment: p.text().nullable(),
    spec: p.text(),
    /** Null where there are none. */
    inputs: p.text().nullable(),
  },
});

/** Which blobs the inputs of a task name, so that none of them is collected under it. */
export const TaskInputTable = defineEntity({
  name: "TaskInput",
  tableName: "task_input",
  properties: {
    task: ofTask,
    sha256: p.text().fieldName("sha256").primary(),
    tenant: p.text(),
  },
  indexes: [{ name: "task_input_sha256", properties: ["sha256", "tenant"] }],
});

export const TaskLabelTable = defineEntity({
  name: "TaskLabel",
  tableName: "task_label",
  properties: {
    task: ofTask,
    key: p.text().primary(),
    value: p.text(),
    tenant: p.text(),
  },
  indexes: [{ name: "task_label_page", properties: ["tenant", "key", "value", "task"] }],
});

export const AttemptTable = defineEntity({
  name: "Attempt",
  tableName: "attempt",
  properties: {
    task: ofTask,
    number: p.integer().primary(),
    engine: p.text(),
    sandboxId: p.text(),
    containerId: p.text(),
    imageDigest: p.text(),
    environmentId: p.text().default(""),
    isolation: p.text(),
    warm: flag(),
    released: flag(),
    startTime: time(),
    runStartTime: time().nullable(),
    endTime: time().nullable(),
    gpuIds: p.text(),
    usage: p.text().nullable(),
    result: p.text().nullable(),
    experimentRun: p.text().nullable(),
  },
  indexes: [{ name: "attempt_sandbox", properties: ["sandboxId"] }],
});

export const StageTable = defineEntity({
  name: "Stage",
  tableName: "stage",
  properties: {
    task: ofTask,
    /** Place in the task's list of stages. */
    position: p.integer().primary(),
    name: p.text(),
    attempt: p.integer(),
    startTime: time(),
    endTime: time().nullable(),
    spanId: p.text(),
    note: p.text(),
    error: p.text(),
  },
});

/** One row for each state that a task entered, written in the transaction that changed the state. */
export const TaskEventTable = defineEntity({
  name: "TaskEvent",
  tableName: "task_event",
  properties: {
    task: ofTask,
    version: p.integer().primary(),
    time: time(),
    state: p.text(),
  },
});

export const ArtifactTable = defineEntity({
  name: "Artifact",
  tableName: "artifact",
  properties: {
    task: ofTask,
    path: p.text().primary(),
    tenant: p.text(),
    sizeBytes: p.bigint("number"),
    sha256: p.text().fieldName("sha256"),
  },
  indexes: [
    { name: "artifact_sha256", properties: ["sha256"] },
    // What a tenant stores is added up from the index alone.
    { name: "artifact_tenant", properties: ["tenant", "sizeBytes"] },
  ],
});

export const BlobTable = defineEntity({
  name: "Blob",
  tableName: "blob",
  properties: {
    tenant: p.text().primary(),
    sha256: p.text().fieldName("sha256").primary(),
    sizeBytes: p.bigint("number"),
    format: p.text(),
    state: p.text(),
    validatorVersion: p.integer(),
    createTime: time(),
    /** When it was last sent or named by a new task. */
    useTime: time(),
    refusal: p.text(),
    manifest: p.text().nullable(),
  },
  indexes: [
    { name: "blob_sha256", properties: ["sha256"] },
    { name: "blob_use_time", properties: ["useTime"] },
  ],
});

/**
 * One row for each attempt that ended, written in the transaction of its end and never changed. No reference to the task: a bill
 * outlives what it is for. Amounts are split, so that neither part and no sum of parts passes what a bigint holds.
 */
export const LedgerTable = defineEntity({
  name: "LedgerEntry",
  tableName: "ledger",
  properties: {
    taskId: p.text().primary(),
    attempt: p.integer().primary(),
    tenant: p.text(),
    owner: p.text(),
    runStartTime: time().nullable(),
    endTime: time(),
    reason: p.text(),
    cpuMillis: p.bigint("number"),
    ramBytes: p.bigint("number"),
    storageBytes: p.bigint("number"),
    gpuCount: p.bigint("number"),
    chargedMillis: p.bigint("number"),
    cpuMicros: p.bigint("number"),
    peakRamBytes: p.bigint("number"),
    currency: p.text(),
    amountUnits: p.bigint("number"),
    amountNanos: p.integer(),
    /** Models and counts as JSON, always written alike: rows that held the same are added up by it. */
    gpus: p.text(),
    usage: p.text(),
  },
  indexes: [{ name: "ledger_end", properties: ["tenant", "endTime", "taskId", "attempt"] }],
});

/** The labels that an entry's task had. */
export const LedgerLabelTable = defineEntity({
  name: "LedgerLabel",
  tableName: "ledger_label",
  properties: {
    taskId: p.text().primary(),
    key: p.text().primary(),
    value: p.text(),
  },
});

export const AccessTokenTable = defineEntity({
  name: "AccessToken",
  tableName: "access_token",
  properties: {
    id: p.text().primary(),
    tenant: p.text(),
    subject: p.text(),
    secretDigest: p.text(),
    /** Joined by commas. */
    scopes: p.text(),
    description: p.text(),
    createdBy: p.text(),
    createTime: time(),
    expireTime: time().nullable(),
    revokeTime: time().nullable(),
  },
  indexes: [{ name: "access_token_page", properties: ["tenant", "id"] }],
});

/** Append-only, whoever asks: the statement that refuses a change is the dialect's. */
const auditEventTable = (refusal: string) =>
  defineEntity({
    name: "AuditEvent",
    tableName: "audit_event",
    properties: {
      id: p.text().primary(),
      time: time(),
      tenant: p.text(),
      subject: p.text(),
      credential: p.text(),
      action: p.text(),
      resource: p.text(),
      detail: p.text(),
      peer: p.text(),
      count: p.bigint("number"),
    },
    indexes: [{ name: "audit_event_page", properties: ["tenant", "id"] }],
    triggers: [
      {
        name: "audit_event_append_only",
        timing: "before",
        events: ["update", "delete"],
        forEach: "row",
        body: refusal,
      },
    ],
  });

export const AuditEventTable = auditEventTable(
  "select raise(abort, 'what is in the audit log stays as it is')",
);
const PostgresAuditEventTable = auditEventTable("raise exception 'what is in the audit log stays as it is'");

export const WebhookEndpointTable = defineEntity({
  name: "WebhookEndpoint",
  tableName: "webhook_endpoint",
  properties: {
    id: p.text().primary(),
    tenant: p.text(),
    url: p.text(),
    /** Joined by commas. */
    states: p.text(),
    description: p.text(),
    createdBy: p.text(),
    createTime: time(),
    failingSince: time().nullable(),
    disableTime: time().nullable(),
    disableReason: p.text(),
  },
  indexes: [{ name: "webhook_endpoint_page", properties: ["tenant", "id"] }],
});

/** What a tenant's deliveries are signed with, sealed. */
export const WebhookSecretTable = defineEntity({
  name: "WebhookSecret",
  tableName: "webhook_secret",
  properties: {
    tenant: p.text().primary(),
    currentSecret: p.text(),
    createTime: time(),
    previousSecret: p.text(),
    previousExpireTime: time().nullable(),
  },
});

/**
 * The outbox and the log of what was sent: one row for each state change and each address that asked for it, written in the transaction
 * of the change. No reference to the task, which may go before its last state was told.
 */
export const DeliveryTable = defineEntity({
  name: "Delivery",
  tableName: "delivery",
  properties: {
    id: p.text().primary(),
    tenant: p.text(),
    endpointId: p.text(),
    taskId: p.text(),
    taskState: p.text(),
    state: p.text(),
    createTime: time(),
    tries: p.integer(),
    triesOfRound: p.integer(),
    /** Null when it is not to be tried any more. */
    nextTryTime: time().nullable(),
    lastTryTime: time().nullable(),
    lastStatusCode: p.integer(),
    url: p.text(),
    /** Tenant and host: what waits for the same receiver. */
    target: p.text(),
    lastError: p.text(),
    lastResponse: p.text(),
    body: p.text(),
  },
  indexes: [
    // Target and tenant ride along, so that what waits behind a slow receiver is passed over within the index.
    {
      name: "delivery_due",
      properties: ["nextTryTime", "id", "target", "tenant"],
      where: "next_try_time is not null",
    },
    { name: "delivery_waiting", properties: ["endpointId"], where: "next_try_time is not null" },
    { name: "delivery_done", properties: ["createTime"], where: "next_try_time is null" },
    { name: "delivery_page", properties: ["tenant", "createTime", "id"] },
    { name: "delivery_task", properties: ["tenant", "taskId", "createTime", "id"] },
  ],
});

/** PostgreSQL only: who holds the database. One row. */
export const ServerTermTable = defineEntity({
  name: "ServerTerm",
  tableName: "server_term",
  properties: {
    /** Always 1. */
    id: p.integer().primary().autoincrement(false),
    /** Raised by each server when it begins to hold the database, so that one that lost it can tell. */
    term: p.bigint("number"),
    /** The data folder whose journals and artifacts the tasks are in; empty before the first server. */
    installation: p.text(),
  },
});

export const ENTITIES = [
  TaskTable,
  TaskSpecTable,
  TaskInputTable,
  TaskLabelTable,
  AttemptTable,
  StageTable,
  TaskEventTable,
  ArtifactTable,
  BlobTable,
  LedgerTable,
  LedgerLabelTable,
  AccessTokenTable,
  AuditEventTable,
  WebhookEndpointTable,
  WebhookSecretTable,
  DeliveryTable,
  ServerTermTable,
] as const;

/** The same tables, with what each dialect says in its own way. */
export const POSTGRES_ENTITIES = ENTITIES.map((table) =>
  table === AuditEventTable ? PostgresAuditEventTable : table,
);

/** Column names and types of every table, as queries see them. */
export type Tables = InferKyselyDB<(typeof ENTITIES)[number]>;
