import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { credentials } from "@grpc/grpc-js";
import { BlobServiceClient, type UploadBlobRequest } from "@longshore/proto/longshore/v1/blob_service.ts";
import { SystemServiceClient } from "@longshore/proto/longshore/v1/system_service.ts";
import { CreateTaskRequest } from "@longshore/proto/longshore/v1/task.ts";
import {
  type CreateTaskResponse,
  ListTasksRequest,
  type ListTasksResponse,
  RerunTaskRequest,
  SubmitTaskRequest,
  TaskServiceClient,
  WatchTaskRequest,
} from "@longshore/proto/longshore/v1/task_service.ts";
import { answerOf, errorInfoOf, failureOf, messagesOf, uploadOf } from "../support/grpc-calls.ts";
import { ObservedCodes } from "../support/observed-codes.ts";
import { type RunningServer, startServer, whyNoServer } from "../support/running-server.ts";

const digestOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const NOWHERE = "01JD3M8Q2E7V0000000000000A";

/** The first messages of an upload: what it claims, then what it sends. */
function upload(
  bytes: Uint8Array,
  header: { sha256?: string; format?: 0 | 1 | 2 | 3 | 4; offset?: number } = {},
): UploadBlobRequest[] {
  return [
    {
      part: {
        $case: "header",
        value: {
          sha256: header.sha256 ?? digestOf(bytes),
          sizeBytes: BigInt(bytes.length),
          offsetBytes: BigInt(header.offset ?? 0),
          format: header.format ?? 0,
        },
      },
    },
    { part: { $case: "chunk", value: Buffer.from(bytes) } },
  ];
}

