import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { Readable } from "node:stream";
import { Longshore } from "@longshore/client";
import { camelCase } from "./client-surfaces.ts";
import type { Answer } from "./recording-server.ts";

/** A value that JSON has no form for is an object with one key that begins with "$". */
type Value = string | number | boolean | readonly Value[] | { readonly [name: string]: Value };

/** One call of a public method, in Python's words, which both clients play. */
export interface ClientCall {
  /** Of the client, such as "list" or "access.tokens"; "task." means a handle of the task TASK_ID. */
  readonly method: string;
  readonly args?: readonly Value[];
  readonly options?: Readonly<Record<string, Value>>;
  /** Ends with UNIMPLEMENTED, as `answer` has it. */
  readonly refused?: boolean;
}

export const TASK_ID = "01jd3m8q2e7v00000000000010";
const CONTENT = Buffer.from("content");
/** Of what the server has; it lacks every other blob. */
export const STORED = createHash("sha256").update(CONTENT).digest("hex");
const TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const CALLBACK = { $callback: true };
const TIME = { $time: "2026-11-21T12:30:00.250Z" };

const RESOURCES = { cpu: 0.5, gpu: 1, gpu_model: "H200", ram: "512MB", storage: "1GB" };

/** Every option of a task. */
const TASK = {
  ...RESOURCES,
  timeout: "1m30s",
  queue_timeout: "5m",
  total_timeout: "1h",
  entrypoint: "train:main",
  args: ["--epochs", "3"],
  command: ["python3", "main.py"],
  env: { someName: "1", OTHER_NAME: "2" },
  secret_env: { TOKEN: "s3cret" },
  stdin: "words",
  working_directory: "src",
  image: "longshore/executor:dev",
  requirements: ["numpy", "pandas==2.2.3"],
  preload: ["numpy"],
  outputs: ["model/*"],
  inputs: {
    "data/train.csv": { $file: "train.csv" },
    "model.bin": { $artifact: "model.bin" },
    "blob.bin": { $blob: STORED },
  },
  network: "egress",
  isolation: "gvisor",
  require_enforced: ["ram", "run_time"],
  placement: { engine: "slurm", account: "a", partition: "p", instance_type: "large" },
  priority: 7,
  expected_duration: "10m",
  depends_on: [TASK_ID],
  max_attempts: 2,
  cache: true,
  max_processes: 10,
  max_open_files: 20,
  max_inodes: 30,
  max_log_bytes: 40,
  max_artifact_bytes: 50,
  name: "named",
  labels: { someLabel: "x", team_name: "y" },
  webhooks: ["https://hooks.invalid", { url: "mailto:ops@hooks.invalid", states: ["failed", "cancelled"] }],
  retention: "7d",
  request_id: "00000000-0000-4000-8000-000000000001",
  experiment: { tracking_uri: "experiments", name: "wine" },
} as const;
const UPLOAD = { traceparent: TRACE, on_progress: CALLBACK, direct: true };
const WATCH = { on_reconnect: CALLBACK, reconnect_for: 60 };
const RANGE = { since: TIME, until: TIME, owner: "ana", labels: { team_name: "y" } };

