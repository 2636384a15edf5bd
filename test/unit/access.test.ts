import assert from "node:assert/strict";
import { mock, test } from "node:test";
import type { Access, Caller } from "#server/application/access-api.ts";
import {
  InvalidRequest,
  MissingScope,
  NotFound,
  Unauthenticated,
  Unavailable,
} from "#server/domain/errors.ts";
import { SCOPES, type Scope } from "#server/domain/principal.ts";
import { AccessBench, OPERATOR } from "../support/access-bench.ts";
import { MemoryAuditLog, MemoryTokenStore } from "../support/fakes/memory-access.ts";

const show = (access: Access, bearer: string | undefined) =>
  access.authenticate({ bearer, certificate: undefined });
const refused = (pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof Unauthenticated, String(error));
  assert.match(error.message, pattern);
  return true;
};
const callerWith = (tenant: string, scopes: readonly Scope[]): Caller => ({
  ...OPERATOR,
  tenant,
  scopes: new Set(scopes),
});
const request = { tenant: "", subject: "", description: "", lifetimeMillis: null, violations: [] };
const page = { tenant: "", pageSize: 10, pageToken: "", violations: [] };

test("the first start makes a token with every scope, a restart none, and none is made where nobody is asked", async () => {
  await using bench = await AccessBench.open();
  const [first = ""] = bench.delivered;
  assert.deepEqual([...(await show(bench.access, first)).scopes], [...SCOPES]);
  await bench.start();
  assert.equal(bench.delivered.length, 1);
  assert.ok(bench.log.lines.every((line) => !line.includes(first)));
  await using open = await AccessBench.open({ authenticators: null });
  assert.deepEqual(open.delivered, []);
  assert.equal((await show(open.access, undefined)).subject, "local");
});

test("a first token that could not be delivered is made again", async () => {
  await using bench = new AccessBench();
  const full = new Error("disk full");
  await assert.rejects(() => bench.start({ deliverFirstToken: () => Promise.reject(full) }), full);
  await bench.start();
  assert.equal(bench.delivered.length, 1);
});

test("when the last operator's token is revoked, the next start makes another", async () => {
  await using bench = await AccessBench.open();
  const { tokens } = await bench.access.listTokens(OPERATOR, page);
  await bench.access.revokeToken(OPERATOR, tokens[0]?.id ?? "");
  await bench.start();
  assert.equal(bench.delivered.length, 2);
});

test("a token is known by its secret, and kept by its digest alone", async () => {
  await using bench = await AccessBench.open();
  const { id, secret } = await bench.token("blue", ["blobs"], { subject: "ana" });
  const principal = await show(bench.access, secret);
  assert.deepEqual(
    { ...principal, scopes: [...principal.scopes] },
    {
      tenant: "blue",
      subject: "ana",
      scopes: ["blobs"],
      credential: `token ${id}`,
      expireTime: principal.expireTime,
    },
  );
  const part = secret.split("_").slice(2).join("_");
  assert.ok(!JSON.stringify(await bench.tokens.find(id)).includes(part));
  assert.ok(!JSON.stringify(bench.audit.events).includes(part));
});

test("what is no token of this server is refused without being repeated", async () => {
  await using bench = await AccessBench.open();
  const { secret } = await bench.token("blue", ["blobs"]);
  const wrong = `${secret.slice(0, -1)}${secret.endsWith("A") ? "B" : "A"}`;
  for (const bearer of [undefined, "", "x", wrong, secret.slice(1), `${secret}A`, secret.toUpperCase()]) {
    await assert.rejects(
      () => show(bench.access, bearer),
      (error) => refused(/token/)(error) && (!bearer || !String(error).includes(bearer) || bearer === "x"),
    );
  }
});

test("a token ends at its time", async () => {
  await using bench = await AccessBench.open();
  const { secret } = await bench.token("blue", ["blobs"], { lifetimeMillis: 60_000 });
  await show(bench.access, secret);
  bench.aheadMillis = 60_000;
  await assert.rejects(() => show(bench.access, secret), refused(/expired/));
});

test("a revoked token is refused at once, though it was in use", async () => {
  await using bench = await AccessBench.open();
  const { id, secret } = await bench.token("blue", ["blobs"]);
  await show(bench.access, secret);
  const told: string[] = [];
  const deaf = bench.access.onRevoke((credential) => told.push(credential));
  await bench.access.revokeToken(OPERATOR, id);
  await bench.access.revokeToken(OPERATOR, id);
  deaf();
  assert.deepEqual(told, [`token ${id}`]);
  await assert.rejects(() => show(bench.access, secret), refused(/revoked/));
});

