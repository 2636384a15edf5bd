import assert from "node:assert/strict";
import { test } from "node:test";
import { status } from "@grpc/grpc-js";
import { Longshore } from "@longshore/client";
import { RetryInfo } from "@longshore/proto/google/rpc/error_details.ts";
import { AccessBench } from "../support/access-bench.ts";
import { FakeApplication } from "../support/fakes/fake-application.ts";
import { answerOf, bearer, detailsOf, errorInfoOf, failureOf, messagesOf } from "../support/grpc-calls.ts";
import { TransportServer } from "../support/transport-server.ts";

type Limits = NonNullable<Parameters<typeof TransportServer.start>[4]>;
const NONE: Limits = { requestsPerSecond: null, bytesPerSecond: null, openStreams: null };

async function limited(limits: Partial<Limits>, application = new FakeApplication()) {
  const bench = await AccessBench.open();
  const { secret } = await bench.token("blue", ["blobs", "tasks:read"]);
  const interceptors = [bearer(() => `Bearer ${secret}`)];
  const all = { ...NONE, ...limits };
  const server = await TransportServer.start(application, interceptors, bench.access, null, all);
  return Object.assign(server, { token: secret });
}

/** Asserts that the call is refused for its rate, and answers how long the client is asked to wait. */
async function limitedFor(call: Promise<unknown>): Promise<number> {
  const failure = await failureOf(call);
  assert.equal(failure.code, status.RESOURCE_EXHAUSTED);
  assert.equal(errorInfoOf(failure)?.reason, "RATE_LIMITED");
  const info = detailsOf(failure)?.details.find(({ typeUrl }) => typeUrl.endsWith("RetryInfo"));
  assert.ok(info !== undefined);
  const { retryDelay } = RetryInfo.decode(info.value);
  return Number(retryDelay?.seconds) * 1000 + Number(retryDelay?.nanos) / 1e6;
}

test("calls beyond the rate are refused with the time to wait; health is not counted", async () => {
  await using server = await limited({ requestsPerSecond: 1 });
  const ask = () => answerOf((done) => server.access.getCaller({}, done));
  await Promise.all([ask(), ask()]);
  const millis = await limitedFor(ask());
  assert.ok(millis > 0 && millis <= 1000);
  for (let count = 0; count < 5; count += 1)
    await answerOf((done) => server.health.check({ service: "" }, done));
});

test("clients wait and come again, for questions and for uploads", async () => {
  await using server = await limited({ requestsPerSecond: 20 });
  await using client = new Longshore(server.server.address, { token: server.token });
  const callers = await Promise.all(Array.from({ length: 50 }, () => client.access.caller()));
  assert.ok(callers.every(({ tenant }) => tenant === "blue"));
  const blob = await client.blobs.upload(Buffer.from("bytes"));
  assert.equal(blob.sizeBytes, 5n);
});

test("streams beyond the most are refused until one ends", async () => {
  const application = new FakeApplication();
  application.watchCapacity = async function* (engine, signal = new AbortController().signal) {
    yield await application.getCapacity(engine);
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  };
  await using server = await limited({ openStreams: 1 }, application);
  const watch = server.system.watchCapacity({ engine: "" });
  watch.on("error", () => undefined);
  await watch[Symbol.asyncIterator]().next();
  await limitedFor(messagesOf(server.system.watchCapacity({ engine: "" })));
  await answerOf((done) => server.access.getCaller({}, done));
});

test("bytes in both directions count; who owes too many waits", async () => {
  const application = new FakeApplication();
  const sha256 = "0".repeat(64);
  application.blobs.set(sha256, Buffer.alloc(2 ** 20));
  await using server = await limited({ bytesPerSecond: 10_000 }, application);
  const messages = await messagesOf(server.blobs.downloadBlob({ sha256, offsetBytes: 0n }));
  assert.equal(messages.length, 1);
  const millis = await limitedFor(answerOf((done) => server.access.getCaller({}, done)));
  assert.ok(millis > 50_000 && millis < 110_000, String(millis));
});
