import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { openDatabase } from "#server/adapters/database/database.ts";
import { WebhookSender, type WebhookSenderOptions } from "#server/adapters/webhook/webhook-sender.ts";
import type { Parts } from "#server/application/parts.ts";
import { InvalidRequest, QuotaExceeded, SystemFault, WrongState } from "#server/domain/errors.ts";
import { parseIpTarget } from "#server/domain/ip-range.ts";
import type { Delivery } from "#server/domain/webhook.ts";
import { ApplicationBench, CALLER } from "../support/application-bench.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";
import { answer, hang, verified, WebhookReceiver } from "../support/webhook-receiver.ts";

const LOOPBACK = [parseIpTarget("127.0.0.0/8") ?? assert.fail()];
const SENDER: WebhookSenderOptions = {
  timeoutMillis: 300,
  allowed: LOOPBACK,
  allowHttp: true,
  userAgent: "longshore/test",
};
/** So that a test sees all tries at once. */
const QUICK = [1, 1, 1];

const PAGE = { webhookId: "", taskId: "", states: [], pageSize: 100, pageToken: "", violations: [] };
const HOOK = { states: [], description: "", violations: [] };
const NO_HARM = { violations: [], overlapMillis: null };

function channels(options: Partial<WebhookSenderOptions> = {}) {
  const sender = new WebhookSender({ ...SENDER, ...options });
  return new Map([
    ["https:", sender],
    ["http:", sender],
  ]);
}

async function open(
  options: Partial<WebhookSenderOptions> = {},
  schedule = { pausesMillis: QUICK, disableAfterMillis: 1e9 },
): Promise<ApplicationBench> {
  const bench = await ApplicationBench.open();
  await bench.stop();
  await bench.start(partsOf(bench, options, schedule));
  return bench;
}

function partsOf(
  { database }: ApplicationBench,
  options: Partial<WebhookSenderOptions> = {},
  schedule = { pausesMillis: QUICK, disableAfterMillis: 1e9 },
): Partial<Parts> {
  const { webhooks: store, outbox } = database;
  return { webhooks: { store, outbox, channels: channels(options), schedule } };
}

const list = async (bench: ApplicationBench) =>
  (await bench.application.webhooks.deliveries(CALLER, PAGE)).deliveries;

