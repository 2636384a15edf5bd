import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";
import type { DescMethod, JsonValue } from "@bufbuild/protobuf";
import type { Answer, DeliveryChannel } from "#server/domain/ports/delivery-channel.ts";
import { SCOPES } from "#server/domain/principal.ts";
import { file, tar } from "../fixtures/archives/raw-tar.ts";
import { AccessBench } from "../support/access-bench.ts";
import { ApplicationBench } from "../support/application-bench.ts";
import { DynamicClient, type Outcome, RPCS } from "../support/dynamic-client.ts";
import { type Belongings, entryOf } from "../support/rpc-table.ts";
import { TransportServer } from "../support/transport-server.ts";

const digestOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const rpc = (name: string) => RPCS.find((method) => method.name === name) ?? assert.fail(`${name} is an RPC`);
const OUTPUT = "what only its owner may read";

const RECEIVER = "https://receiver.example/hook-of-ours";

/** Ids and digests of the right form that nobody has. */
const NOBODY: Belongings = {
  tenant: "grey",
  subject: "nobody",
  endedId: "01JD3M8Q2E7V0000000000000A",
  runningId: "01JD3M8Q2E7V0000000000000B",
  cursor: "",
  requestId: "request-of-nobody",
  code: "pass",
  artifactPath: "nothing.txt",
  archiveSha256: "a".repeat(64),
  blobSha256: "b".repeat(64),
  partialSha256: "c".repeat(64),
  sizeBytes: "0",
  tokenId: "0".repeat(26),
  webhookId: "1".repeat(26),
  deliveryId: "msg_of_nobody",
};

/** One tenant's way to the server. */
class Tenant {
  readonly #client: DynamicClient;
  readonly #headers: Readonly<Record<string, string>>;
  readonly tenant: string;
  readonly subject: string;

  constructor(client: DynamicClient, tenant: string, subject: string, secret: string) {
    this.#client = client;
    this.#headers = { authorization: `Bearer ${secret}` };
    this.tenant = tenant;
    this.subject = subject;
  }

  call(method: DescMethod, messages: readonly JsonValue[]): Promise<Outcome> {
    return this.#client.call(method, messages, this.#headers);
  }

  /** The only answer, or the last message of a stream. */
  // biome-ignore lint/suspicious/noExplicitAny: JSON of any message; what is read of it is asserted
  async get(name: string, ...messages: JsonValue[]): Promise<any> {
    const { error, answers } = await this.call(rpc(name), messages);
    if (error !== undefined) throw error;
    return answers.at(-1);
  }

  async upload(bytes: Uint8Array, format: string): Promise<string> {
    const sha256 = digestOf(bytes);
    const header = { sha256, sizeBytes: String(bytes.length), format };
    await this.get("UploadBlob", { header }, { chunk: Buffer.from(bytes).toString("base64") });
    return sha256;
  }

  /** Everything that a stranger could try to reach. */
  async settle(): Promise<Belongings> {
    const project = tar(file("main.py", Buffer.from("print(1)")));
    const code = `open("secret.txt", "w").write("secret"); print("${OUTPUT}")`;
    const requestId = "request-of-ours";
    const spec = { code, requestId, outputs: ["*.txt"], labels: { shared: "label" }, useResultCache: true };
    const { webhook } = await this.get("CreateWebhook", { url: RECEIVER });
    const { event } = await this.get("RunTask", spec);
    const { deliveries } = await this.get("ListDeliveries", {});
    const sleeper = { code: "import time; time.sleep(600)", labels: { shared: "label" } };
    const { task: running } = await this.get("CreateTask", sleeper);
    const bytes = Buffer.alloc(project.length, "blob");
    const half = Buffer.alloc(project.length, "half");
    const partialSha256 = digestOf(half);
    // Announces more than it sends: the rest is waited for.
    const header = { sha256: partialSha256, sizeBytes: String(half.length), format: "BLOB_FORMAT_RAW" };
    const chunk = half.subarray(0, half.length / 2).toString("base64");
    await assert.rejects(() => this.get("UploadBlob", { header }, { chunk }));
    const { token } = await this.get("CreateToken", { scopes: ["blobs"] });
    return {
      tenant: this.tenant,
      subject: this.subject,
      endedId: event.task.id,
      runningId: running.id,
      cursor: event.cursor,
      requestId,
      code,
      artifactPath: "secret.txt",
      archiveSha256: await this.upload(project, "BLOB_FORMAT_TAR"),
      blobSha256: await this.upload(bytes, "BLOB_FORMAT_RAW"),
      partialSha256,
      sizeBytes: String(project.length),
      tokenId: token.id,
      webhookId: webhook.id,
      deliveryId: deliveries[0].id,
    };
  }