/** Every public method, with every option that both clients have. */
export const CALLS: readonly ClientCall[] = [
  { method: "submit", args: [{ $file: "project" }], options: { ...TASK, ...UPLOAD } },
  {
    method: "submit",
    args: [{ $code: "print(1)" }],
    options: { request_id: "r", stdin: { $bytes: "/wA=" } },
  },
  { method: "submit", args: [{ $archive: STORED }], options: { request_id: "r", requirements: "numpy\n" } },
  {
    method: "submit",
    args: [{ $archive: STORED }],
    options: { request_id: "r", requirements: [], preload: ["numpy"] },
  },
  {
    method: "submit_config",
    args: [{ $file: "task.json" }, { $file: "project" }],
    options: { datasets: { wine: { $file: "train.csv" } }, ...TASK, ...UPLOAD },
  },
  {
    method: "run",
    args: [{ $file: "main.py" }],
    options: { check: false, on_event: CALLBACK, ...TASK, ...UPLOAD },
  },
  {
    method: "submit_stream",
    args: [{ $stream: "content" }],
    options: { format: "tar.gz", ...TASK, traceparent: TRACE },
  },
  {
    method: "list",
    options: {
      states: ["failed", "cancelled"],
      reasons: ["TIMED_OUT", "LOST"],
      labels: { team_name: "y" },
      created_after: TIME,
      created_before: TIME,
      owner: "ana",
      view: "full",
      page_size: 7,
    },
  },
  { method: "list" },
  { method: "capabilities" },
  { method: "capacity", options: { engine: "slurm" } },
  { method: "watch_capacity", options: { engine: "slurm", ...WATCH } },
  { method: "watch_tasks", options: { labels: { team_name: "y" }, max_tasks: 7, ...WATCH } },
  { method: "reconcile_report" },
  { method: "usage", options: { by: "label:team_name", ...RANGE } },
  { method: "usage", options: { by: "day" } },
  { method: "usage_entries", options: RANGE },
  { method: "quota" },
  { method: "estimate", options: { code: "print(1)", archive_sha256: STORED, ...TASK } },
  { method: "task.get", options: { view: "basic" } },
  { method: "task.get" },
  {
    method: "task.watch",
    options: { cursor: "c", logs: false, follow: false, tail_bytes: 9, ...WATCH },
  },
  { method: "task.watch", options: { tail_bytes: 9 } },
  { method: "task.logs", options: { stream: "stderr", follow: false, tail_bytes: 9, ...WATCH } },
  { method: "task.wait", options: { on_event: CALLBACK } },
  { method: "task.result", options: { check: false, on_event: CALLBACK } },
  { method: "task.cancel", options: { reason: "enough", grace: "2s" } },
  { method: "task.rerun", options: { ...RESOURCES, timeout: "5m", request_id: "again", traceparent: TRACE } },
  { method: "task.delete" },
  { method: "task.artifacts.list" },
  {
    method: "task.artifacts.download",
    args: ["a/b.txt", { $file: "out.txt" }],
    options: { on_progress: CALLBACK },
  },
  { method: "task.artifacts.read", args: ["a/b.txt"], options: { most_bytes: 100 } },
  {
    method: "task.artifacts.download_all",
    args: [{ $file: "out" }],
    options: { filter: CALLBACK, on_progress: CALLBACK },
  },
  { method: "blobs.get", args: [STORED] },
  {
    method: "blobs.upload",
    args: [{ $file: "train.csv" }],
    options: { format: "zip", on_progress: CALLBACK, direct: true },
  },
  {
    method: "blobs.create_upload_url",
    args: [STORED, 7],
    options: { format: "tar.gz", lifetime: "10m" },
    refused: true,
  },
  { method: "blobs.create_download_url", args: [STORED], options: { lifetime: "10m" }, refused: true },
  {
    method: "blobs.download",
    args: [STORED, { $file: "blob.bin" }],
    options: { on_progress: CALLBACK, direct: true },
  },
  { method: "access.caller" },
  {
    method: "access.create_token",
    options: { scopes: ["blobs"], subject: "bot", tenant: "red", description: "d", lifetime: "30d" },
  },
  { method: "access.tokens", options: { tenant: "red", page_size: 7 } },
  { method: "access.revoke_token", args: ["id"] },
  { method: "access.audit_events", options: { tenant: "red", since: TIME, until: TIME, page_size: 7 } },
  {
    method: "webhooks.create",
    options: { url: "https://hooks.invalid", states: ["failed"], description: "d" },
  },
  { method: "webhooks.list", options: { page_size: 7 } },
  { method: "webhooks.delete", args: ["id"] },
  { method: "webhooks.rotate_secret", options: { overlap: "1h" } },
  {
    method: "webhooks.deliveries",
    options: { webhook_id: "w", task_id: TASK_ID, states: ["pending", "failed"], page_size: 7 },
  },
  { method: "webhooks.redeliver", args: ["id"] },
];

const RECORD = { id: TASK_ID, state: "STATE_SUCCEEDED", result: { reason: "REASON_EXITED", exitCode: 0 } };
const ANSWERS: Readonly<Record<string, object>> = {
  ...Object.fromEntries(
    ["CreateTask", "SubmitTask", "GetTask", "CancelTask", "RerunTask"].map((name) => [
      `TaskService.${name}`,
      { task: RECORD },
    ]),
  ),
  "TaskService.WatchTask": { event: { cursor: "1", task: RECORD } },
  "TaskService.ListArtifacts": {
    artifacts: [{ path: "a/b.txt", sizeBytes: String(CONTENT.length), sha256: STORED }],
  },
  "TaskService.DownloadArtifact": { chunk: CONTENT.toString("base64") },
  "BlobService.UploadBlob": { blob: { state: "STATE_STORED" } },
  "BlobService.DownloadBlob": { chunk: CONTENT.toString("base64") },
  "SystemService.GetCapacity": { capacity: {} },
  "SystemService.WatchCapacity": { capacity: {} },
  "SystemService.GetReconcileReport": { report: {} },
  "UsageService.GetUsage": { total: {} },
  "AccessService.CreateToken": { token: { id: "id" }, secret: "lsh_id_secret" },
  "AccessService.RevokeToken": { token: { id: "id" } },
  "WebhookService.CreateWebhook": { webhook: { id: "id" } },
  "WebhookService.Redeliver": { delivery: { id: "id" } },
};

