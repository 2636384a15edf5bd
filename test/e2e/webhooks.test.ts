import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { Longshore } from "@longshore/client";
import { Certificates } from "../support/certificates.ts";
import { startServer, whyNoServer } from "../support/running-server.ts";
import { answer, hang, verified, WebhookReceiver } from "../support/webhook-receiver.ts";

const skip = (await whyNoServer()) ?? false;

test("a kill in the middle loses no notification, and what comes again has the same id", {
  skip,
}, async () => {
  await using certificates = await Certificates.create();
  const { certificate, key } = await certificates.issue("receiver");
  const tls = { cert: await readFile(certificate, "utf8"), key: await readFile(key, "utf8") };
  await using receiver = await WebhookReceiver.start(tls);
  await using server = await startServer({
    LONGSHORE_WEBHOOK_ALLOW: `127.0.0.1:${receiver.port}`,
    LONGSHORE_WEBHOOK_CA_BUNDLE: certificates.ca,
    LONGSHORE_LOG_LEVEL: "debug",
  });
  await using client = new Longshore(server.address);
  const url = receiver.url("localhost", "/secret-path");
  const { secret, webhook } = await client.webhooks.create({ url });
  receiver.usual = hang;
  const tasks = await Promise.all(
    [1, 2, 3, 4, 5, 6].map((number) => client.submit({ code: `print(${number})` })),
  );
  for (const task of tasks) await task.result();
  await receiver.first(4);
  await server.kill();
  receiver.usual = answer(200);
  await server.start();
  const idsOf = (count: number) =>
    receiver.received.slice(count).map((request) => {
      verified(request, secret);
      return request.headers["webhook-id"];
    });
  await receiver.first(4 + tasks.length);
  assert.equal(new Set(idsOf(4)).size, tasks.length);
  for (const id of idsOf(0)) assert.ok(idsOf(4).includes(id));

  await client.webhooks.rotateSecret({ overlap: "0s" });
  const [redelivered] = idsOf(4);
  await client.webhooks.redeliver(String(redelivered));
  const requests = await receiver.first(5 + tasks.length);
  const last = requests.at(-1) ?? assert.fail();
  assert.equal(last.headers["webhook-id"], redelivered);
  assert.throws(() => verified(last, secret));
  await client.webhooks.delete(webhook.id);
  assert.equal(await server.stop(), 0);
  const log = server.log.join("\n");
  for (const hidden of [secret.slice(6), "secret-path", "whsec_"]) assert.ok(!log.includes(hidden), hidden);
});
