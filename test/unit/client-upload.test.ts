import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { Metadata, status } from "@grpc/grpc-js";
import {
  BadArchive,
  findViolations,
  InvalidRequest,
  Longshore,
  type Progress,
  type TaskOptions,
} from "@longshore/client";
import { Blob_State } from "@longshore/proto/longshore/v1/blob_service";
import { activeContexts, within } from "../support/context-manager.ts";
import { badRequest, richError, ScriptedServer } from "../support/scripted-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const MEBIBYTE = 2 ** 20;

function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

describe("uploading", () => {
  test("goes on where a cut upload stood, and sends stored bytes not at all", async () => {
    const bytes = randomBytes(5 * MEBIBYTE + 17);
    await using folder = await TemporaryFolder.create({ "project.zip": bytes });
    await using server = await ScriptedServer.start();
    server.cutUploadsAfter.push(2 * MEBIBYTE, MEBIBYTE);
    await using client = new Longshore(server.address);
    const seen: Progress[] = [];
    const onProgress = (progress: Progress) => void seen.push(progress);

    await client.submit(folder.at("project.zip"), { onProgress });
    assert.deepEqual(
      server.uploads.map(({ offset }) => offset),
      [0, 2 * MEBIBYTE, 3 * MEBIBYTE],
    );
    assert.deepEqual(server.blobs.get(digest(bytes))?.bytes, bytes);
    assert.equal(server.created[0]?.archiveSha256, digest(bytes));
    const last = seen.at(-1);
    assert.ok(
      last?.phase === "uploading" && last.done && last.bytes === bytes.length && last.storedBefore === 0,
    );

    await client.submit(folder.at("project.zip"), { onProgress });
    assert.equal(server.uploads.length, 3);
    const again = seen.at(-1);
    assert.ok(again?.phase === "uploading" && again.done && again.storedBefore === bytes.length);
  });

  test("an archive that the server refused before is not sent again", async () => {
    await using server = await ScriptedServer.start();
    const bytes = randomBytes(100);
    server.blobs.set(digest(bytes), {
      bytes: Buffer.alloc(0),
      state: Blob_State.REFUSED,
      refusal: "../x leads out",
    });
    await using client = new Longshore(server.address);
    await assert.rejects(client.blobs.upload(bytes, { format: "zip" }), (error) => {
      return error instanceof BadArchive && /\.\.\/x leads out/.test(error.message);
    });
    assert.equal(server.uploads.length, 0);
  });

  test("stops with the signal's reason", async () => {
    await using server = await ScriptedServer.start();
    await using client = new Longshore(server.address);
    const stop = new AbortController();
    const onProgress = (progress: Progress) => {
      if (progress.phase === "uploading" && progress.bytes > 0) stop.abort(new Error("enough"));
    };
    const upload = client.blobs.upload(randomBytes(4 * MEBIBYTE), { signal: stop.signal, onProgress });
    await assert.rejects(upload, /enough/);
  });

  test("submitStream sends an archive of unknown size in one call", async () => {
    await using server = await ScriptedServer.start();
    await using client = new Longshore(server.address);
    const bytes = randomBytes(2 * MEBIBYTE + 5);
    const chunks = async function* () {
      yield bytes.subarray(0, 10);
      yield bytes.subarray(10);
    };
    const task = await client.submitStream(chunks(), { format: "tar.gz", entrypoint: "a.py" });
    assert.equal(task.latest?.archiveSha256, digest(bytes));
    assert.equal(server.created[0]?.entrypoint, "a.py");
  });

  test("blobs come back as they went, across a cut download", async () => {
    await using server = await ScriptedServer.start();
    await using client = new Longshore(server.address);
    const bytes = randomBytes(MEBIBYTE);
    const { sha256 } = await client.blobs.upload(bytes);
    await using folder = await TemporaryFolder.create();
    server.cutStreamsAfter.push(3, 2);
    await client.blobs.download(sha256, folder.at("back.bin"));
    assert.deepEqual(await readFile(folder.at("back.bin")), bytes);
    assert.deepEqual(await readdir(folder.path), ["back.bin"]);
  });
});

