import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { status } from "@grpc/grpc-js";
import { SCOPES, type Scope } from "#server/domain/principal.ts";
import { AccessBench, OPERATOR } from "../support/access-bench.ts";
import { DynamicClient, type Outcome, RPCS } from "../support/dynamic-client.ts";
import { FakeApplication } from "../support/fakes/fake-application.ts";
import { answerOf, bearer, errorInfoOf, failureOf, messagesOf } from "../support/grpc-calls.ts";
import { ObservedCodes } from "../support/observed-codes.ts";
import { type Belongings, entryOf } from "../support/rpc-table.ts";
import { TransportServer } from "../support/transport-server.ts";

const NOTHING: Belongings = {
  tenant: "blue",
  subject: "ana",
  endedId: "task-0",
  runningId: "task-00",
  cursor: "x",
  requestId: "r",
  code: "pass",
  artifactPath: "x",
  archiveSha256: "0".repeat(64),
  blobSha256: "1".repeat(64),
  partialSha256: "2".repeat(64),
  sizeBytes: "4",
  tokenId: "none",
  webhookId: "none",
  deliveryId: "none",
};

describe("every RPC, with every kind of credential", () => {
  const observed = new ObservedCodes();
  let bench: AccessBench;
  let server: TransportServer;
  let client: DynamicClient;
  const secrets: string[] = [];

  before(async () => {
    bench = await AccessBench.open();
    server = await TransportServer.start(new FakeApplication(), [], bench.access);
    client = new DynamicClient(server.server.address, [observed.interceptor]);
  });
  after(async () => {
    client[Symbol.dispose]();
    await server[Symbol.asyncDispose]();
    await bench[Symbol.asyncDispose]();
  });

  async function tokenWith(scopes: readonly Scope[], lifetimeMillis?: number) {
    const token = await bench.token("blue", scopes, { lifetimeMillis });
    secrets.push(token.secret.split("_").slice(2).join("_"));
    return token;
  }

  /** What is no credential of this server. */
  async function useless(): Promise<ReadonlyMap<string, string | undefined>> {
    const good = await tokenWith(SCOPES);
    const other = await tokenWith(SCOPES);
    const revoked = await tokenWith(SCOPES);
    await bench.access.revokeToken(OPERATOR, revoked.id);
    const expired = await tokenWith(SCOPES, 1);
    bench.aheadMillis += 1000;
    return new Map([
      ["none", undefined],
      ["another scheme", `Basic ${good.secret}`],
      ["the token alone", good.secret],
      ["nothing after Bearer", "Bearer "],
      ["a wrong one", `Bearer ${good.secret.slice(0, -4)}AAAA`],
      ["the id of one and the secret of another", `Bearer ${good.secret.replace(good.id, other.id)}`],
      ["one of another kind", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0."],
      ["a revoked one", `Bearer ${revoked.secret}`],
      ["an expired one", `Bearer ${expired.secret}`],
    ]);
  }

  for (const method of RPCS) {
    const name = `${method.parent.typeName}/${method.name}`;
    describe(name, () => {
      const call = async (authorization: string | undefined): Promise<Outcome> => {
        const [messages = []] = entryOf(method.parent.typeName, method.name).trials(NOTHING);
        return await client.call(method, messages, authorization === undefined ? {} : { authorization });
      };

      test("refuses what is no credential of this server", async () => {
        for (const [kind, authorization] of await useless()) {
          const { error, reason, answers } = await call(authorization);
          assert.deepEqual([kind, error?.code, reason], [kind, status.UNAUTHENTICATED, "UNAUTHENTICATED"]);
          assert.deepEqual(answers, []);
        }
      });

      test("takes the scope that it needs and no other", async () => {
        const { need } = entryOf(method.parent.typeName, method.name);
        const wanted = SCOPES.find((scope) => scope === need);
        const enough = await tokenWith(wanted === undefined ? ["usage"] : [wanted]);
        const { reason } = await call(`Bearer ${enough.secret}`);
        assert.ok(!["UNAUTHENTICATED", "INTERNAL"].includes(reason), reason);
        // CreateToken may still ask for the scope operator, because of what is asked.
        if (reason === "MISSING_SCOPE") assert.equal(name, "longshore.v1.AccessService/CreateToken");
        if (wanted === undefined) return assert.equal(need, "any");
        const others = await tokenWith(SCOPES.filter((scope) => scope !== wanted));
        const denied = await call(`Bearer ${others.secret}`);
        assert.equal(denied.error?.code, status.PERMISSION_DENIED);
        assert.deepEqual([denied.reason, denied.facts.scope], ["MISSING_SCOPE", wanted]);
      });
    });
  }

  test("every way in which a call ended is documented", async () =>
    assert.deepEqual(await observed.undocumented(), []));

  test("no token is in the log, in the audit log or in an error", () => {
    const said = JSON.stringify([server.log.lines, bench.log.lines, bench.audit.events]);
    assert.ok(secrets.length > 100);
    for (const secret of secrets) assert.ok(!said.includes(secret));
  });

  test("who was denied what stands in the audit log", () => {
    const denied = bench.audit.events.filter(({ action }) => action === "call.denied");
    for (const method of RPCS)
      assert.ok(
        denied.some(({ resource }) => resource === `/${method.parent.typeName}/${method.name}`),
        method.name,
      );
    const [missing] = denied.filter(({ detail }) => detail === "MISSING_SCOPE: tasks:write");
    assert.deepEqual([missing?.tenant, missing?.subject, missing?.peer], ["blue", "user", "127.0.0.1"]);
    assert.ok(
      denied.some(({ detail, credential }) => /revoked/.test(detail) && credential.startsWith("token ")),
    );
  });

  test("health and reflection answer everybody", async () => {
    const answer = await answerOf<{ status: number }>((done) => server.health.check({ service: "" }, done));
    assert.equal(answer.status, 1);
  });
});

describe("a call that outlives its credential", () => {
  /** A server whose watches go on for ever, and a token for them. */
  async function watching(lifetimeMillis?: number) {
    const bench = await AccessBench.open();
    const application = new FakeApplication();
    application.watchCapacity = async function* (engine, signal = new AbortController().signal) {
      yield await application.getCapacity(engine);
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    };
    const authorization: string[] = [];
    const server = await TransportServer.start(
      application,
      [bearer(() => authorization[0] ?? "")],
      bench.access,
    );
    const token = await bench.token("blue", ["tasks:read"], { lifetimeMillis });
    authorization.push(`Bearer ${token.secret}`);
    const call = server.system.watchCapacity({ engine: "" });
    return { bench, server, token, call, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
  }

  test("ends when that is revoked", async () => {
    await using watch = await watching();
    const iterator = watch.call[Symbol.asyncIterator]();
    await iterator.next();
    const other = await watch.bench.token("blue", ["blobs"]);
    await watch.bench.access.revokeToken(OPERATOR, other.id);
    const next = iterator.next();
    await watch.bench.access.revokeToken(OPERATOR, watch.token.id);
    const failure = await failureOf(next);
    assert.equal(errorInfoOf(failure)?.reason, "UNAUTHENTICATED");
    assert.match(failure.details, /was revoked during the call/);
  });

  test("ends when that expires", async () => {
    await using watch = await watching(500);
    const failure = await failureOf(messagesOf(watch.call));
    assert.equal(errorInfoOf(failure)?.reason, "UNAUTHENTICATED");
    assert.match(failure.details, /expired/);
  });
});