/** Enough for every call to end well; the store has no addresses of its own. */
export const answer: Answer = (rpc, request) => {
  if (rpc === "BlobService.GetBlob") {
    const { sha256 } = request as { sha256: string };
    const [state, size] = sha256 === STORED ? ["STATE_STORED", CONTENT.length] : ["STATE_MISSING", 0];
    return { blob: { sha256, state, sizeBytes: String(size) } };
  }
  if (/^BlobService\.Create(Upload|Download)Url$/.test(rpc)) return undefined;
  // Made above of nothing but JSON.
  return (ANSWERS[rpc] ?? null) as ReturnType<Answer>;
};

/** Keys of these are the user's own. */
const MAPS: ReadonlySet<string> = new Set(["env", "secret_env", "labels", "inputs", "datasets"]);

/** Plays all calls with the TypeScript client, each with its place in the list as the header "step"; files lie in `folder`. */
export async function playCalls(address: string, folder: string): Promise<void> {
  for (const [step, { method, args = [], options = {}, refused = false }] of CALLS.entries()) {
    await using client = new Longshore(address, { metadata: { step: String(step) } });
    const given = [
      ...args.map((value) => readValue(client, folder, value)),
      optionsOf(client, folder, options),
    ];
    const played = play(
      targetOf(client, method),
      camelCase(method.slice(method.lastIndexOf(".") + 1)),
      given,
    );
    if (refused) await assert.rejects(played, { code: "UNIMPLEMENTED" });
    else await played;
  }
}

/** What has the method: the client, or what hangs on it or on a task of it. */
function targetOf(client: Longshore, method: string): object {
  let target: object = client;
  for (const name of method.split(".").slice(0, -1))
    target = name === "task" ? client.task(TASK_ID) : memberOf(target, name);
  return target;
}

function memberOf(target: object, name: string): object {
  const member: unknown = Reflect.get(target, name);
  if (typeof member === "object" && member !== null) return member;
  throw new Error(`the client has no ${name}`);
}

async function play(target: object, name: string, given: readonly unknown[]): Promise<void> {
  const method: unknown = Reflect.get(target, name);
  if (typeof method !== "function") throw new Error(`the client has no method ${name}`);
  const answered: unknown = await Reflect.apply(method, target, given);
  if (!isIterable(answered)) return;
  // Some of them have no end.
  for await (const _ of answered) break;
}

function isIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === "object" && value !== null && Symbol.asyncIterator in value;
}

function optionsOf(client: Longshore, folder: string, options: NonNullable<ClientCall["options"]>): object {
  const { check, reconnect_for: seconds, ...rest } = options;
  return {
    ...readKeys(client, folder, rest, camelCase),
    ...(check !== undefined && { reject: check }),
    ...(seconds !== undefined && { reconnectForMillis: Number(seconds) * 1000 }),
  };
}

function readKeys(
  client: Longshore,
  folder: string,
  values: Readonly<Record<string, Value>>,
  name: (key: string) => string,
): object {
  return Object.fromEntries(
    Object.entries(values).map(([key, value]) => {
      const own = MAPS.has(key) && typeof value === "object" && !isList(value);
      const read = own ? readKeys(client, folder, value, (inner) => inner) : readValue(client, folder, value);
      return [name(key), read];
    }),
  );
}

function readValue(client: Longshore, folder: string, value: Value): unknown {
  if (isList(value)) return value.map((each) => readValue(client, folder, each));
  if (typeof value !== "object") return value;
  const [[kind, told] = []] = Object.entries(value);
  switch (kind) {
    case "$file":
      return join(folder, String(told));
    case "$code":
      return { code: told };
    case "$archive":
      return { archiveSha256: told };
    case "$blob":
      return { sha256: told };
    case "$artifact":
      return client.task(TASK_ID).artifact(String(told));
    case "$time":
      return new Date(String(told));
    case "$bytes":
      return Buffer.from(String(told), "base64");
    case "$callback":
      return () => true;
    case "$stream":
      return Readable.from([Buffer.from(String(told))]);
    default:
      return readKeys(client, folder, value, camelCase);
  }
}

// Array.isArray does not know lists that are read-only.
function isList(value: Value): value is readonly Value[] {
  return Array.isArray(value);
}