describe("what is wrong, on the real server", { skip: (await whyNoServer()) ?? false }, () => {
  const observed = new ObservedCodes();
  let server: RunningServer;
  let tasks: TaskServiceClient;
  let blobs: BlobServiceClient;
  let system: SystemServiceClient;
  before(async () => {
    server = await startServer();
    const options = { interceptors: [observed.interceptor] };
    tasks = new TaskServiceClient(server.address, credentials.createInsecure(), options);
    blobs = new BlobServiceClient(server.address, credentials.createInsecure(), options);
    system = new SystemServiceClient(server.address, credentials.createInsecure(), options);
  });
  after(async () => {
    for (const client of [tasks, blobs, system]) client?.close();
    await server?.[Symbol.asyncDispose]();
  });

  const create = (fields: Parameters<typeof CreateTaskRequest.fromPartial>[0]) =>
    answerOf<CreateTaskResponse>((done) => tasks.createTask(CreateTaskRequest.fromPartial(fields), done));
  const get = (id: string) => answerOf((done) => tasks.getTask({ id, view: 0 }, done));
  const reasonOf = async (call: Promise<unknown>) => errorInfoOf(await failureOf(call))?.reason;

  const WRONG: readonly (readonly [string, string, () => Promise<unknown>])[] = [
    ["an empty request", "INVALID_REQUEST", () => create({})],
    ["an unknown task type", "INVALID_REQUEST", () => create({ code: "1", taskType: "x" })],
    [
      "code and archive together",
      "INVALID_REQUEST",
      () => create({ code: "1", archiveSha256: "0".repeat(64) }),
    ],
    ["an archive that nobody sent", "INVALID_REQUEST", () => create({ archiveSha256: "0".repeat(64) })],
    ["a field that is not supported", "INVALID_REQUEST", () => create({ code: "1", dependsOn: [NOWHERE] })],
    [
      "an engine that is not there",
      "INVALID_REQUEST",
      () => create({ code: "1", placement: { engine: "mars" } }),
    ],
    ["64 CPUs", "NEVER_FITS", () => create({ code: "1", resources: { cpu: "64" } })],
    ["a GPU where there is none", "NEVER_FITS", () => create({ code: "1", resources: { gpu: "9" } })],
    ["an image that is not allowed", "IMAGE_REFUSED", () => create({ code: "1", image: "evil" })],
    ["an unknown task", "NOT_FOUND", () => get(NOWHERE)],
    ["no id", "INVALID_REQUEST", () => get("")],
    [
      "cancel of an unknown task",
      "NOT_FOUND",
      () => answerOf((done) => tasks.cancelTask({ id: NOWHERE, reason: "", grace: undefined }, done)),
    ],
    [
      "a negative grace",
      "INVALID_REQUEST",
      () =>
        answerOf((done) =>
          tasks.cancelTask({ id: NOWHERE, reason: "", grace: { seconds: -1n, nanos: 0 } }, done),
        ),
    ],
    [
      "rerun of an unknown task",
      "NOT_FOUND",
      () => answerOf((done) => tasks.rerunTask(RerunTaskRequest.fromPartial({ id: NOWHERE }), done)),
    ],
    [
      "delete of an unknown task",
      "NOT_FOUND",
      () => answerOf((done) => tasks.deleteTask({ id: NOWHERE }, done)),
    ],
    [
      "a page token of nobody",
      "INVALID_REQUEST",
      () => answerOf((done) => tasks.listTasks(ListTasksRequest.fromPartial({ pageToken: "x" }), done)),
    ],
    [
      "a negative page size",
      "INVALID_REQUEST",
      () => answerOf((done) => tasks.listTasks(ListTasksRequest.fromPartial({ pageSize: -1 }), done)),
    ],
    [
      "artifacts of an unknown task",
      "NOT_FOUND",
      () => answerOf((done) => tasks.listArtifacts({ taskId: NOWHERE, pageSize: 0, pageToken: "" }, done)),
    ],
    [
      "an artifact of an unknown task",
      "NOT_FOUND",
      () => messagesOf(tasks.downloadArtifact({ artifact: { taskId: NOWHERE, path: "x" }, offsetBytes: 0n })),
    ],
    [
      "a watch of an unknown task",
      "NOT_FOUND",
      () => messagesOf(tasks.watchTask(WatchTaskRequest.fromPartial({ id: NOWHERE }))),
    ],
    [
      "a cursor of nobody",
      "BAD_CURSOR",
      () => messagesOf(tasks.watchTask(WatchTaskRequest.fromPartial({ id: NOWHERE, cursor: "nonsense" }))),
    ],
    [
      "a digest that is none",
      "INVALID_REQUEST",
      () => answerOf((done) => blobs.getBlob({ sha256: "x" }, done)),
    ],
    [
      "a blob that nobody sent",
      "NOT_FOUND",
      () => messagesOf(blobs.downloadBlob({ sha256: "0".repeat(64), offsetBytes: 0n })),
    ],
    [
      "bytes of another digest",
      "DIGEST_MISMATCH",
      () =>
        uploadOf(
          (done) => blobs.uploadBlob(done),
          upload(Buffer.from("abc"), { sha256: digestOf(Buffer.from("abd")), format: 1 }),
        ),
    ],
    [
      "an offset that was not committed",
      "WRONG_OFFSET",
      () => uploadOf((done) => blobs.uploadBlob(done), upload(Buffer.from("abc"), { offset: 2, format: 1 })),
    ],
    [
      "a zip that is none",
      "BAD_ARCHIVE",
      () => uploadOf((done) => blobs.uploadBlob(done), upload(Buffer.from("no zip at all"), { format: 4 })),
    ],
    [
      "a project of plain bytes",
      "BAD_ARCHIVE",
      () =>
        uploadOf(
          (done) => tasks.submitTask(done),
          [
            SubmitTaskRequest.fromPartial({ part: { $case: "header", value: { task: {}, archive: {} } } }),
            SubmitTaskRequest.fromPartial({ part: { $case: "chunk", value: Buffer.from("plain") } }),
          ],
        ),
    ],
    [
      "an engine that has no capacity",
      "NOT_FOUND",
      () => answerOf((done) => system.getCapacity({ engine: "mars" }, done)),
    ],
  ];

  for (const [what, reason, call] of WRONG) {
    test(`${what} answers ${reason}`, async () => assert.equal(await reasonOf(call()), reason));
  }

  test("another task's cursor is refused or shows nothing that is not its own", async () => {
    const { task } = await create({ code: "print('x' * 1000)" });
    assert.ok(task !== undefined);
    await messagesOf(tasks.watchTask(WatchTaskRequest.fromPartial({ id: task.id })));
    const forged = "1-9-1-zzzz-0-0-0-0";
    assert.equal(
      await reasonOf(
        messagesOf(tasks.watchTask(WatchTaskRequest.fromPartial({ id: task.id, cursor: forged }))),
      ),
      "BAD_CURSOR",
    );
    const inside = "1-9-1-2s-0-0-0-0";
    assert.equal(
      await reasonOf(
        messagesOf(tasks.watchTask(WatchTaskRequest.fromPartial({ id: task.id, cursor: inside }))),
      ),
      "BAD_CURSOR",
    );
  });

  test("nothing of all that was stored", async () => {
    const { tasks: stored } = await answerOf<ListTasksResponse>((done) =>
      tasks.listTasks(ListTasksRequest.fromPartial({}), done),
    );
    assert.equal(stored.length, 1);
  });

  test("every code that was seen is documented", async () =>
    assert.deepEqual(await observed.undocumented(), []));
});
