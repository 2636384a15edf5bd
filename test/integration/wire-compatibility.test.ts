import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  createFileRegistry,
  type DescMessage,
  fromBinary,
  fromJson,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Client, credentials, type ServiceDefinition, type ServiceError, status } from "@grpc/grpc-js";
import { loadSync, type MessageTypeDefinition } from "@grpc/proto-loader";
import * as accessMessages from "@longshore/proto/longshore/v1/access_service.ts";
import * as blobMessages from "@longshore/proto/longshore/v1/blob_service.ts";
import * as resourceMessages from "@longshore/proto/longshore/v1/resources.ts";
import * as systemMessages from "@longshore/proto/longshore/v1/system_service.ts";
import * as taskMessages from "@longshore/proto/longshore/v1/task.ts";
import * as taskServiceMessages from "@longshore/proto/longshore/v1/task_service.ts";
import * as usageMessages from "@longshore/proto/longshore/v1/usage_service.ts";
import * as webhookMessages from "@longshore/proto/longshore/v1/webhook_service.ts";
import fc from "fast-check";
import { AccessBench } from "../support/access-bench.ts";
import { FakeApplication } from "../support/fakes/fake-application.ts";
import { ObservedCodes } from "../support/observed-codes.ts";
import { randomMessage } from "../support/random-message.ts";
import { TransportServer } from "../support/transport-server.ts";

const root = fileURLToPath(new URL("../../proto", import.meta.url));

/** Reads the .proto sources by itself: shares no generated code with the server. */
const loaded = loadSync(
  [
    "task_service",
    "blob_service",
    "usage_service",
    "system_service",
    "access_service",
    "webhook_service",
  ].map((name) => `longshore/v1/${name}.proto`),
  {
    includeDirs: [root],
    keepCase: true,
    longs: String,
    enums: String,
    oneofs: true,
  },
);

const registry = createFileRegistry(
  fromBinary(
    FileDescriptorSetSchema,
    await readFile(fileURLToPath(import.meta.resolve("@longshore/proto/descriptors.binpb"))),
  ),
);
const files = [...registry.files].filter(({ proto }) => proto.package === "longshore.v1");
const services = files.flatMap((file) => file.services);

/** What every ts-proto message has. */
interface Codec {
  decode(bytes: Uint8Array): unknown;
  encode(message: unknown): { finish(): Uint8Array };
}

const generated: Readonly<Record<string, unknown>> = {
  ...accessMessages,
  ...blobMessages,
  ...resourceMessages,
  ...systemMessages,
  ...taskMessages,
  ...taskServiceMessages,
  ...usageMessages,
  ...webhookMessages,
};

function generatedCodec({ typeName }: DescMessage): Codec {
  const name = typeName.replace("longshore.v1.", "").replaceAll(".", "_");
  // ts-proto exports one codec object per message under this name; the assertion below fails where it does not.
  const codec = generated[name] as Codec | undefined;
  assert.ok(codec !== undefined && "decode" in codec, `${typeName} was generated as ${name}`);
  return codec;
}

function loadedCodec({ typeName }: DescMessage): MessageTypeDefinition<object, object> {
  const definition = loaded[typeName];
  assert.ok(definition !== undefined && "serialize" in definition, `proto-loader has ${typeName}`);
  return definition as MessageTypeDefinition<object, object>;
}

describe("messages", () => {
  // proto-loader offers messages of the top level; nested ones are tried inside them.
  for (const desc of files.flatMap((file) => file.messages)) {
    test(`${desc.typeName} is read alike by both sides, whoever wrote it`, () => {
      const ours = generatedCodec(desc);
      const theirs = loadedCodec(desc);
      const rewriteOurs = (bytes: Uint8Array) => ours.encode(ours.decode(bytes)).finish();
      const rewriteTheirs = (bytes: Uint8Array) => theirs.serialize(theirs.deserialize(Buffer.from(bytes)));
      fc.assert(
        fc.property(randomMessage(desc), (json) => {
          const message = fromJson(desc, json, { registry });
          const bytes = toBinary(desc, message);
          const expected = toJson(desc, message, { registry });
          const read = (written: Uint8Array) => toJson(desc, fromBinary(desc, written), { registry });
          assert.deepEqual(
            read(rewriteTheirs(rewriteOurs(bytes))),
            expected,
            "written by ts-proto, read by proto-loader",
          );
          assert.deepEqual(
            read(rewriteOurs(rewriteTheirs(bytes))),
            expected,
            "written by proto-loader, read by ts-proto",
          );
        }),
      );
    });
  }
});

const DIGEST = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const SNIPPET = { code: "print('hi')", resources: { cpu: "2", ram: "512MB" }, labels: { a: "b" } };

