import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:http2";
import { after, before, beforeEach, describe, test } from "node:test";
import { Metadata, status } from "@grpc/grpc-js";
import { UploadBlobRequest } from "@longshore/proto/longshore/v1/blob_service.ts";
import { CreateTaskRequest } from "@longshore/proto/longshore/v1/task.ts";
import type {
  CreateTaskResponse,
  RunTaskResponse,
  WatchTaskResponse,
} from "@longshore/proto/longshore/v1/task_service.ts";
import type { LogOutput, TaskEvent } from "#server/domain/task-event.ts";
import type { Application } from "#server/transport/application.ts";
import { FakeApplication } from "../support/fakes/fake-application.ts";
import { answerOf, failureOf, messagesOf } from "../support/grpc-calls.ts";
import { TransportServer } from "../support/transport-server.ts";

const MIB = 2 ** 20;
const DIGEST = "0".repeat(64);
const WATCH = { id: "t", cursor: "", noFollow: false, tailBytes: 0n, text: false, noLogs: false };
const HEADER: UploadBlobRequest = {
  part: { $case: "header", value: { sha256: DIGEST, sizeBytes: 0n, offsetBytes: 0n, format: 0 } },
};
const CHUNK: UploadBlobRequest = { part: { $case: "chunk", value: Buffer.alloc(MIB) } };
const SNIPPET = CreateTaskRequest.fromPartial({ code: "print()" });

function output(data: Uint8Array, cursor = "log", offset = 0): LogOutput {
  const cursorAt = (byteOffset: number) => (byteOffset === data.length ? cursor : `${cursor}+${byteOffset}`);
  return { kind: "log", cursor, time: new Date(0), stream: "STDOUT", attempt: 1, offset, data, cursorAt };
}

let application: FakeApplication;
let server: TransportServer;
const overrides: Partial<Application> = {};

before(async () => {
  application = new FakeApplication();
  const overridable = new Proxy(application, {
    get: (fake, name) => Reflect.get(overrides, name) ?? bound(fake, Reflect.get(fake, name)),
  });
  server = await TransportServer.start(overridable);
});
after(() => server[Symbol.asyncDispose]());
beforeEach(() => {
  for (const name of Object.keys(overrides)) Reflect.deleteProperty(overrides, name);
});

function bound(target: object, member: unknown): unknown {
  return typeof member === "function" ? member.bind(target) : member;
}

/** Gives the server every opportunity to run ahead. */
async function roundTrips(count = 200): Promise<void> {
  for (let done = 0; done < count; done += 1) {
    await answerOf((answer) => server.system.getCapacity({ engine: "" }, answer));
  }
}

/** A source that goes on until its signal aborts, and how it ended. */
function endless() {
  const ended = Promise.withResolvers<unknown>();
  const source = async function* (
    ...[, , signal]: Parameters<Application["watchTask"]>
  ): AsyncGenerator<TaskEvent> {
    try {
      yield { kind: "heartbeat", cursor: "h", time: new Date(0) };
      if (!signal.aborted) await once(signal, "abort");
      throw signal.reason;
    } finally {
      ended.resolve(signal.aborted);
    }
  };
  return { source, ended: ended.promise };
}

describe("a watch", () => {
  test("stops its source when the client cancels", async () => {
    const { source, ended } = endless();
    overrides.watchTask = source;
    const call = server.tasks.watchTask(WATCH);
    const failure = failureOf(messagesOf(call));
    await once(call, "data");
    call.cancel();
    assert.equal((await failure).code, status.CANCELLED);
    assert.equal(await ended, true);
  });

  test("stops its source at the deadline", async () => {
    const { source, ended } = endless();
    overrides.watchTask = source;
    const call = server.tasks.watchTask(WATCH, new Metadata(), { deadline: Date.now() + 500 });
    assert.equal((await failureOf(messagesOf(call))).code, status.DEADLINE_EXCEEDED);
    assert.equal(await ended, true);
  });

  test("reads no further ahead of a client that does not read", async () => {
    let produced = 0;
    const ended = Promise.withResolvers<void>();
    overrides.watchTask = async function* () {
      try {
        for (; produced < 400; produced += 1) yield output(Buffer.alloc(MIB / 4));
      } finally {
        ended.resolve();
      }
    };
    const call = server.tasks.watchTask(WATCH);
    call.on("error", () => undefined);
    await once(call, "data");
    call.pause();
    await roundTrips();
    assert.ok(produced < 100, `${produced} of 400 events were read`);
    call.cancel();
    await ended.promise;
  });

  test("sends all of a long output in order", async () => {
    overrides.watchTask = async function* () {
      for (let index = 0; index < 200; index += 1) yield output(Buffer.alloc(MIB / 4, index), `c${index}`);
    };
    const events = await messagesOf(server.tasks.watchTask(WATCH));
    assert.deepEqual(
      events.map(({ event }) => event?.cursor),
      Array.from({ length: 200 }, (_, index) => `c${index}`),
    );
  });

  test("sends output as bytes, or as text where asked for", async () => {
    application.tasks.clear();
    const { task } = await answerOf<CreateTaskResponse>((done) => server.tasks.createTask(SNIPPET, done));
    const euro = Buffer.from("5 €\n");
    application.events = [
      output(euro.subarray(0, 3), "a", 0),
      { kind: "heartbeat", cursor: "b", time: new Date(0) },
      output(euro.subarray(3), "c", 3),
      { kind: "gap", cursor: "d", time: new Date(0), stream: "STDERR", attempt: 1, droppedBytes: 7 },
    ];
    const request = { ...WATCH, id: task?.id ?? "" };
    const asBytes = await messagesOf(server.tasks.watchTask(request));
    assert.deepEqual(told(asBytes), ["first task", "a 3520e2", "b heartbeat", "c 82ac0a", "d gap"]);
    const asText = await messagesOf(server.tasks.watchTask({ ...request, text: true }));
    assert.deepEqual(told(asText), ["first task", "a+2 5 ", "a+2 heartbeat", "c €\n", "d gap"]);
    const run = await messagesOf(server.tasks.runTask(SNIPPET));
    assert.deepEqual(told(run), told(asText));
  });
});

