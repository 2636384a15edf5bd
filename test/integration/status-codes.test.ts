import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { status } from "@grpc/grpc-js";
import type { GetCallerResponse } from "@longshore/proto/longshore/v1/access_service.ts";
import type { UploadBlobRequest } from "@longshore/proto/longshore/v1/blob_service.ts";
import { CreateTaskRequest } from "@longshore/proto/longshore/v1/task.ts";
import { ProjectDescription, SubmitTaskRequest } from "@longshore/proto/longshore/v1/task_service.ts";
import type { GetUsageRequest } from "@longshore/proto/longshore/v1/usage_service.ts";
import {
  BadArchive,
  BadCursor,
  DigestMismatch,
  type ErrorReason,
  ImageRefused,
  type LongshoreError,
  NeverFits,
  NotEnforced,
  NotFound,
  QuotaExceeded,
  RecordDamaged,
  RequestIdReused,
  SystemFault,
  Unavailable,
  Unsupported,
  UploadInProgress,
  WrongOffset,
  WrongState,
} from "#server/domain/errors.ts";
import type { Application, Webhooks } from "#server/transport/application.ts";
import { FakeApplication } from "../support/fakes/fake-application.ts";
import {
  answerOf,
  errorInfoOf,
  failureOf,
  messagesOf,
  uploadOf,
  wrongFieldsOf,
} from "../support/grpc-calls.ts";
import { ObservedCodes, parseCodes, readDocumentedCodes } from "../support/observed-codes.ts";
import { TransportServer } from "../support/transport-server.ts";

const DIGEST = "0".repeat(64);
const MIB = 2 ** 20;

/** How each reason comes about in the application; those that only tokens or rate limits bring have no class yet. */
const ERRORS: Partial<Record<ErrorReason, () => LongshoreError>> = {
  BAD_ARCHIVE: () => new BadArchive("path", "leads out of the project"),
  DIGEST_MISMATCH: () => new DigestMismatch("other bytes"),
  NEVER_FITS: () => new NeverFits("too large"),
  NOT_ENFORCED: () => new NotEnforced("advisory"),
  WRONG_STATE: () => new WrongState("cancel it first", "RUNNING"),
  NOT_FOUND: () => new NotFound("thing", "x"),
  REQUEST_ID_REUSED: () => new RequestIdReused("r", "t"),
  UPLOAD_IN_PROGRESS: () => new UploadInProgress("another stream"),
  WRONG_OFFSET: () => new WrongOffset(1, 2),
  QUOTA_EXCEEDED: () => new QuotaExceeded("tenant", "too many"),
  UNAVAILABLE: () => new Unavailable("disk full"),
  INTERNAL: () => new SystemFault("a fault"),
  BAD_CURSOR: () => new BadCursor("not one of this task"),
  UNSUPPORTED: () => new Unsupported("no"),
  RECORD_DAMAGED: () => new RecordDamaged("t", "spec: is not JSON"),
  IMAGE_REFUSED: () => new ImageRefused("i", "python", "no Python"),
};

const header = (sha256 = DIGEST): UploadBlobRequest => ({
  part: { $case: "header", value: { sha256, sizeBytes: 3n, offsetBytes: 0n, format: 0 } },
});
const chunk = (size = 3): UploadBlobRequest => ({ part: { $case: "chunk", value: Buffer.alloc(size) } });
const submit = (task: Parameters<typeof CreateTaskRequest.fromPartial>[0] = {}): SubmitTaskRequest =>
  SubmitTaskRequest.fromPartial({ part: { $case: "header", value: { task, archive: {} } } });
const snippet = CreateTaskRequest.fromPartial({ code: "print()" });

