import assert from "node:assert/strict";
import { test } from "node:test";
import { InvalidRequest, Longshore, NotFound } from "@longshore/client";
import { WebhookSender } from "#server/adapters/webhook/webhook-sender.ts";
import { parseIpTarget } from "#server/domain/ip-range.ts";
import { ApplicationBench } from "../support/application-bench.ts";
import { runCli } from "../support/run-cli.ts";
import { TransportServer } from "../support/transport-server.ts";
import { answer, verified, WebhookReceiver } from "../support/webhook-receiver.ts";

/** A server whose webhooks reach loopback and are tried once. */
async function open() {
  const stack = new AsyncDisposableStack();
  const bench = stack.use(await ApplicationBench.open());
  await bench.stop();
  const allowed = [parseIpTarget("127.0.0.1") ?? assert.fail()];
  const sender = new WebhookSender({
    timeoutMillis: 10_000,
    allowed,
    allowHttp: true,
    userAgent: "longshore/test",
  });
  const { webhooks: store, outbox } = bench.database;
  const schedule = { pausesMillis: [], disableAfterMillis: 1e9 };
  await bench.start({ webhooks: { store, outbox, channels: new Map([["http:", sender]]), schedule } });
  const server = stack.use(await TransportServer.start(bench.application));
  const address = server.server.address;
  const cli = async (...args: string[]) => {
    const { code, stdout, stderr } = await runCli(args, { server: address });
    assert.equal(code, 0, stderr);
    return { stdout, stderr };
  };
  return { address, cli, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

test("the command line makes webhooks, shows what was sent and sends it again", async () => {
  await using receiver = await WebhookReceiver.start();
  await using server = await open();
  const { cli } = server;
  assert.match((await cli("webhook", "list")).stderr, /no webhooks/);
  const made = await cli(
    "webhook",
    "create",
    receiver.url(),
    "--description",
    "ours",
    "-s",
    "failed,succeeded",
  );
  const secret = made.stdout.trim();
  assert.match(made.stderr, /^webhook (\S+) .*\n.*only time that the signing secret is shown/);
  const id = /^webhook (\S+)/.exec(made.stderr)?.[1] ?? "";
  assert.match((await cli("webhook", "list")).stdout, new RegExp(`${id} .* failed,succeeded +good +ours`));

  receiver.usual = answer(500);
  await cli("run", "--code", "print(1)", "--webhook", receiver.url("127.0.0.1", "/own"));
  for (const request of await receiver.first(2))
    assert.equal(verified(request, secret).data.state, "SUCCEEDED");
  const failed = async () =>
    (await cli("webhook", "deliveries", "-q", "--state", "failed")).stdout.split("\n");
  while ((await failed()).length < 3);
  const table = (await cli("webhook", "deliveries", "--webhook", id)).stdout.trim().split("\n");
  assert.equal(table.length, 2);
  assert.match(table[1] ?? "", /succeeded +failed +1 +http.* answered with status 500$/);

  receiver.usual = answer(200);
  const [delivery = ""] = await failed();
  assert.match((await cli("webhook", "redeliver", delivery)).stdout, /again/);
  const [, , again] = await receiver.first(3);
  assert.equal(again?.headers["webhook-id"], delivery);

  const rotated = await cli("webhook", "rotate", "--overlap", "1h");
  assert.match(rotated.stderr, /the one before signs beside it until/);
  assert.notEqual(rotated.stdout.trim(), secret);
  assert.equal((await cli("webhook", "delete", id)).stdout, `deleted ${id}\n`);
  assert.match((await cli("webhook", "list")).stderr, /no webhooks/);
});

test("the client names wrong states and durations, and what is not there", async () => {
  await using server = await open();
  await using client = new Longshore(server.address);
  const { webhooks } = client;
  const url = "http://127.0.0.1/";
  await assert.rejects(webhooks.create({ url, states: ["done"] }), InvalidRequest);
  await assert.rejects(webhooks.rotateSecret({ overlap: "soon" }), InvalidRequest);
  await assert.rejects(webhooks.delete("none"), NotFound);
  await assert.rejects(webhooks.redeliver("none"), NotFound);
  const { secret } = await webhooks.rotateSecret();
  assert.match(secret, /^whsec_/);
  const task = await client.submit({ code: "pass" }, { webhooks: [{ url, states: ["cancelled"] }] });
  await task.result();
  assert.deepEqual(await Array.fromAsync(webhooks.deliveries({ taskId: task.id })), []);
});