describe("creating a task", () => {
  test("is repeated with the same request_id while the server is away, and only then", async () => {
    await using server = await ScriptedServer.start();
    let failures = 2;
    server.refuse = (method) => {
      if (method !== "CreateTask" || failures === 0) return undefined;
      failures -= 1;
      return richError(status.UNAVAILABLE, "UNAVAILABLE", "draining");
    };
    await using client = new Longshore(server.address);
    await client.submit({ code: "1" });
    assert.equal(server.created.length, 1);
    assert.match(server.created[0]?.requestId ?? "", /^[0-9a-f-]{36}$/);

    let asked = 0;
    server.refuse = () => {
      asked += 1;
      const details = [
        badRequest([
          { field: "resources.ram", description: '"512" needs a unit' },
          { field: "entrypoint", description: "is not there" },
        ]),
      ];
      return richError(status.INVALID_ARGUMENT, "INVALID_REQUEST", "2 problems with the request", details);
    };
    await assert.rejects(client.submit({ code: "1" }), (error) => {
      assert.ok(error instanceof InvalidRequest);
      assert.deepEqual(
        error.violations.map(({ field }) => field),
        ["resources.ram", "entrypoint"],
      );
      assert.equal(error.code, "INVALID_ARGUMENT");
      return true;
    });
    assert.equal(asked, 1);
  });

  test("of an uploaded folder that is refused rejects, and ends no process", async () => {
    await using server = await ScriptedServer.start();
    server.refuse = (method) => {
      if (method !== "CreateTask") return undefined;
      const details = [badRequest([{ field: "entrypoint", description: "is not in the archive" }])];
      return richError(status.INVALID_ARGUMENT, "INVALID_REQUEST", "1 problem", details);
    };
    await using folder = await TemporaryFolder.create({ "main.py": "1" });
    await using client = new Longshore(server.address);
    await assert.rejects(client.submit(folder.path), InvalidRequest);
  });

  test("that is wrong is refused before anything is sent for it, and what is there already costs no question", async () => {
    await using server = await ScriptedServer.start();
    server.refuse = (method) => {
      if (method !== "ValidateTask") return undefined;
      const details = [badRequest([{ field: "resources.cpu", description: "is too much" }])];
      return richError(status.INVALID_ARGUMENT, "INVALID_REQUEST", "1 problem", details);
    };
    await using folder = await TemporaryFolder.create({
      "project/main.py": "1",
      "project/sub/requirements.txt": "six",
      "data.csv": "a",
    });
    await using client = new Longshore(server.address);
    const inputs = [{ path: "d.csv", file: folder.at("data.csv") }];
    await assert.rejects(client.submit(folder.at("project"), { inputs }), InvalidRequest);
    assert.equal(server.uploads.length + server.created.length, 0);

    server.refuse = () => undefined;
    await client.submit(folder.at("project"), { inputs, requestId: "r" });
    const [asked, ...more] = server.validated;
    assert.equal(more.length, 0);
    assert.deepEqual(asked?.task, server.created[0]);
    assert.deepEqual(asked?.project?.files, ["main.py", "sub/requirements.txt"]);
    assert.deepEqual(asked?.project?.folders, ["sub"]);
    assert.equal(asked?.project?.contentBytes, 4n);
    assert.deepEqual(
      asked?.project?.requirements.map(({ path, content }) => [path, Buffer.from(content).toString()]),
      [["sub/requirements.txt", "six"]],
    );
    await client.submit(folder.at("project"), { inputs });
    await client.submit({ code: "1" });
    assert.equal(server.validated.length, 1);
  });

  test("is created all the same by a server that knows of no check beforehand", async () => {
    await using server = await ScriptedServer.start();
    server.refuse = (method) =>
      method === "ValidateTask"
        ? Object.assign(new Error("unknown"), {
            code: status.UNIMPLEMENTED,
            details: "unknown method",
            metadata: new Metadata(),
          })
        : undefined;
    await using folder = await TemporaryFolder.create({ "main.py": "1" });
    await using client = new Longshore(server.address);
    await client.submit(folder.path);
    assert.equal(server.created.length, 1);
  });

  test("translates every option, and names all that it cannot translate before anything is sent", async () => {
    await using server = await ScriptedServer.start();
    await using client = new Longshore(server.address);
    await client.submit(
      { code: "1" },
      {
        cpu: 0.5,
        ram: "1GB",
        timeout: "1h30m",
        queueTimeout: "500ms",
        network: "egress",
        isolation: "gvisor",
        requireEnforced: ["ram"],
        requirements: ["numpy", "pandas"],
        stdin: "in",
        inputs: [{ path: "d.csv", blobSha256: "ab" }],
        maxLogBytes: 5,
        labels: { a: "b" },
      },
    );
    const [created] = server.created;
    assert.equal(created?.resources?.cpu, "0.5");
    assert.deepEqual(created?.timeout, { seconds: 5400n, nanos: 0 });
    assert.deepEqual(created?.queueTimeout, { seconds: 0n, nanos: 500_000_000 });
    assert.equal(created?.environment?.requirements, "numpy\npandas");
    assert.equal(Buffer.from(created?.stdin ?? []).toString(), "in");
    assert.equal(created?.budgets?.maxLogBytes, 5n);
    assert.deepEqual(created?.requireEnforced, [2]);

    // As plain JavaScript could.
    const wrong = { timeout: 10, network: "lan", requireEnforced: ["memory"] } as unknown as {
      timeout: string;
    };
    await assert.rejects(client.submit({ code: "1" }, wrong), (error) => {
      assert.ok(error instanceof InvalidRequest);
      assert.deepEqual(error.violations.map(({ field }) => field).sort(), [
        "network",
        "require_enforced",
        "timeout",
      ]);
      return true;
    });
    assert.equal(server.created.length, 1);
  });

  test("names texts where lists belong, as a program in JavaScript may give them, and formats that are none", async () => {
    const wrong = { args: "--x", outputs: "*", webhooks: "https://hooks.invalid", dependsOn: "01J" };
    // What the compiler refuses.
    const found = findViolations(wrong as unknown as TaskOptions);
    assert.deepEqual(
      found.map(({ field }) => field),
      ["args", "outputs", "depends_on", "webhooks"],
    );
    assert.equal(found[0]?.description, 'must be a list, such as ["--x"]');
    await using client = new Longshore("127.0.0.1:1");
    const format = "csv" as unknown as "zip";
    await assert.rejects(client.blobs.upload("nowhere", { format }), InvalidRequest);
    await assert.rejects(client.blobs.upload("nowhere"), /nowhere: cannot be read: there is no such file/);
    const scopes = "admin" as unknown as string[];
    await assert.rejects(client.access.createToken({ scopes, lifetime: "long" }), {
      message: /^2 problems with the request: scopes: must be a list.*; lifetime: /,
    });
  });

  test("sends metadata and the trace context", async () => {
    await using server = await ScriptedServer.start();
    let asked = 0;
    const metadata = async () => {
      asked += 1;
      return { authorization: `Bearer ${asked}` };
    };
    await using client = new Longshore(server.address, { metadata });
    const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const task = await client.submit({ code: "1" }, { traceparent });
    await task.get();
    assert.deepEqual(server.metadata[0]?.get("traceparent"), [traceparent]);
    assert.deepEqual(server.metadata[1]?.get("authorization"), ["Bearer 2"]);
  });

  test("continues the active OpenTelemetry span, without one the process's own TRACEPARENT", async (t) => {
    using _contexts = activeContexts();
    const inherited = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    process.env.TRACEPARENT = inherited;
    t.after(() => delete process.env.TRACEPARENT);
    await using server = await ScriptedServer.start();
    await using client = new Longshore(server.address);
    const active = { traceId: "4bf92f3577b34da6a3ce929d0e0e4736", spanId: "00f067aa0ba902b7" };
    await within(active, () => client.submit({ code: "1" }));
    await client.submit({ code: "1" });
    await using own = new Longshore(server.address, { metadata: { traceparent: "mine" } });
    await within(active, () => own.submit({ code: "1" }));
    const sent = server.metadata.map((metadata) => metadata.get("traceparent"));
    assert.deepEqual(sent, [[`00-${active.traceId}-${active.spanId}-01`], [inherited], ["mine"]]);
  });
});
