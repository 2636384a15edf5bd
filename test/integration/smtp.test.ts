import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { describe, test } from "node:test";
import { SMTPServer } from "smtp-server";
import { SmtpSender, type SmtpSenderOptions } from "#server/adapters/mail/smtp-sender.ts";
import { InvalidRequest } from "#server/domain/errors.ts";
import type { Delivery } from "#server/domain/webhook.ts";
import { ApplicationBench, CALLER } from "../support/application-bench.ts";

interface Mail {
  readonly from: string;
  readonly to: readonly string[];
  readonly source: string;
}

/** A real mail server on loopback that wants a password, and refuses whom it does not know. */
class MailServer implements AsyncDisposable {
  readonly mails: Mail[] = [];
  readonly #server: SMTPServer;

  private constructor() {
    this.#server = new SMTPServer({
      disabledCommands: ["STARTTLS"],
      allowInsecureAuth: true,
      onAuth: ({ username, password }, _session, done) =>
        username === "longshore" && password === "p@ss"
          ? done(null, { user: username })
          : done(new Error("wrong password")),
      onRcptTo: ({ address }, _session, done) =>
        address.startsWith("nobody@")
          ? done(Object.assign(new Error("no such mailbox"), { responseCode: 550 }))
          : done(),
      onData: (stream, { envelope }, done) => {
        void Array.fromAsync(stream as AsyncIterable<Buffer>).then((chunks) => {
          const from = envelope.mailFrom === false ? "" : envelope.mailFrom.address;
          const to = envelope.rcptTo.map(({ address }) => address);
          this.mails.push({ from, to, source: Buffer.concat(chunks).toString("utf8") });
          done();
        });
      },
    });
    // A client that is gone is no fault of the server.
    this.#server.on("error", () => undefined);
  }

  static async start(): Promise<MailServer> {
    const server = new MailServer();
    server.#server.listen(0, "127.0.0.1");
    await once(server.#server.server, "listening");
    return server;
  }

  get port(): number {
    return (this.#server.server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => this.#server.close(resolve));
  }
}

const HOOK = { states: [], description: "", violations: [] };
const PAGE = { webhookId: "", taskId: "", states: [], pageSize: 9, pageToken: "", violations: [] };

async function open(port: number, changes: Partial<SmtpSenderOptions> = {}) {
  const stack = new AsyncDisposableStack();
  const bench = stack.use(await ApplicationBench.open());
  await bench.stop();
  const sender = new SmtpSender({
    ...{ host: "127.0.0.1", port, secure: false, auth: { user: "longshore", pass: "p@ss" } },
    ...{ from: "longshore@example.com", domains: ["example.com"], timeoutMillis: 10_000 },
    ...changes,
  });
  stack.use(sender);
  const { webhooks: store, outbox } = bench.database;
  const schedule = { pausesMillis: [1], disableAfterMillis: 1e9 };
  await bench.start({ webhooks: { store, outbox, channels: new Map([["mailto:", sender]]), schedule } });
  stack.defer(() => bench.stop());
  const { webhooks } = bench.application;
  const settled = async (): Promise<Delivery> => {
    for (;;) {
      const [delivery] = (await webhooks.deliveries(CALLER, PAGE)).deliveries;
      if (delivery !== undefined && delivery.state !== "PENDING") return delivery;
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  };
  return { bench, webhooks, settled, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

describe("mail about a task", () => {
  test("goes to an address of the tenant, without any secret to check", async () => {
    await using server = await MailServer.start();
    await using app = await open(server.port);
    const { secret } = await app.webhooks.create(CALLER, { ...HOOK, url: "mailto:ana@example.com" });
    assert.equal(secret, "");
    const task = await app.bench.create({
      code: "print(1)",
      displayName: "nightly fit",
      labels: { team: "blue" },
    });
    const delivery = await app.settled();
    assert.deepEqual([delivery.state, delivery.lastStatusCode], ["DELIVERED", 250]);
    const [mail] = server.mails;
    assert.deepEqual([mail?.from, mail?.to], ["longshore@example.com", ["ana@example.com"]]);
    const source = mail?.source ?? "";
    assert.match(source, /^Subject: \[longshore\] nightly fit: succeeded\r$/m);
    assert.match(source, new RegExp(`^Message-ID:\\s+<${delivery.id}@longshore>`, "m"));
    for (const line of [`task:    ${task.id}`, "reason:  EXITED, exit code 0", "labels:  team=blue"])
      assert.ok(source.includes(line), line);
  });

  test("goes to an address that a task names itself, whose words cannot forge anything", async () => {
    await using server = await MailServer.start();
    await using app = await open(server.port);
    const displayName = "x\r\nBcc: eve@example.com\r\n\r\nstate: succeeded";
    const webhooks = [{ url: "mailto:ana@example.com", states: ["SUCCEEDED" as const] }];
    await app.bench.create({ code: "print(1)", displayName, webhooks });
    assert.equal((await app.settled()).state, "DELIVERED");
    const [mail] = server.mails;
    assert.deepEqual(mail?.to, ["ana@example.com"]);
    assert.doesNotMatch(mail?.source ?? "", /^(Bcc|state: succeeded)/im);
  });

  test("that is refused, and a password that is, is told with the mail server's words", async () => {
    await using server = await MailServer.start();
    {
      await using app = await open(server.port);
      await app.webhooks.create(CALLER, { ...HOOK, url: "mailto:nobody@example.com" });
      await app.bench.create({ code: "print(1)" });
      const { state, tries, lastStatusCode, lastError } = await app.settled();
      assert.deepEqual([state, tries, lastStatusCode], ["FAILED", 2, 550]);
      assert.match(lastError, /no such mailbox/);
    }
    await using app = await open(server.port, { auth: { user: "longshore", pass: "wr0ng" } });
    await app.webhooks.create(CALLER, { ...HOOK, url: "mailto:ana@example.com" });
    await app.bench.create({ code: "print(1)" });
    const delivery = await app.settled();
    assert.match(delivery.lastError, /Invalid login/);
    assert.ok(![...app.bench.log.lines, delivery.lastError].join().includes("wr0ng"));
    assert.equal(server.mails.length, 0);
  });

  test("is given up in time where the mail server says nothing or is not there", async () => {
    const silent = createServer();
    const sockets = new Set<{ destroy(): void }>();
    silent.on("connection", (socket) => sockets.add(socket));
    silent.listen(0, "127.0.0.1");
    await once(silent, "listening");
    try {
      const { port } = silent.address() as AddressInfo;
      await using app = await open(port, { timeoutMillis: 200 });
      await app.webhooks.create(CALLER, { ...HOOK, url: "mailto:ana@example.com" });
      await app.bench.create({ code: "print(1)" });
      assert.equal((await app.settled()).state, "FAILED");
    } finally {
      for (const socket of sockets) socket.destroy();
      silent.close();
    }
    await using app = await open(1);
    await app.webhooks.create(CALLER, { ...HOOK, url: "mailto:ana@example.com" });
    await app.bench.create({ code: "print(1)" });
    assert.match((await app.settled()).lastError, /ECONNREFUSED/);
  });

  test("goes to the domains that the operator allows, to one address each", async () => {
    await using app = await open(1);
    const wrong = [
      ...[
        "mailto:ana@elsewhere.example",
        "mailto:ana@example.com,eve@example.com",
        "mailto:ana@example.com?bcc=x@y.z",
      ],
      ...["mailto:", "mailto:ana%0d%0a@example.com", "mailto:ana@localhost", "https://example.com/"],
    ];
    for (const url of wrong)
      await assert.rejects(app.webhooks.create(CALLER, { ...HOOK, url }), InvalidRequest, url);
    await app.webhooks.create(CALLER, { ...HOOK, url: "mailto:ana@EXAMPLE.com" });
  });

  test("does not send a password over a connection that is not encrypted, except on this host", async () => {
    await using server = await MailServer.start();
    // Any other name for loopback counts as elsewhere.
    await using app = await open(server.port, { host: "0.0.0.0" });
    await app.webhooks.create(CALLER, { ...HOOK, url: "mailto:ana@example.com" });
    await app.bench.create({ code: "print(1)" });
    assert.match((await app.settled()).lastError, /STARTTLS/);
    assert.equal(server.mails.length, 0);
  });
});