/** A well-formed call of each RPC whose answer the application gives, and the method that gives it. */
const CALLS: Readonly<Record<string, [Failing, (to: TransportServer) => Promise<unknown>]>> = {
  CreateTask: ["createTask", ({ tasks }) => answerOf((done) => tasks.createTask(snippet, done))],
  RunTask: ["createTask", ({ tasks }) => messagesOf(tasks.runTask(snippet))],
  SubmitTask: ["submitTask", ({ tasks }) => uploadOf((done) => tasks.submitTask(done), [submit()])],
  ValidateTask: [
    "validateTask",
    ({ tasks }) => answerOf((done) => tasks.validateTask({ task: snippet, project: undefined }, done)),
  ],
  GetTask: ["getTask", ({ tasks }) => answerOf((done) => tasks.getTask({ id: "t", view: 0 }, done))],
  ListTasks: ["listTasks", ({ tasks }) => answerOf((done) => tasks.listTasks(listing({}), done))],
  WatchTask: ["watchTask", ({ tasks }) => messagesOf(tasks.watchTask(watching({ id: "t" })))],
  WatchTasks: ["watchTasks", ({ tasks }) => messagesOf(tasks.watchTasks({ labels: {}, maxTasks: 0 }))],
  CancelTask: [
    "cancelTask",
    ({ tasks }) => answerOf((done) => tasks.cancelTask({ id: "t", reason: "", grace: undefined }, done)),
  ],
  RerunTask: ["rerunTask", ({ tasks }) => answerOf((done) => tasks.rerunTask(rerunning({ id: "t" }), done))],
  DeleteTask: ["deleteTask", ({ tasks }) => answerOf((done) => tasks.deleteTask({ id: "t" }, done))],
  ListArtifacts: [
    "listArtifacts",
    ({ tasks }) => answerOf((done) => tasks.listArtifacts({ taskId: "t", pageSize: 0, pageToken: "" }, done)),
  ],
  DownloadArtifact: [
    "downloadArtifact",
    ({ tasks }) => messagesOf(tasks.downloadArtifact(artifact("t", "x", 0n))),
  ],
  GetBlob: ["getBlob", ({ blobs }) => answerOf((done) => blobs.getBlob({ sha256: DIGEST }, done))],
  UploadBlob: ["uploadBlob", ({ blobs }) => uploadOf((done) => blobs.uploadBlob(done), [header(), chunk()])],
  DownloadBlob: [
    "downloadBlob",
    ({ blobs }) => messagesOf(blobs.downloadBlob({ sha256: DIGEST, offsetBytes: 0n })),
  ],
  GetUsage: ["getUsage", ({ usage }) => answerOf((done) => usage.getUsage(summing({}), done))],
  ListUsage: [
    "listUsage",
    ({ usage }) =>
      answerOf((done) => usage.listUsage({ filter: undefined, pageSize: 0, pageToken: "" }, done)),
  ],
  GetQuota: ["getQuota", ({ usage }) => answerOf((done) => usage.getQuota({}, done))],
  EstimateCost: [
    "estimateCost",
    ({ usage }) => answerOf((done) => usage.estimateCost({ task: snippet }, done)),
  ],
  GetCapabilities: ["getCapabilities", ({ system }) => answerOf((done) => system.getCapabilities({}, done))],
  GetReconcileReport: [
    "getReconcileReport",
    ({ system }) => answerOf((done) => system.getReconcileReport({}, done)),
  ],
  GetCapacity: ["getCapacity", ({ system }) => answerOf((done) => system.getCapacity({ engine: "" }, done))],
  WatchCapacity: ["watchCapacity", ({ system }) => messagesOf(system.watchCapacity({ engine: "" }))],
  CreateWebhook: [
    "webhooks.create",
    ({ webhooks }) =>
      answerOf((done) => webhooks.createWebhook({ url: "", states: [], description: "" }, done)),
  ],
  ListWebhooks: [
    "webhooks.list",
    ({ webhooks }) => answerOf((done) => webhooks.listWebhooks({ pageSize: -1, pageToken: "" }, done)),
  ],
  DeleteWebhook: [
    "webhooks.delete",
    ({ webhooks }) => answerOf((done) => webhooks.deleteWebhook({ id: "w" }, done)),
  ],
  RotateWebhookSecret: [
    "webhooks.rotate",
    ({ webhooks }) => answerOf((done) => webhooks.rotateWebhookSecret({ overlap: undefined }, done)),
  ],
  ListDeliveries: [
    "webhooks.deliveries",
    ({ webhooks }) =>
      answerOf((done) =>
        webhooks.listDeliveries({ webhookId: "", taskId: "", states: [], pageSize: 0, pageToken: "" }, done),
      ),
  ],
  Redeliver: [
    "webhooks.redeliver",
    ({ webhooks }) => answerOf((done) => webhooks.redeliver({ id: "d" }, done)),
  ],
};

/** The method that an RPC ends up in. */
type Failing = keyof Application | `webhooks.${keyof Webhooks & string}`;