function told(messages: readonly (WatchTaskResponse | RunTaskResponse)[]): string[] {
  return messages.map(({ event }) => {
    const content = event?.event;
    if (content?.$case !== "log") return `${event?.cursor} ${content?.$case}`;
    const { text, data } = content.value;
    return `${event?.cursor} ${text === "" ? Buffer.from(data).toString("hex") : text}`;
  });
}

/** An application that reads an upload and tells how that ended. */
function reader() {
  const ended = Promise.withResolvers<{ bytes: number; error: unknown; aborted: boolean }>();
  const begun = Promise.withResolvers<void>();
  const uploadBlob: Application["uploadBlob"] = async (caller, header, chunks, signal) => {
    let bytes = 0;
    try {
      for await (const chunk of chunks) {
        bytes += chunk.length;
        begun.resolve();
      }
      ended.resolve({ bytes, error: undefined, aborted: signal.aborted });
    } catch (error) {
      ended.resolve({ bytes, error, aborted: signal.aborted });
      throw error;
    }
    return application.getBlob(caller, header.sha256);
  };
  return { uploadBlob, begun: begun.promise, ended: ended.promise };
}

describe("an upload", () => {
  test("may be answered before its end, and the connection goes on", async () => {
    overrides.uploadBlob = (caller, header) => application.getBlob(caller, header.sha256);
    let sent = 0;
    const answer = await answerOf<object>((done) => {
      const call = server.blobs.uploadBlob(done);
      call.on("error", () => undefined);
      call.write(HEADER);
      const more = () => {
        while (sent < 1000 && call.write(CHUNK)) sent += 1;
      };
      call.on("drain", more);
      more();
      return call;
    });
    assert.ok(answer);
    assert.ok(sent < 1000, `${sent} chunks were sent after all`);
    overrides.uploadBlob = undefined;
    const whole = await answerOf<{ blob?: { sizeBytes: bigint } | undefined }>((done) => {
      const call = server.blobs.uploadBlob(done);
      for (const message of [HEADER, ...Array.from({ length: 8 }, () => CHUNK)]) call.write(message);
      call.end();
      return call;
    });
    assert.equal(whole.blob?.sizeBytes, BigInt(8 * MIB));
  });

  test("is read no faster than the application reads it", async () => {
    const gate = Promise.withResolvers<void>();
    const chunks: number[] = [];
    overrides.uploadBlob = async (caller, header, source) => {
      for await (const chunk of source) {
        chunks.push(chunk.length);
        await gate.promise;
      }
      return application.getBlob(caller, header.sha256);
    };
    let flushed = 0;
    const answered = answerOf((done) => {
      const call = server.blobs.uploadBlob(done);
      call.write(HEADER);
      for (let index = 0; index < 64; index += 1) call.write(CHUNK, () => (flushed += 1));
      call.end();
      return call;
    });
    await roundTrips();
    assert.ok(flushed < 40, `${flushed} of 64 MiB left the client`);
    gate.resolve();
    await answered;
    assert.equal(chunks.length, 64);
  });

  test("that the client cancels fails for the application", async () => {
    const { uploadBlob, begun, ended } = reader();
    overrides.uploadBlob = uploadBlob;
    const failure = failureOf(
      answerOf((done) => {
        const call = server.blobs.uploadBlob(done);
        call.write(HEADER);
        call.write(CHUNK);
        void begun.then(() => call.cancel());
        return call;
      }),
    );
    assert.equal((await failure).code, status.CANCELLED);
    const { error, aborted } = await ended;
    assert.ok(error instanceof Error);
    assert.equal(aborted, true);
  });

  for (const ending of ["reset right after its last bytes", "cut off with its connection"] as const) {
    test(`that is ${ending} never passes for a whole one`, async () => {
      for (let round = 0; round < 25; round += 1) {
        const { uploadBlob, begun, ended } = reader();
        overrides.uploadBlob = uploadBlob;
        const session = connect(`http://${server.server.address}`);
        session.on("error", () => undefined);
        const stream = session.request({
          ":method": "POST",
          ":path": "/longshore.v1.BlobService/UploadBlob",
          "content-type": "application/grpc",
          te: "trailers",
        });
        stream.on("error", () => undefined);
        stream.write(
          Buffer.concat([framed(HEADER), framed({ part: { $case: "chunk", value: Buffer.alloc(100) } })]),
        );
        // On odd rounds the server has read everything there is and waits for more; on even ones it is just reading.
        if (round % 2 === 1) await begun;
        else await once(session, "remoteSettings");
        if (ending === "cut off with its connection") session.destroy();
        else stream.close(8);
        if (round % 2 === 1) {
          const { error, aborted } = await ended;
          assert.ok(error instanceof Error, `round ${round}`);
          assert.equal(aborted, true);
        }
        session.destroy();
        const settled = await Promise.race([ended, roundTrips(5)]);
        if (settled !== undefined) assert.ok(settled.error instanceof Error, `round ${round}`);
      }
    });
  }
});

/** A message in gRPC's frame: not compressed, length, bytes. */
function framed(message: UploadBlobRequest): Buffer {
  const bytes = UploadBlobRequest.encode(message).finish();
  const head = Buffer.alloc(5);
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}
