import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Client, credentials, type ServiceDefinition } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { FakeApplication } from "../support/fakes/fake-application.ts";
import { TransportServer } from "../support/transport-server.ts";

const run = promisify(execFile);
const SERVICES = [
  "grpc.health.v1.Health",
  "longshore.v1.AccessService",
  "longshore.v1.BlobService",
  "longshore.v1.SystemService",
  "longshore.v1.TaskService",
  "longshore.v1.UsageService",
  "longshore.v1.WebhookService",
];

let server: TransportServer;
before(async () => {
  server = await TransportServer.start(new FakeApplication());
});
after(() => server[Symbol.asyncDispose]());

interface Answer {
  readonly listServicesResponse?: { readonly service: readonly { readonly name: string }[] };
  readonly fileDescriptorResponse?: { readonly fileDescriptorProto: readonly Buffer[] };
  readonly errorResponse?: { readonly errorCode: number };
}

/** Asks a reflection service, one question after the other in one stream. */
async function ask(version: "v1" | "v1alpha", questions: readonly object[]): Promise<Answer[]> {
  const package_ = dirname(createRequire(import.meta.url).resolve("@grpc/reflection/package.json"));
  const proto = loadSync(join(package_, `build/proto/grpc/reflection/${version}/reflection.proto`));
  // proto-loader's definition of a service is a record of methods.
  const service = proto[`grpc.reflection.${version}.ServerReflection`] as ServiceDefinition;
  const { path, requestSerialize, responseDeserialize } =
    service.ServerReflectionInfo ?? assert.fail(version);
  const client = new Client(server.server.address, credentials.createInsecure());
  const stream = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
  const answers: Answer[] = [];
  for (const question of questions) {
    stream.write(question);
    answers.push(...(await once(stream, "data")));
  }
  stream.end();
  await once(stream.resume(), "end");
  client.close();
  return answers;
}

describe("reflection", () => {
  for (const version of ["v1", "v1alpha"] as const) {
    test(`${version} lists the services and their files, comments included`, async () => {
      const [list, file, unknown] = await ask(version, [
        { listServices: "*" },
        { fileContainingSymbol: "longshore.v1.TaskService" },
        { fileContainingSymbol: "longshore.v1.Nothing" },
      ]);
      const names = list?.listServicesResponse?.service.map(({ name }) => name).sort();
      assert.deepEqual(names, SERVICES);
      const files = (file?.fileDescriptorResponse?.fileDescriptorProto ?? []).map((bytes) =>
        fromBinary(FileDescriptorProtoSchema, bytes),
      );
      const comments = files[0]?.sourceCodeInfo?.location
        .map(({ leadingComments }) => leadingComments)
        .join("");
      assert.match(comments ?? "", /Stores a task and answers once it is committed/);
      const missing = (files[0]?.dependency ?? []).filter(
        (name) => !files.some((other) => other.name === name),
      );
      assert.deepEqual(missing, [], "every import comes along");
      assert.equal(unknown?.errorResponse?.errorCode, 5);
    });
  }
});

describe("grpcurl", async () => {
  const skip = await run("grpcurl", ["-version"]).then(
    () => false,
    () => "grpcurl is not on PATH; scripts/test builds it",
  );
  const grpcurl = async (...args: string[]) => (await run("grpcurl", ["-plaintext", ...args])).stdout;

  test("lists and describes with comments", { skip }, async () => {
    const { address } = server.server;
    assert.deepEqual((await grpcurl(address, "list")).trim().split("\n"), SERVICES);
    const rpc = await grpcurl(address, "describe", "longshore.v1.TaskService.CreateTask");
    assert.match(rpc, /\/\/ Errors: INVALID_ARGUMENT \(INVALID_REQUEST/);
    const message = await grpcurl(address, "describe", "longshore.v1.Task");
    assert.match(message, /\/\/ ULID made by the server\.\n {2}string id = 1/);
    assert.match(message, /google\.protobuf\.Timestamp create_time/);
  });

  test("creates and runs the JSON of the examples as it stands", { skip }, async () => {
    const { address } = server.server;
    const example = await readFile(new URL("../fixtures/requests/example-1.json", import.meta.url), "utf8");
    const created = JSON.parse(await grpcurl("-d", example, address, "longshore.v1.TaskService/CreateTask"));
    assert.equal(created.task.state, "STATE_QUEUED");
    assert.deepEqual(created.task.spec.resources, JSON.parse(example).resources);
    const events = await grpcurl("-d", example, address, "longshore.v1.TaskService/RunTask");
    assert.match(events, /"cursor": "first"/);
  });

  test("reads health and the details of an error", { skip }, async () => {
    const { address } = server.server;
    assert.match(await grpcurl(address, "grpc.health.v1.Health/Check"), /"status": "SERVING"/);
    const wrong = '{"code":"","max_attempts":-1}';
    await assert.rejects(
      grpcurl("-d", wrong, address, "longshore.v1.TaskService/CreateTask"),
      ({ stderr }) => {
        assert.match(stderr, /InvalidArgument/);
        assert.match(stderr, /google\.rpc\.ErrorInfo.*"reason": "INVALID_REQUEST"/s);
        assert.match(stderr, /google\.rpc\.BadRequest.*"field": "max_attempts"/s);
        return true;
      },
    );
  });
});