/** An application whose only such method fails. */
function failingAt(method: Failing, error: Error): FakeApplication {
  const application = new FakeApplication();
  const [first = "", second] = method.split(".");
  if (second === undefined) Object.assign(application, { [first]: throwing(error) });
  else Object.assign(application.webhooks, { [second]: throwing(error) });
  return application;
}

function listing(changes: object) {
  const empty = {
    pageSize: 0,
    pageToken: "",
    states: [],
    labels: {},
    owner: "",
    reasons: [],
    view: 0,
  } as const;
  return { createdAfter: undefined, createdBefore: undefined, ...empty, states: [], reasons: [], ...changes };
}

function summing(changes: Partial<GetUsageRequest>): GetUsageRequest {
  return { filter: undefined, grouping: 0, label: "", pageSize: 0, pageToken: "", ...changes };
}

function watching(changes: object) {
  return { id: "", cursor: "", noFollow: false, tailBytes: 0n, text: false, noLogs: false, ...changes };
}

function rerunning(changes: object) {
  return { id: "", requestId: "", resources: undefined, timeout: undefined, ...changes };
}

function artifact(taskId: string, path: string, offsetBytes: bigint) {
  return { artifact: { taskId, path }, offsetBytes };
}

/** Requests that are wrong in themselves, and the fields that the answer must name. */
const WRONG: readonly [string, readonly string[], (to: TransportServer) => Promise<unknown>][] = [
  [
    "CreateTask",
    ["network", "max_attempts", "code"],
    ({ tasks }) =>
      answerOf((done) =>
        tasks.createTask(CreateTaskRequest.fromPartial({ network: 99 as 0, maxAttempts: -1 }), done),
      ),
  ],
  ["RunTask", ["code"], ({ tasks }) => messagesOf(tasks.runTask(CreateTaskRequest.create()))],
  ["SubmitTask", ["header"], ({ tasks }) => uploadOf((done) => tasks.submitTask(done), [])],
  [
    "SubmitTask",
    ["header.task", "header.archive"],
    ({ tasks }) =>
      uploadOf(
        (done) => tasks.submitTask(done),
        [SubmitTaskRequest.fromPartial({ part: { $case: "header", value: {} } })],
      ),
  ],
  [
    "SubmitTask",
    ["max_attempts"],
    ({ tasks }) => uploadOf((done) => tasks.submitTask(done), [submit({ maxAttempts: -1 })]),
  ],
  ["SubmitTask", ["header"], ({ tasks }) => uploadOf((done) => tasks.submitTask(done), [submit(), submit()])],
  [
    "ValidateTask",
    ["task", "project.archive_bytes"],
    ({ tasks }) =>
      answerOf((done) => {
        const project = ProjectDescription.fromPartial({ archiveBytes: -1n });
        return tasks.validateTask({ task: undefined, project }, done);
      }),
  ],
  [
    "GetTask",
    ["id", "view"],
    ({ tasks }) => answerOf((done) => tasks.getTask({ id: "", view: 9 as 0 }, done)),
  ],
  [
    "ListTasks",
    ["view", "states[0]", "reasons[1]", "created_after", "page_size", "page_token"],
    ({ tasks }) =>
      answerOf((done) => {
        const wrong = { pageSize: -1, pageToken: "x", states: [77], reasons: [1, 88], view: 5 };
        return tasks.listTasks(listing({ ...wrong, createdAfter: new Date(8.64e15) }), done);
      }),
  ],
  [
    "WatchTask",
    ["id", "tail_bytes"],
    ({ tasks }) => messagesOf(tasks.watchTask(watching({ tailBytes: -1n }))),
  ],
  ["WatchTasks", ["max_tasks"], ({ tasks }) => messagesOf(tasks.watchTasks({ labels: {}, maxTasks: -1 }))],
  [
    "CancelTask",
    ["id", "grace"],
    ({ tasks }) =>
      answerOf((done) => tasks.cancelTask({ id: "", reason: "", grace: { seconds: -1n, nanos: 0 } }, done)),
  ],
  [
    "RerunTask",
    ["id", "timeout"],
    ({ tasks }) =>
      answerOf((done) => tasks.rerunTask(rerunning({ timeout: { seconds: 0n, nanos: 0 } }), done)),
  ],
  ["DeleteTask", ["id"], ({ tasks }) => answerOf((done) => tasks.deleteTask({ id: "" }, done))],
  [
    "ListArtifacts",
    ["task_id", "page_size"],
    ({ tasks }) => answerOf((done) => tasks.listArtifacts({ taskId: "", pageSize: -5, pageToken: "" }, done)),
  ],
  [
    "DownloadArtifact",
    ["artifact.task_id", "artifact.path", "offset_bytes"],
    ({ tasks }) => messagesOf(tasks.downloadArtifact(artifact("", "", -1n))),
  ],
  [
    "GetUsage",
    ["filter.start_time", "label", "page_size"],
    ({ usage }) =>
      answerOf((done) => {
        const filter = { startTime: new Date(8.64e15), endTime: undefined, owner: "", labels: {} };
        return usage.getUsage(summing({ filter, grouping: 2, pageSize: -1 }), done);
      }),
  ],
  [
    "GetUsage",
    ["grouping", "label"],
    ({ usage }) => answerOf((done) => usage.getUsage(summing({ grouping: 77 as 0, label: "team" }), done)),
  ],
  [
    "ListUsage",
    ["page_size"],
    ({ usage }) =>
      answerOf((done) => usage.listUsage({ filter: undefined, pageSize: -1, pageToken: "" }, done)),
  ],
  [
    "EstimateCost",
    ["task"],
    ({ usage }) => answerOf((done) => usage.estimateCost({ task: undefined }, done)),
  ],
  ["GetBlob", ["sha256"], ({ blobs }) => answerOf((done) => blobs.getBlob({ sha256: "ABC" }, done))],
  [
    "UploadBlob",
    ["header.sha256"],
    ({ blobs }) => uploadOf((done) => blobs.uploadBlob(done), [header(""), chunk()]),
  ],
  [
    "UploadBlob",
    ["chunk"],
    ({ blobs }) => uploadOf((done) => blobs.uploadBlob(done), [header(), chunk(MIB + 1)]),
  ],
  ["UploadBlob", ["header"], ({ blobs }) => uploadOf((done) => blobs.uploadBlob(done), [chunk()])],
  [
    "DownloadBlob",
    ["sha256", "offset_bytes"],
    ({ blobs }) => messagesOf(blobs.downloadBlob({ sha256: "", offsetBytes: -1n })),
  ],
  [
    "CreateUploadUrl",
    ["sha256", "size_bytes", "format", "lifetime"],
    ({ blobs }) =>
      answerOf((done) => {
        const lifetime = { seconds: 0n, nanos: 0 };
        return blobs.createUploadUrl({ sha256: "", sizeBytes: -1n, format: 9 as 0, lifetime }, done);
      }),
  ],
  [
    "CreateDownloadUrl",
    ["sha256"],
    ({ blobs }) => answerOf((done) => blobs.createDownloadUrl({ sha256: "", lifetime: undefined }, done)),
  ],
  [
    "CreateToken",
    ["lifetime", "tenant", "subject", "description", "scopes", "scopes"],
    ({ access }) =>
      answerOf((done) => {
        const names = { tenant: "A B", subject: "\n", description: "x".repeat(201), scopes: ["", "root"] };
        return access.createToken({ ...names, lifetime: { seconds: 0n, nanos: 0 } }, done);
      }),
  ],
  [
    "ListTokens",
    ["page_size", "page_token"],
    ({ access }) => answerOf((done) => access.listTokens({ tenant: "", pageSize: -1, pageToken: "x" }, done)),
  ],
  ["RevokeToken", ["id"], ({ access }) => answerOf((done) => access.revokeToken({ id: "" }, done))],
  [
    "ListAuditEvents",
    ["since", "page_size", "page_token"],
    ({ access }) =>
      answerOf((done) => {
        const since = new Date(8.64e15);
        const wrong = { tenant: "", since, until: undefined, pageSize: -1, pageToken: "x" };
        return access.listAuditEvents(wrong, done);
      }),
  ],
];

