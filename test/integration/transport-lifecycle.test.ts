import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, test } from "node:test";
import { type ClientReadableStream, status } from "@grpc/grpc-js";
import { RetryInfo } from "@longshore/proto/google/rpc/error_details.ts";
import {
  type HealthCheckResponse,
  HealthCheckResponse_ServingStatus,
} from "@longshore/proto/grpc/health/v1/health.ts";
import type { UploadBlobRequest } from "@longshore/proto/longshore/v1/blob_service.ts";
import { startGrpcServer } from "#server/transport/server.ts";
import { AccessBench } from "../support/access-bench.ts";
import { CollectingMetrics } from "../support/fakes/collecting-metrics.ts";
import { FakeApplication } from "../support/fakes/fake-application.ts";
import { answerOf, detailsOf, errorInfoOf, failureOf, messagesOf } from "../support/grpc-calls.ts";
import { LogLines, TransportServer } from "../support/transport-server.ts";

const { SERVING, NOT_SERVING, SERVICE_UNKNOWN } = HealthCheckResponse_ServingStatus;
const WATCH = { id: "t", cursor: "", noFollow: false, tailBytes: 0n, text: false, noLogs: false };
const HEADER: UploadBlobRequest = {
  part: { $case: "header", value: { sha256: "0".repeat(64), sizeBytes: 0n, offsetBytes: 0n, format: 0 } },
};

/** Watches that go on until they are aborted, and blobs that wait for `open`. */
class GatedApplication extends FakeApplication {
  readonly #gate = Promise.withResolvers<void>();
  readonly #entered = Promise.withResolvers<void>();
  readonly entered = this.#entered.promise;

  open(): void {
    this.#gate.resolve();
  }

  override async getBlob(...call: Parameters<FakeApplication["getBlob"]>) {
    this.#entered.resolve();
    await this.#gate.promise;
    return super.getBlob(...call);
  }

  override async *watchTask(...[, , signal]: Parameters<FakeApplication["watchTask"]>) {
    yield { kind: "heartbeat", cursor: "h", time: new Date(0) } as const;
    if (!signal.aborted) await once(signal, "abort");
  }
}

/** The next message of a stream that is read one at a time. */
async function next<T>(stream: ClientReadableStream<T>): Promise<T> {
  const [message] = await once(stream, "data");
  return message;
}

describe("draining", () => {
  test("ends watches, refuses what is new, and waits for what was begun", async () => {
    const application = new GatedApplication();
    await using server = await TransportServer.start(application);
    const watch = server.tasks.watchTask(WATCH);
    const watchFailure = failureOf(messagesOf(watch));
    const health = server.health.watch({ service: "" });
    const healthFailure = once(health, "error");
    const begun = answerOf((done) => server.blobs.getBlob({ sha256: "0".repeat(64) }, done));
    assert.deepEqual(await next(health), { status: SERVING });
    await application.entered;

    const unhealthy = next(health);
    const drained = server.server.drain(60_000);
    assert.deepEqual(await unhealthy, { status: NOT_SERVING });
    const refusals = [
      await watchFailure,
      await failureOf(answerOf((done) => server.system.getCapacity({ engine: "" }, done))),
      await failureOf(messagesOf(server.tasks.watchTask(WATCH))),
    ];
    for (const failure of refusals) {
      assert.equal(failure.code, status.UNAVAILABLE);
      assert.equal(errorInfoOf(failure)?.reason, "UNAVAILABLE");
      const retry = detailsOf(failure)?.details.find(({ typeUrl }) => typeUrl.endsWith("RetryInfo"));
      assert.equal(
        RetryInfo.decode(retry?.value ?? assert.fail("says when to try again")).retryDelay?.seconds,
        1n,
      );
    }
    const check = await answerOf<HealthCheckResponse>((done) => server.health.check({ service: "" }, done));
    assert.equal(check.status, NOT_SERVING);

    application.open();
    assert.ok(await begun, "what was begun is answered");
    const [ended] = await healthFailure;
    assert.equal(ended.code, status.UNAVAILABLE);
    await drained;
    const gone = await failureOf(answerOf((done) => server.health.check({ service: "" }, done)));
    assert.equal(gone.code, status.UNAVAILABLE);
  });

  test("cuts what has not ended when its time is over", async () => {
    const application = new GatedApplication();
    const reading = Promise.withResolvers<void>();
    application.uploadBlob = async (caller, header, chunks) => {
      reading.resolve();
      for await (const _ of chunks);
      return application.getBlob(caller, header.sha256);
    };
    await using server = await TransportServer.start(application);
    const failure = failureOf(
      answerOf((done) => {
        const call = server.blobs.uploadBlob(done);
        call.write(HEADER);
        return call;
      }),
    );
    await reading.promise;
    await server.server.drain(0);
    assert.equal((await failure).code, status.UNAVAILABLE);
  });
});