test("a token that is revoked while its row is read does not stay known", async () => {
  const audit = new MemoryAuditLog();
  const gate = Promise.withResolvers<void>();
  class SlowStore extends MemoryTokenStore {
    slow = false;
    override async find(id: string) {
      const { slow } = this;
      const found = await super.find(id);
      if (slow) await gate.promise;
      return found;
    }
  }
  const tokens = new SlowStore(audit);
  await using bench = await AccessBench.open({ tokens, audit });
  const { id, secret } = await bench.token("blue", ["blobs"]);
  tokens.slow = true;
  const early = show(bench.access, secret);
  tokens.slow = false;
  await bench.access.revokeToken(OPERATOR, id);
  gate.resolve();
  await assert.rejects(early, refused(/revoked/));
});

test("a store that is away is no wrong token", async () => {
  await using bench = await AccessBench.open();
  const { secret } = await bench.token("blue", ["blobs"]);
  mock.method(bench.tokens, "find", () => Promise.reject(new Unavailable("away")));
  await assert.rejects(() => show(bench.access, secret), Unavailable);
});

test("everything wrong with a new token is named at once", async () => {
  await using bench = await AccessBench.open();
  const bad = {
    tenant: "Blue Team",
    subject: "a\nb",
    scopes: ["tasks:read", "root"],
    description: "x".repeat(300),
    lifetimeMillis: 1e15,
    violations: [],
  };
  await assert.rejects(
    () => bench.access.createToken(OPERATOR, bad),
    (error) => {
      assert.ok(error instanceof InvalidRequest);
      const fields = error.violations.map(({ field }) => field);
      assert.deepEqual(fields, ["tenant", "subject", "description", "lifetime", "scopes"]);
      return true;
    },
  );
  assert.equal((await bench.access.listTokens(OPERATOR, page)).tokens.length, 1);
});

test("an administrator rules the own tenant, an operator all of them", async () => {
  await using bench = await AccessBench.open();
  const { access } = bench;
  const admin = callerWith("blue", ["admin"]);
  const { token } = await access.createToken(admin, { ...request, scopes: ["tasks:read", "admin"] });
  assert.equal(token.tenant, "blue");
  const elsewhere = { ...request, tenant: "red", scopes: ["tasks:read"] };
  await assert.rejects(() => access.createToken(admin, elsewhere), MissingScope);
  await assert.rejects(() => access.createToken(admin, { ...request, scopes: ["operator"] }), MissingScope);
  const red = await bench.token("red", ["blobs"]);
  await assert.rejects(() => access.revokeToken(admin, red.id), NotFound);
  await assert.rejects(() => access.listTokens(admin, { ...page, tenant: "red" }), MissingScope);
  assert.deepEqual(
    (await access.listTokens(admin, page)).tokens.map(({ id }) => id),
    [token.id],
  );
  assert.equal((await access.listTokens(OPERATOR, page)).tokens.length, 3);
  const times = { since: null, until: null };
  const events = async (caller: Caller) =>
    (await access.listAuditEvents(caller, { ...page, ...times })).events.map(({ tenant }) => tenant);
  assert.deepEqual(await events(admin), ["blue"]);
  assert.deepEqual(await events(OPERATOR), ["default", "blue", "red"]);
});

test("pages of tokens and events hold each once", async () => {
  await using bench = await AccessBench.open();
  for (let count = 0; count < 4; count += 1) await bench.token("blue", ["blobs"]);
  const ids: string[] = [];
  let pageToken = "";
  do {
    const next = await bench.access.listTokens(OPERATOR, { ...page, pageSize: 2, pageToken });
    ids.push(...next.tokens.map(({ id }) => id));
    pageToken = next.nextPageToken;
  } while (pageToken !== "");
  assert.equal(new Set(ids).size, 5);
  await assert.rejects(
    () => bench.access.listAuditEvents(OPERATOR, { ...page, since: null, until: null, pageToken: "x" }),
    InvalidRequest,
  );
});

test("denied calls are noted, and equal ones of a minute counted together", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    await using bench = await AccessBench.open();
    const nobody = { tenant: "", subject: "", credential: "" };
    const denied = { caller: nobody, peer: "10.0.0.1", path: "/x", detail: "UNAUTHENTICATED" };
    for (let count = 0; count < 1000; count += 1) bench.access.denied(denied);
    bench.access.denied({ ...denied, path: "/y" });
    const counts = () =>
      bench.audit.events
        .filter(({ action }) => action === "call.denied")
        .map(({ resource, count }) => [resource, count]);
    const first = [
      ["/x", 1],
      ["/y", 1],
    ];
    assert.deepEqual(counts(), first);
    mock.timers.tick(60_000);
    assert.deepEqual(counts(), [...first, ["/x", 999]]);
    for (let count = 0; count < 5000; count += 1) bench.access.denied({ ...denied, peer: String(count) });
    mock.timers.tick(60_000);
    assert.equal(counts().length, 3 + 1000 + 1);
    assert.deepEqual(counts().at(-1), ["", 4000]);
  } finally {
    mock.timers.reset();
  }
});