  /** What the owner sees of it, to compare before and after. */
  async inventory(theirs: Belongings): Promise<unknown> {
    const { endedId, runningId, archiveSha256, blobSha256, partialSha256 } = theirs;
    const { task: running } = await this.get("GetTask", { id: runningId });
    return {
      ended: await this.get("GetTask", { id: endedId }),
      running: running.state,
      artifacts: await this.get("ListArtifacts", { taskId: endedId }),
      blobs: await Promise.all(
        [archiveSha256, blobSha256].map(async (sha256) => (await this.get("GetBlob", { sha256 })).blob.state),
      ),
      partial: (await this.get("GetBlob", { sha256: partialSha256 })).blob,
      tokens: await this.get("ListTokens", {}),
      webhooks: await this.get("ListWebhooks", {}),
      deliveries: (await this.get("ListDeliveries", {})).deliveries.map(({ id }: { id: string }) => id),
      tasks: (await this.get("ListTasks", {})).tasks.map(({ id }: { id: string }) => id),
    };
  }
}

/** What would tell of somebody, besides what was asked about. */
function leaks(outcome: Outcome, theirs: Belongings, sent: readonly JsonValue[]): string[] {
  const said = JSON.stringify([outcome.answers, outcome.error?.message, outcome.facts]);
  const asked = JSON.stringify(sent);
  const artifact = digestOf(Buffer.from("secret"));
  // Strangers may choose the same request id and code, which are then theirs as well.
  const { requestId: _request, code: _code, ...own } = theirs;
  const known = [...Object.values(own), OUTPUT, RECEIVER, Buffer.from(OUTPUT).toString("base64"), artifact];
  return known.filter((secret) => secret.length > 3 && said.includes(secret) && !asked.includes(secret));
}

/** The same words about other things: an error with the names of what was asked about taken out. */
function anonymous(outcome: Outcome, belongings: Belongings): unknown {
  const text = JSON.stringify([outcome.error?.message ?? "", outcome.reason, outcome.facts]);
  return (
    Object.entries(belongings)
      .filter(([name, value]) => name !== "sizeBytes" && value.length > 3)
      // The id of a delivery holds that of its task.
      .sort(([, a], [, b]) => b.length - a.length)
      .reduce((rest, [name, value]) => rest.replaceAll(value, name), text)
  );
}

/** Takes everything and sends nothing. */
class DeafChannel implements DeliveryChannel {
  problem(): undefined {
    return undefined;
  }

  async send(): Promise<Answer> {
    return { statusCode: 204, error: "", response: "", gone: false, retryAfterMillis: null };
  }
}