/** What to send to each RPC, in this order: later ones use what earlier ones have made. */
const REQUESTS: Readonly<Record<string, readonly object[]>> = {
  CreateTask: [SNIPPET],
  RunTask: [SNIPPET],
  ValidateTask: [{ task: SNIPPET }],
  SubmitTask: [
    { header: { task: { entrypoint: "main.py" }, archive: { format: "BLOB_FORMAT_ZIP" } } },
    { chunk: Buffer.from("abc") },
  ],
  GetTask: [{ id: "task-1", view: "TASK_VIEW_FULL" }],
  ListTasks: [{ states: ["STATE_QUEUED"], labels: { a: "b" }, created_after: { seconds: "1" } }],
  WatchTask: [{ id: "task-1", text: true }],
  ListArtifacts: [{ task_id: "task-1" }],
  DownloadArtifact: [{ artifact: { task_id: "task-1", path: "out.bin" } }],
  RerunTask: [{ id: "task-1", timeout: { seconds: "5" } }],
  CancelTask: [{ id: "task-1", grace: { seconds: "1" } }],
  DeleteTask: [{ id: "task-1" }],
  UploadBlob: [{ header: { sha256: DIGEST, size_bytes: "3" } }, { chunk: Buffer.from("abc") }],
  GetBlob: [{ sha256: DIGEST }],
  DownloadBlob: [{ sha256: DIGEST, offset_bytes: "1" }],
  CreateUploadUrl: [{ sha256: DIGEST, size_bytes: "3" }],
  CreateDownloadUrl: [{ sha256: DIGEST }],
  GetUsage: [{ grouping: "USAGE_GROUPING_LABEL", label: "team", filter: { labels: { a: "b" } } }],
  ListUsage: [{ filter: { start_time: { seconds: "1" } }, page_size: 1 }],
  EstimateCost: [{ task: SNIPPET }],
  GetQuota: [{}],
  GetCapabilities: [{}],
  GetCapacity: [{ engine: "docker" }],
  WatchCapacity: [{}],
  WatchTasks: [{}],
  GetReconcileReport: [{}],
  GetCaller: [{}],
  CreateToken: [{ scopes: ["tasks:read"], lifetime: { seconds: "60" } }],
  ListTokens: [{ page_size: 1 }],
  RevokeToken: [{ id: "token-1" }],
  ListAuditEvents: [{ since: { seconds: "1" } }],
  CreateWebhook: [{ url: "https://example.com/hook", states: ["STATE_FAILED"] }],
  ListWebhooks: [{ page_size: 1 }],
  DeleteWebhook: [{ id: "webhook-1" }],
  RotateWebhookSecret: [{ overlap: { seconds: "60" } }],
  ListDeliveries: [{ states: ["STATE_PENDING"] }],
  Redeliver: [{ id: "msg_1" }],
};

describe("a client made from the .proto sources", () => {
  const observed = new ObservedCodes();
  let server: TransportServer;
  let client: Client;

  before(async () => {
    const bench = await AccessBench.open({ authenticators: null });
    const event = (await bench.token("default", ["blobs"])) && bench.audit.events[0];
    const [token] = await bench.tokens.list({ tenant: null, afterId: "", limit: 1 });
    assert.ok(token !== undefined && event !== undefined);
    await bench.tokens.insert({ ...token, id: "token-1" }, event);
    server = await TransportServer.start(new FakeApplication(), [], bench.access);
    client = new Client(server.server.address, credentials.createInsecure(), {
      interceptors: [observed.interceptor],
    });
  });
  after(async () => {
    client.close();
    await server[Symbol.asyncDispose]();
  });

  test("is answered by every RPC that the descriptors list", async () => {
    const listed = services.flatMap((service) =>
      service.methods.map((method) => `${service.typeName}/${method.name}`),
    );
    const answers = new Map<string, readonly object[]>();
    for (const [name, messages] of Object.entries(REQUESTS)) {
      const path =
        listed.find((rpc) => rpc.endsWith(`/${name}`)) ?? assert.fail(`${name} is in the descriptors`);
      answers.set(path, await call(client, path, messages));
    }
    assert.deepEqual([...answers.keys()].sort(), [...listed].sort(), "REQUESTS has every RPC");
    assert.deepEqual(await observed.undocumented(), []);
    const first = (rpc: string) => JSON.stringify(answers.get(`longshore.v1.${rpc}`)?.[0]);
    assert.match(first("TaskService/GetTask"), /"code":"print\('hi'\)".*"state":"STATE_QUEUED"/);
    assert.match(first("TaskService/RunTask"), /"cursor":"first"/);
    assert.match(first("BlobService/DownloadBlob"), /"offset_bytes":"1"/);
    assert.match(first("SystemService/GetCapabilities"), /"max_timeout":{"seconds":"3600"/);
  });
});

/** Calls any kind of RPC; its answers, or none where the server says that its configuration does not have it. */
async function call(client: Client, path: string, messages: readonly object[]): Promise<readonly object[]> {
  const [service = "", name = ""] = path.split("/");
  // proto-loader's definition of a service is a record of methods.
  const method = (loaded[service] as ServiceDefinition)[name];
  assert.ok(method, `proto-loader has ${path}`);
  const { requestSerialize: encode, responseDeserialize: decode } = method;
  const rpc = method.path;
  if (method.responseStream) {
    return Array.fromAsync<object>(client.makeServerStreamRequest(rpc, encode, decode, messages[0]));
  }
  return new Promise((resolve, reject) => {
    const done = (error: ServiceError | null, value?: object) => {
      if (value !== undefined) resolve([value]);
      else if (
        error?.code === status.UNIMPLEMENTED &&
        error.details.includes("this server keeps blobs in files")
      )
        resolve([]);
      else reject(error);
    };
    if (!method.requestStream) client.makeUnaryRequest(rpc, encode, decode, messages[0], done);
    else {
      const stream = client.makeClientStreamRequest(rpc, encode, decode, done);
      for (const message of messages) stream.write(message);
      stream.end();
    }
  });
}