describe("status codes", async () => {
  const documented = await readDocumentedCodes();
  const observed = new ObservedCodes();
  const application = new FakeApplication();
  let server: TransportServer;

  before(async () => {
    server = await TransportServer.start(application, [observed.interceptor]);
  });
  after(() => server[Symbol.asyncDispose]());

  for (const [rpc, fields, call] of WRONG) {
    test(`${rpc} names ${fields.join(", ")} in one answer`, async () => {
      const failure = await failureOf(call(server));
      assert.equal(failure.code, status.INVALID_ARGUMENT, failure.message);
      assert.deepEqual(wrongFieldsOf(failure), fields);
    });
  }

  test("a message over 4 MiB is RESOURCE_EXHAUSTED and says how large it is", async () => {
    const large = CreateTaskRequest.fromPartial({ code: "x".repeat(5 * MIB) });
    const failure = await failureOf(answerOf((done) => server.tasks.createTask(large, done)));
    assert.equal(failure.code, status.RESOURCE_EXHAUSTED);
    assert.match(failure.details, /larger than max \(5242\d+ vs\.? 4194304\)/);
  });

  test("bytes that are no message are INVALID_ARGUMENT", async () => {
    const failure = await failureOf(
      answerOf((done) =>
        server.tasks.makeUnaryRequest(
          "/longshore.v1.TaskService/GetTask",
          () => Buffer.from([0x0a, 0xff]),
          (bytes) => bytes,
          {},
          done,
        ),
      ),
    );
    assert.equal(failure.code, status.INVALID_ARGUMENT);
    assert.equal(errorInfoOf(failure)?.reason, "INVALID_REQUEST");
  });

  test("addresses for blobs are UNIMPLEMENTED where blobs are files", async () => {
    const upload = { sha256: DIGEST, sizeBytes: 1n, format: 0, lifetime: undefined } as const;
    const failures = [
      await failureOf(answerOf((done) => server.blobs.createUploadUrl(upload, done))),
      await failureOf(answerOf((done) => server.blobs.createDownloadUrl({ ...upload }, done))),
    ];
    for (const failure of failures) assert.equal(errorInfoOf(failure)?.reason, "UNSUPPORTED");
  });

  for (const [rpc, [method, call]] of Object.entries(CALLS)) {
    test(`${rpc} ends with the code that its comment gives each reason`, async () => {
      const path = [...documented.keys()].find((name) => name.endsWith(`/${rpc}`)) ?? "";
      for (const [code, reasons] of documented.get(path) ?? []) {
        for (const reason of reasons) {
          const error = Object.entries(ERRORS).find(([name]) => name === reason)?.[1];
          if (error === undefined) continue;
          await using failing = await TransportServer.start(failingAt(method, error()), [
            observed.interceptor,
          ]);
          const failure = await failureOf(call(failing));
          assert.deepEqual([status[failure.code], errorInfoOf(failure)?.reason], [code, reason]);
        }
      }
    });
  }

  test("a token that nobody made is NOT_FOUND, the caller is told who it is", async () => {
    const failure = await failureOf(answerOf((done) => server.access.revokeToken({ id: "none" }, done)));
    assert.equal(errorInfoOf(failure)?.reason, "NOT_FOUND");
    const caller = await answerOf<GetCallerResponse>((done) => server.access.getCaller({}, done));
    assert.equal(caller.subject, "local");
  });

  test("every RPC was driven, and none ended in a way that its comment does not tell of", async () => {
    assert.deepEqual(
      [...documented.keys()].filter((rpc) => !observed.rpcs.has(rpc)),
      [],
    );
    assert.deepEqual(await observed.undocumented(), []);
  });

  test("an undocumented code is noticed", async () => {
    const strict = new ObservedCodes();
    await using failing = await TransportServer.start(
      Object.assign(new FakeApplication(), { getTask: throwing(new NeverFits("x")) }),
      [strict.interceptor],
    );
    await failureOf(answerOf((done) => failing.tasks.getTask({ id: "t", view: 0 }, done)));
    assert.equal((await strict.undocumented()).length, 1);
  });

  test("every RPC lists its codes in a form that can be read", () => {
    assert.equal(documented.size, 37);
    for (const codes of documented.values()) assert.ok(codes.has("INTERNAL"));
    assert.throws(() => parseCodes("Errors: those of CreateTask."), /not a list of codes/);
    assert.throws(() => parseCodes("Errors: NOT_THERE."), /not a status code/);
  });
});

/** Fails both as a promise and as an iterable, whichever the caller takes it for. */
function throwing(error: Error) {
  return () => ({
    // biome-ignore lint/suspicious/noThenProperty: stands in for a promise and an iterable at once
    then: (_: unknown, reject: (error: Error) => void) => reject(error),
    [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(error) }),
  });
}