describe("health", () => {
  test("is told of the server and of each service", async () => {
    await using server = await TransportServer.start(new FakeApplication());
    const services = [
      "",
      "longshore.v1.AccessService",
      "longshore.v1.BlobService",
      "longshore.v1.SystemService",
      "longshore.v1.TaskService",
      "longshore.v1.UsageService",
      "longshore.v1.WebhookService",
    ];
    for (const service of services) {
      const answer = await answerOf<HealthCheckResponse>((done) => server.health.check({ service }, done));
      assert.equal(answer.status, SERVING);
    }
    const all = await answerOf<{ statuses: object }>((done) => server.health.list({}, done));
    assert.deepEqual(Object.keys(all.statuses).sort(), services);
    const unknown = await failureOf(answerOf((done) => server.health.check({ service: "x" }, done)));
    assert.equal(unknown.code, status.NOT_FOUND);
    const watch = server.health.watch({ service: "x" });
    watch.on("error", () => undefined);
    assert.deepEqual(await next(watch), { status: SERVICE_UNKNOWN });
    watch.cancel();
  });

  test("watches see every change that lasts", async () => {
    await using server = await TransportServer.start(new FakeApplication());
    const watch = server.health.watch({ service: "" });
    watch.on("error", () => undefined);
    for (const serving of [true, false, true]) {
      server.server.health.serving = serving;
      assert.deepEqual(await next(watch), { status: serving ? SERVING : NOT_SERVING });
    }
    watch.cancel();
  });
});

describe("a fault", () => {
  test("is told by an id, under which the log holds the cause", async () => {
    const cause = new Error("the password is x");
    const application = new FakeApplication();
    application.getTask = () => Promise.reject(cause);
    await using server = await TransportServer.start(application);
    const failure = await failureOf(answerOf((done) => server.tasks.getTask({ id: "t", view: 0 }, done)));
    assert.equal(failure.code, status.INTERNAL);
    assert.doesNotMatch(failure.details, /password/);
    const line = server.log.lines.find(({ level }) => level === "error");
    assert.equal(line?.facts.err, cause);
    assert.match(failure.details, new RegExp(String(line?.facts.fault_id)));
  });

  test("is not what a refused call is; the log says of it who, what and why, but not what was sent", async () => {
    await using server = await TransportServer.start(new FakeApplication());
    await failureOf(answerOf((done) => server.tasks.getTask({ id: "secret-id", view: 0 }, done)));
    const [line] = server.log.lines;
    assert.deepEqual(
      { ...line?.facts, millis: 0 },
      {
        rpc: "/longshore.v1.TaskService/GetTask",
        status: "NOT_FOUND",
        reason: "NOT_FOUND",
        millis: 0,
        tenant: "default",
        subject: "local",
      },
    );
  });
});

test("an address that is taken is named", async () => {
  await using server = await TransportServer.start(new FakeApplication());
  const listen = server.server.address;
  const { access } = await AccessBench.open({ authenticators: null });
  const options = {
    listen,
    application: new FakeApplication(),
    access,
    log: new LogLines(),
    metrics: new CollectingMetrics(),
    newId: () => "",
  };
  await assert.rejects(() => startGrpcServer(options), new RegExp(`cannot listen on ${listen}`));
});