/** The deliveries once there are some and each is as it is waited for. */
async function until(
  bench: ApplicationBench,
  seen: (one: Delivery) => boolean,
): Promise<readonly Delivery[]> {
  for (;;) {
    const all = await list(bench);
    if (all.length > 0 && all.every(seen)) return all;
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

/** Once none is to be tried any more. */
const settled = (bench: ApplicationBench) => until(bench, ({ state }) => state !== "PENDING");

describe("a webhook of a tenant", () => {
  test("is told how each task ended, by a signed CloudEvent", async () => {
    await using receiver = await WebhookReceiver.start();
    await using bench = await open();
    const { endpoint, secret } = await bench.application.webhooks.create(CALLER, {
      ...HOOK,
      url: receiver.url(),
    });
    const task = await bench.create({ code: "print(1)", displayName: "Größe", labels: { team: "blue" } });
    const [request] = await receiver.first(1);
    assert.ok(request);
    const event = verified(request, secret);
    assert.equal(request.headers["content-type"], "application/cloudevents+json; charset=utf-8");
    assert.equal(request.headers["user-agent"], "longshore/test");
    assert.deepEqual(
      [event.specversion, event.type, event.subject, event.source],
      ["1.0", "longshore.task.succeeded", task.id, "/longshore/tenants/tenant"],
    );
    assert.equal(event.data.display_name, "Größe");
    assert.deepEqual([event.data.labels, event.data.result.reason], [{ team: "blue" }, "EXITED"]);
    const [delivery] = await settled(bench);
    assert.deepEqual(
      [delivery?.id, delivery?.state, delivery?.endpointId, delivery?.lastStatusCode],
      [request.headers["webhook-id"], "DELIVERED", endpoint.id, 200],
    );
    await bench.finished(task.id);
    assert.equal(receiver.received.length, 1);
  });

  test("is told of the states it asks for, and a task's own address of those that one asks for", async () => {
    await using receiver = await WebhookReceiver.start();
    await using bench = await open();
    const { webhooks } = bench.application;
    const { secret } = await webhooks.create(CALLER, {
      ...HOOK,
      url: receiver.url("127.0.0.1", "/tenant"),
      states: ["QUEUED", "RUNNING"],
    });
    const own = { url: receiver.url("127.0.0.1", "/task"), states: ["SUCCEEDED" as const] };
    await bench.create({ code: "print(1)", webhooks: [own] });
    const seen = (await receiver.first(3)).map((one) => `${one.path} ${verified(one, secret).data.state}`);
    assert.deepEqual(seen.sort(), ["/task SUCCEEDED", "/tenant QUEUED", "/tenant RUNNING"]);
  });

  test("that was deleted is told nothing more", async () => {
    await using receiver = await WebhookReceiver.start();
    await using bench = await open();
    const { webhooks } = bench.application;
    const { endpoint } = await webhooks.create(CALLER, { ...HOOK, url: receiver.url() });
    const first = await bench.create({ code: "print(1)" });
    await bench.finished(first.id);
    const [delivery] = await settled(bench);
    await webhooks.delete(CALLER, endpoint.id);
    const second = await bench.create({ code: "print(2)" });
    await bench.finished(second.id);
    assert.equal((await list(bench)).length, 1);
    await assert.rejects(webhooks.redeliver(CALLER, delivery?.id ?? ""), WrongState);
  });
});

describe("a receiver", () => {
  test("that fails, hangs and comes back gets each event with one id", async () => {
    await using receiver = await WebhookReceiver.start();
    await using bench = await open();
    const { secret } = await bench.application.webhooks.create(CALLER, { ...HOOK, url: receiver.url() });
    receiver.script.push(answer(500, {}, `broken\0${"x".repeat(5000)}`), hang, (response) =>
      response.destroy(),
    );
    await bench.create({ code: "print(1)" });
    const requests = await receiver.first(4);
    assert.equal(new Set(requests.map(({ headers }) => headers["webhook-id"])).size, 1);
    for (const request of requests) verified(request, secret);
    const [delivery] = await settled(bench);
    assert.deepEqual([delivery?.state, delivery?.tries, delivery?.lastError], ["DELIVERED", 4, ""]);
    assert.ok(bench.log.lines.some((line) => line.includes("no answer within 0.3 s")));
    assert.ok(!bench.log.lines.join().includes("/hook"), "an address may hold a secret");
  });

  test("that stays away is given up after the last try, and gets it again when asked", async () => {
    await using receiver = await WebhookReceiver.start();
    await using bench = await open();
    const { webhooks } = bench.application;
    await webhooks.create(CALLER, { ...HOOK, url: receiver.url() });
    receiver.usual = answer(503, {}, `later\0${"x".repeat(5000)}`);
    await bench.create({ code: "print(1)" });
    const [given] = await settled(bench);
    assert.deepEqual(
      [given?.state, given?.tries, given?.lastStatusCode, given?.lastError, given?.lastResponse.length],
      ["FAILED", QUICK.length + 1, 503, "answered with status 503", 1024],
    );
    receiver.usual = answer(204);
    await webhooks.redeliver(CALLER, given?.id ?? "");
    const [again] = await settled(bench);
    assert.deepEqual([again?.id, again?.state, again?.tries], [given?.id, "DELIVERED", QUICK.length + 2]);
  });

  test("that asks for a pause gets one", async () => {
    await using receiver = await WebhookReceiver.start();
    await using bench = await open();
    await bench.application.webhooks.create(CALLER, { ...HOOK, url: receiver.url() });
    receiver.script.push(answer(429, { "retry-after": "600" }));
    await bench.create({ code: "print(1)" });
    const [waiting] = await until(bench, ({ tries }) => tries > 0);
    const wait = (waiting?.nextTryTime?.getTime() ?? 0) - (waiting?.lastTryTime?.getTime() ?? 0);
    assert.equal(wait, 600_000);
  });

  test("that hangs holds up nobody else", async () => {
    await using slow = await WebhookReceiver.start();
    await using quick = await WebhookReceiver.start();
    await using bench = await open({ timeoutMillis: 60_000 });
    slow.usual = hang;
    const { webhooks } = bench.application;
    await webhooks.create(CALLER, { ...HOOK, url: slow.url() });
    const tasks = await Promise.all(Array.from({ length: 12 }, () => bench.create({ code: "print(1)" })));
    for (const { id } of tasks) await bench.finished(id);
    const other = { ...CALLER, tenant: "other" };
    await webhooks.create(other, { ...HOOK, url: quick.url() });
    await bench.create({ code: "print(2)" }, other);
    await quick.first(1);
    assert.ok(slow.received.length <= 4, "only so many at once go to one host");
  });

  test("where nothing arrives for long is turned off, and on again by a success", async () => {
    await using receiver = await WebhookReceiver.start();
    await using bench = await open({}, { pausesMillis: [], disableAfterMillis: 0 });
    const { webhooks } = bench.application;
    await webhooks.create(CALLER, { ...HOOK, url: receiver.url() });
    receiver.usual = answer(500);
    const first = await bench.create({ code: "print(1)" });
    await bench.finished(first.id);
    const [given] = await settled(bench);
    const show = async () => (await webhooks.list(CALLER, PAGE)).endpoints[0];
    assert.match(
      (await show())?.disableReason ?? "",
      /^nothing has arrived since .*status 500; delete it, or mend/,
    );
    const second = await bench.create({ code: "print(2)" });
    await bench.finished(second.id);
    assert.equal((await list(bench)).length, 1);
    receiver.usual = answer(200);
    await webhooks.redeliver(CALLER, given?.id ?? "");
    await settled(bench);
    assert.deepEqual(await show().then((one) => [one?.disableTime, one?.failingSince]), [null, null]);
    await bench.create({ code: "print(3)" });
    await receiver.first(3);
  });

  test("that is gone for good is turned off at once", async () => {
    await using receiver = await WebhookReceiver.start();
    await using bench = await open();
    const { webhooks } = bench.application;
    await webhooks.create(CALLER, { ...HOOK, url: receiver.url() });
    receiver.usual = answer(410);
    await bench.create({ code: "print(1)" });
    const [given] = await settled(bench);
    assert.deepEqual([given?.state, given?.tries], ["FAILED", 1]);
    const [endpoint] = (await webhooks.list(CALLER, PAGE)).endpoints;
    assert.match(endpoint?.disableReason ?? "", /410 Gone/);
  });
});

describe("the secret", () => {
  test("is shown once, and of two that are valid either verifies", async () => {
    await using receiver = await WebhookReceiver.start();
    await using bench = await open();
    const { webhooks } = bench.application;
    const first = await webhooks.create(CALLER, { ...HOOK, url: receiver.url() });
    assert.match(first.secret, /^whsec_[A-Za-z0-9+/]{43}=$/);
    const second = await webhooks.create(CALLER, { ...HOOK, url: receiver.url(), states: ["CANCELLED"] });
    assert.equal(second.secret, "");
    const rotated = await webhooks.rotate(CALLER, NO_HARM);
    await bench.create({ code: "print(1)" });
    const [both] = await receiver.first(1);
    assert.ok(both);
    for (const secret of [first.secret, rotated.secret]) verified(both, secret);
    await webhooks.rotate(CALLER, { ...NO_HARM, overlapMillis: 0 });
    await bench.create({ code: "print(2)" });
    const [, alone] = await receiver.first(2);
    assert.ok(alone);
    for (const secret of [first.secret, rotated.secret]) assert.throws(() => verified(alone, secret));
  });

  test("that was replaced ends with the overlap", async () => {
    await using receiver = await WebhookReceiver.start();
    await using bench = await open();
    const { webhooks } = bench.application;
    const { secret } = await webhooks.create(CALLER, { ...HOOK, url: receiver.url() });
    const rotated = await webhooks.rotate(CALLER, { ...NO_HARM, overlapMillis: 60_000 });
    bench.aheadMillis = 61_000;
    await bench.create({ code: "print(1)" });
    const [request] = await receiver.first(1);
    assert.ok(request);
    verified(request, rotated.secret);
    assert.throws(() => verified(request, secret));
  });

  test("that cannot be opened any more fails the delivery, and is told", async () => {
    await using receiver = await WebhookReceiver.start();
    await using bench = await open();
    await bench.application.webhooks.create(CALLER, { ...HOOK, url: receiver.url() });
    await bench.stop();
    const openNothing = () => {
      throw new SystemFault("the secret cannot be opened; was secrets.key replaced?");
    };
    const secretBox = { seal: (_: string, value: string) => value, open: openNothing, fingerprint: () => "" };
    await bench.start({ ...partsOf(bench), secretBox });
    await bench.create({ code: "print(1)" });
    const [delivery] = await settled(bench);
    assert.deepEqual([delivery?.state, delivery?.tries], ["FAILED", QUICK.length + 1]);
    assert.match(delivery?.lastError ?? "", /was secrets.key replaced/);
    assert.equal(receiver.received.length, 0);
  });

  test("is needed before a task may name an address of its own", async () => {
    await using receiver = await WebhookReceiver.start();
    await using bench = await open();
    const spec = { code: "print(1)", webhooks: [{ url: receiver.url(), states: [] }] };
    await assert.rejects(
      bench.create(spec),
      (error) => error instanceof InvalidRequest && /longshore webhook rotate/.test(error.message),
    );
    const { secret } = await bench.application.webhooks.rotate(CALLER, NO_HARM);
    await bench.create(spec);
    const [request] = await receiver.first(1);
    assert.ok(request);
    verified(request, secret);
  });
});

describe("an address that only the server reaches", () => {
  test("is refused by its form, in a webhook and in a task, with everything else that is wrong", async () => {
    await using bench = await open({ allowed: [], allowHttp: false });
    const { webhooks } = bench.application;
    const urls = [
      "https://127.0.0.1/",
      "https://[::ffff:10.0.0.1]/",
      "https://0x7f.1/",
      "https://2852039166/",
    ];
    for (const url of [...urls, "http://example.com/", "https://a:b@example.com/", "file:///etc/passwd", "x"])
      await assert.rejects(
        webhooks.create(CALLER, { ...HOOK, url }),
        (error) => error instanceof InvalidRequest && error.violations[0]?.field === "url",
      );
    const wrong = [
      { url: urls[0] ?? "", states: [] },
      { url: urls[1] ?? "", states: [] },
    ];
    await assert.rejects(bench.create({ code: "", webhooks: wrong }), (error) => {
      assert.ok(error instanceof InvalidRequest);
      const fields = error.violations.map(({ field }) => field);
      assert.deepEqual(fields.sort(), ["code", "webhooks", "webhooks[0].url", "webhooks[1].url"]);
      return true;
    });
  });

  test("is refused as a name of the server's own host, too, with the setting that would allow it", async () => {
    await using bench = await open({ allowed: [], allowHttp: false });
    const refused = async (url: string, why: RegExp) =>
      await assert.rejects(
        bench.application.webhooks.create(CALLER, { ...HOOK, url }),
        (error) => error instanceof InvalidRequest && why.test(error.violations[0]?.description ?? ""),
      );
    for (const host of ["localhost", "LOCALHOST", "localhost.", "api.localhost", "127.0.0.1"])
      await refused(`https://${host}:8443/hook`, /this host.*LONGSHORE_WEBHOOK_ALLOW=127\.0\.0\.1:8443$/);
    await refused("https://192.168.1.7/", /a private network.*LONGSHORE_WEBHOOK_ALLOW=192\.168\.1\.7:443$/);
    await refused("https://[::ffff:10.0.0.1]/", /a private network.*LONGSHORE_WEBHOOK_ALLOW$/);
    for (const never of ["169.254.169.254", "0.0.0.0", "[::1]", "[fe80::1]"])
      await refused(`https://${never}/`, /never sends to; give a public address$/);
    const { webhooks } = bench.application;
    for (const host of ["localhost.example.com", "notlocalhost"])
      await webhooks.create(CALLER, { ...HOOK, url: `https://${host}/` });
    await using allowing = await open({ allowed: [parseIpTarget("127.0.0.1:8443") ?? assert.fail()] });
    await allowing.application.webhooks.create(CALLER, { ...HOOK, url: "https://localhost:8443/hook" });
  });

  test("is not reached by a redirect", async () => {
    await using inner = await WebhookReceiver.start();
    await using receiver = await WebhookReceiver.start();
    const only = [parseIpTarget(`127.0.0.1:${receiver.port}`) ?? assert.fail()];
    await using bench = await open({ allowed: only });
    await bench.application.webhooks.create(CALLER, { ...HOOK, url: receiver.url() });
    receiver.usual = answer(307, { location: inner.url() });
    await bench.create({ code: "print(1)" });
    const [delivery] = await settled(bench);
    assert.match(delivery?.lastError ?? "", /^the redirect to .* belongs to this host/);
    receiver.usual = answer(308, { location: "http://169.254.169.254/latest/meta-data" });
    await bench.application.webhooks.redeliver(CALLER, delivery?.id ?? "");
    const [again] = await settled(bench);
    assert.match(again?.lastError ?? "", /metadata/);
    assert.equal(inner.received.length, 0);
  });

  test("is not reached by a name, whatever it stood for when it was looked at before", async () => {
    await using inner = await WebhookReceiver.start();
    const answers = [
      ["127.0.0.1"],
      ["127.0.0.1"],
      ["10.0.0.1"],
      ["::1", "fd00:ec2::254"],
      ["64:ff9b::a9fe:a9fe"],
    ];
    let lookups = 0;
    const resolve = async () => answers[lookups++] ?? [];
    await using bench = await open({ resolve });
    await bench.application.webhooks.create(CALLER, { ...HOOK, url: inner.url("rebinding.example") });
    await bench.create({ code: "print(1)" });
    await settled(bench);
    // One look for each try, and the connection goes to what was looked at.
    assert.deepEqual([lookups, inner.received.length], [1, 1]);
    const [delivery] = await list(bench);
    for (const expected of [1, 1, 1]) {
      lookups = Math.max(lookups, 2);
      await bench.application.webhooks.redeliver(CALLER, delivery?.id ?? "");
      await settled(bench);
      assert.equal(inner.received.length, expected);
    }
  });

  test("is followed to by a redirect where it is public", async () => {
    await using last = await WebhookReceiver.start();
    await using receiver = await WebhookReceiver.start();
    await using bench = await open();
    const { secret } = await bench.application.webhooks.create(CALLER, { ...HOOK, url: receiver.url() });
    receiver.usual = answer(308, { location: last.url("127.0.0.1", "/moved") });
    await bench.create({ code: "print(1)" });
    const [request] = await last.first(1);
    assert.ok(request);
    assert.equal(verified(request, secret).type, "longshore.task.succeeded");
    last.usual = answer(307, { location: receiver.url() });
    await bench.finished((await bench.create({ code: "print(2)" })).id);
    const all = await settled(bench);
    assert.equal(all[0]?.lastError, "more than 3 redirects");
  });
});

describe("limits", () => {
  test("a tenant has at most 20 webhooks, a task at most 10", async () => {
    await using bench = await open();
    const { webhooks } = bench.application;
    const url = "https://example.com/hook";
    const made = await Promise.allSettled(
      Array.from({ length: 21 }, () => webhooks.create(CALLER, { ...HOOK, url })),
    );
    const refused = made.filter((one) => one.status === "rejected");
    assert.equal(refused.length, 1);
    assert.ok(refused[0]?.reason instanceof QuotaExceeded);
    const many = Array.from({ length: 11 }, () => ({ url, states: [] }));
    await assert.rejects(bench.create({ code: "pass", webhooks: many }), InvalidRequest);
  });

  test("deliveries are listed page by page, and what is old goes", async () => {
    await using receiver = await WebhookReceiver.start();
    await using bench = await open();
    const { webhooks } = bench.application;
    await webhooks.create(CALLER, { ...HOOK, url: receiver.url() });
    for (const code of ["1", "2", "3"]) await bench.finished((await bench.create({ code })).id);
    await settled(bench);
    const ids: string[] = [];
    for (let pageToken = ""; ; ) {
      const page = await webhooks.deliveries(CALLER, { ...PAGE, pageSize: 2, pageToken });
      ids.push(...page.deliveries.map(({ id }) => id));
      pageToken = page.nextPageToken;
      if (pageToken === "") break;
    }
    assert.deepEqual(
      ids,
      (await list(bench)).map(({ id }) => id),
    );
    assert.equal(ids.length, 3);
    await assert.rejects(webhooks.deliveries(CALLER, { ...PAGE, pageToken: "nonsense" }), InvalidRequest);
  });
});

test("a restart in the middle loses no delivery and makes no second one", async () => {
  await using folder = await TemporaryFolder.create();
  await using receiver = await WebhookReceiver.start();
  const url = `sqlite://${folder.at("longshore.db")}`;
  await using bench = await ApplicationBench.open();
  await bench.stop();
  const count = 12;
  const start = async () => {
    const stack = new AsyncDisposableStack();
    const database = stack.use(await openDatabase({ url }));
    const { tasks: store, artifacts, blobs: index, ledger, webhooks, outbox } = database;
    const schedule = { pausesMillis: QUICK, disableAfterMillis: 1e9 };
    const parts = { store: webhooks, outbox, channels: channels({ timeoutMillis: 60_000 }), schedule };
    await bench.start({ store, artifacts, index, ledger, webhooks: parts });
    stack.defer(() => bench.stop());
    return { store, [Symbol.asyncDispose]: () => stack.disposeAsync() };
  };
  let secret = "";
  {
    // Each of them is on its way, or waits, when the server ends: the receiver has it and does not answer.
    await using first = await start();
    receiver.usual = hang;
    secret = (await bench.application.webhooks.create(CALLER, { ...HOOK, url: receiver.url() })).secret;
    const tasks = await Promise.all(
      Array.from({ length: count }, (_, number) => bench.create({ code: `print(${number})` })),
    );
    for (const { id } of tasks)
      while ((await first.store.get(id))?.state !== "SUCCEEDED")
        await new Promise<void>((resolve) => setImmediate(resolve));
    await receiver.first(4);
  }
  receiver.usual = answer(200);
  await using _second = await start();
  const all = await settled(bench);
  assert.equal(all.length, count);
  assert.deepEqual([...new Set(all.map(({ state }) => state))], ["DELIVERED"]);
  const ids = receiver.received.map((request) => {
    verified(request, secret);
    return request.headers["webhook-id"];
  });
  assert.equal(new Set(ids).size, count);
  assert.equal(ids.length, count + 4, "what was on its way came again, with its id, and nothing else did");
});