describe("what belongs to another tenant", () => {
  let application: ApplicationBench;
  let access: AccessBench;
  let server: TransportServer;
  let client: DynamicClient;
  let owner: Tenant;
  let stranger: Tenant;
  let theirs: Belongings;
  let inventory: unknown;

  before(async () => {
    application = await ApplicationBench.open();
    await application.stop();
    const { webhooks: store, outbox } = application.database;
    const channels = new Map([["https:", new DeafChannel()]]);
    const schedule = { pausesMillis: [], disableAfterMillis: 1e9 };
    await application.start({ webhooks: { store, outbox, channels, schedule } });
    access = await AccessBench.open();
    server = await TransportServer.start(application.application, [], access.access);
    client = new DynamicClient(server.server.address);
    const scopes = SCOPES.filter((scope) => scope !== "operator");
    const tenant = async (name: string, subject: string) =>
      new Tenant(client, name, subject, (await access.token(name, scopes, { subject })).secret);
    owner = await tenant("blue-team", "ana");
    stranger = await tenant("red-team", "eve");
    theirs = await owner.settle();
    inventory = await owner.inventory(theirs);
  });
  after(async () => {
    client[Symbol.dispose]();
    await server[Symbol.asyncDispose]();
    await access[Symbol.asyncDispose]();
    await application[Symbol.asyncDispose]();
  });

  for (const method of RPCS) {
    test(`${method.parent.name}/${method.name} answers a stranger as if it were not there`, async () => {
      const { trials } = entryOf(method.parent.typeName, method.name);
      const { sizeBytes, cursor } = theirs;
      const unknown = { ...NOBODY, sizeBytes, cursor, requestId: randomUUID() };
      const ofNobody = trials(unknown);
      for (const [number, messages] of trials(theirs).entries()) {
        const outcome = await stranger.call(method, messages);
        assert.deepEqual(leaks(outcome, theirs, messages), [], JSON.stringify(messages));
        const nobodys = await stranger.call(method, ofNobody[number] ?? []);
        assert.equal(anonymous(outcome, theirs), anonymous(nobodys, unknown), JSON.stringify(messages));
      }
    });
  }

  test("and is as it was after all that", async () =>
    assert.deepEqual(await owner.inventory(theirs), inventory));

  test("a request id is each tenant's own", async () => {
    const again = { code: "pass", requestId: "request-of-both" };
    const [first, second] = [await owner.get("CreateTask", again), await stranger.get("CreateTask", again)];
    assert.notEqual(first.task.id, second.task.id);
  });

  test("a result is cached for its own tenant alone", async () => {
    const again = { code: theirs.code, outputs: ["*.txt"], labels: {}, useResultCache: true };
    const cachedFrom = async (tenant: Tenant) => (await tenant.get("RunTask", again)).event.task.cachedFrom;
    assert.equal(await cachedFrom(owner), theirs.endedId);
    assert.equal(await cachedFrom(stranger), undefined);
  });

  test("bytes that another tenant has must be sent all the same, and then count for both", async () => {
    const bytes = Buffer.from("the same bytes");
    const sha256 = digestOf(bytes);
    const stateOf = async (tenant: Tenant) => (await tenant.get("GetBlob", { sha256 })).blob.state;
    await owner.upload(bytes, "BLOB_FORMAT_RAW");
    assert.equal(await stateOf(stranger), "STATE_MISSING");
    await stranger.upload(bytes, "BLOB_FORMAT_RAW");
    assert.deepEqual([await stateOf(owner), await stateOf(stranger)], ["STATE_STORED", "STATE_STORED"]);
  });

  test("a page token of another tenant shows nothing of theirs", async () => {
    const page = await owner.get("ListTasks", { pageSize: 1 });
    const { answers } = await stranger.call(rpc("ListTasks"), [{ pageToken: page.nextPageToken }]);
    assert.deepEqual(leaks({ answers, error: undefined, reason: "", facts: {} }, theirs, []), []);
  });

  test("an operator sees every tenant's tokens and events, and still no tenant's tasks", async () => {
    const { secret } = await access.token("default", SCOPES, { subject: "root" });
    const operator = new Tenant(client, "default", "root", secret);
    const { tokens } = await operator.get("ListTokens", { tenant: "blue-team" });
    assert.ok(tokens.length > 0);
    assert.equal((await operator.call(rpc("GetTask"), [{ id: theirs.endedId }])).reason, "NOT_FOUND");
  });
});
