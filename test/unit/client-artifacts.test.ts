import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { DigestMismatch, Longshore, NotFound, UnsafeArtifactPath } from "@longshore/client";
import { CreateTaskRequest } from "@longshore/proto/longshore/v1/task";
import { describeArtifact, ScriptedServer } from "../support/scripted-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

async function withArtifacts(files: Readonly<Record<string, Uint8Array>>) {
  const server = await ScriptedServer.start();
  const task = server.create(CreateTaskRequest.create());
  for (const [path, bytes] of Object.entries(files)) task.artifacts.set(path, bytes);
  task.exit(0);
  return { server, id: task.id, task };
}

describe("artifacts", () => {
  test("are written below the folder, resumed after cuts, and checked", async () => {
    const weights = randomBytes(700_000);
    const { server, id } = await withArtifacts({
      "model/weights.bin": weights,
      "log.txt": Buffer.from("ok"),
    });
    await using _server = server;
    await using client = new Longshore(server.address);
    await using folder = await TemporaryFolder.create();
    server.cutStreamsAfter.push(100, 4, 3);
    const written = await client.task(id).artifacts.downloadAll(folder.at("out"));
    assert.equal(written.length, 2);
    assert.deepEqual(await readFile(folder.at("out/model/weights.bin")), weights);
    assert.deepEqual((await readdir(folder.at("out"), { recursive: true })).sort(), [
      "log.txt",
      "model",
      "model/weights.bin",
    ]);
  });

  test("one at a time, to a name of one's own, going on with what an earlier try left", async () => {
    const bytes = randomBytes(300_000);
    const { server, id } = await withArtifacts({ "a.bin": bytes });
    await using _server = server;
    await using client = new Longshore(server.address);
    await using folder = await TemporaryFolder.create();
    const { sha256 } = describeArtifact("a.bin", bytes);
    await writeFile(folder.at(`.b.bin.${sha256.slice(0, 16)}.partial`), bytes.subarray(0, 100_001));
    const positions: number[] = [];
    const onProgress = (position: number) => void positions.push(position);
    await client.task(id).artifacts.download("a.bin", folder.at("b.bin"), { onProgress });
    assert.equal(positions[0], 100_001);
    assert.deepEqual(await readFile(folder.at("b.bin")), bytes);
    await assert.rejects(client.task(id).artifacts.download("nope", folder.at("x")), NotFound);
  });

  test("are read into memory, unless they are too large for that", async () => {
    const bytes = randomBytes(300_000);
    const { server, id } = await withArtifacts({ "a.bin": bytes });
    await using _server = server;
    await using client = new Longshore(server.address);
    const { artifacts } = client.task(id);
    assert.ok(bytes.equals(await artifacts.read("a.bin")));
    await assert.rejects(artifacts.read("a.bin", { mostBytes: 1000 }), {
      code: "OUT_OF_RANGE",
      message: /download it to a file/,
    });
    await assert.rejects(artifacts.read("nope"), NotFound);
  });

  test("whose names lead out of the folder are refused before anything is written", async () => {
    const bad = ["../evil", "/etc/cron.d/evil", "a/../../evil", "a//b", "./c", "", "nul\0byte", ".."];
    for (const path of bad) {
      const { server, id } = await withArtifacts({
        "good.txt": Buffer.from("ok"),
        [path]: Buffer.from("evil"),
      });
      await using _server = server;
      await using client = new Longshore(server.address);
      await using folder = await TemporaryFolder.create();
      await assert.rejects(client.task(id).artifacts.downloadAll(folder.at("out")), (error) => {
        assert.ok(error instanceof UnsafeArtifactPath, `${path}: ${error}`);
        assert.deepEqual(error.paths, [path]);
        return true;
      });
      assert.deepEqual(await readdir(folder.path), []);
    }
  });

  test("are not written through links that lie in the folder", async () => {
    const { server, id } = await withArtifacts({
      "sub/evil": Buffer.from("evil"),
      "file.txt": Buffer.from("new"),
    });
    await using _server = server;
    await using client = new Longshore(server.address);
    await using folder = await TemporaryFolder.create({
      "elsewhere/keep": "",
      "target.txt": "old",
      "out/x": "",
    });
    await symlink(folder.at("target.txt"), folder.at("out/file.txt"));
    await symlink(folder.at("elsewhere"), folder.at("out/sub"));
    await assert.rejects(client.task(id).artifacts.downloadAll(folder.at("out")), UnsafeArtifactPath);
    assert.deepEqual(await readdir(folder.at("elsewhere")), ["keep"]);

    const filter = ({ path }: { path: string }) => path === "file.txt";
    await client.task(id).artifacts.downloadAll(folder.at("out"), { filter });
    assert.equal(await readFile(folder.at("target.txt"), "utf8"), "old");
    assert.equal(await readFile(folder.at("out/file.txt"), "utf8"), "new");
  });

  test("with other bytes than promised are not kept", async () => {
    const bytes = randomBytes(1000);
    const { server, id, task } = await withArtifacts({ "a.bin": bytes });
    await using _server = server;
    await using client = new Longshore(server.address);
    await using folder = await TemporaryFolder.create();
    const { sha256 } = describeArtifact("a.bin", bytes);
    // What an earlier, damaged try left.
    await writeFile(folder.at(`.a.bin.${sha256.slice(0, 16)}.partial`), randomBytes(10));
    const { artifacts } = client.task(task.id);
    assert.equal(task.id, id);
    await assert.rejects(artifacts.download("a.bin", folder.at("a.bin")), DigestMismatch);
    assert.deepEqual(await readdir(folder.path), []);
  });
});
