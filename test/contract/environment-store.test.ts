import assert from "node:assert/strict";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { pack } from "tar-stream";
import { TarArtifactReader } from "#server/adapters/archive/tar-artifact-reader.ts";
import { FileEnvironmentStore } from "#server/adapters/environments/file-environment-store.ts";
import { DEFAULT_ARCHIVE_LIMITS } from "#server/domain/blob.ts";
import { BadArchive } from "#server/domain/errors.ts";
import { CollectingLog } from "../support/fakes/collecting-log.ts";
import { MemoryEnvironmentStore } from "../support/fakes/memory-environment-store.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";
import { bytesOf, environmentStoreContract, environmentTar, idOf } from "./environment-store.ts";

const signal = AbortSignal.timeout(60_000);

async function openFiles(limits = DEFAULT_ARCHIVE_LIMITS) {
  const folder = await TemporaryFolder.create();
  const open = () =>
    FileEnvironmentStore.open({
      directory: folder.path,
      reader: new TarArtifactReader(limits),
      log: new CollectingLog(),
    });
  return {
    store: await open(),
    open,
    path: (...names: string[]) => join(folder.path, "environments", ...names),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

environmentStoreContract("memory", async () => ({
  store: new MemoryEnvironmentStore(),
  [Symbol.asyncDispose]: async () => undefined,
}));
environmentStoreContract("files", openFiles);

describe("environments as files", () => {
  test("are readable by every task and executable where they were, whatever the umask", async () => {
    await using bench = await openFiles();
    const before = process.umask(0o077);
    try {
      await bench.store.keep(
        idOf("a"),
        environmentTar({ "bin/tool": "#!", "pkg/sub/mod.py": "x = 1\n" }),
        signal,
      );
    } finally {
      process.umask(before);
    }
    const content = bench.store.folder(idOf("a"));
    const mode = async (...names: string[]) => (await stat(join(content, ...names))).mode & 0o7777;
    assert.equal(await readFile(join(content, "pkg/sub/mod.py"), "utf8"), "x = 1\n");
    assert.deepEqual(
      [await mode(), await mode("bin/tool"), await mode("pkg/sub"), await mode("pkg/sub/mod.py")],
      [0o755, 0o755, 0o755, 0o644],
    );
  });

  test("are there for the next server, and half-made ones are not", async () => {
    await using bench = await openFiles();
    await bench.store.keep(idOf("a"), environmentTar({ "a.py": "abc" }), signal);
    const time = new Date("2030-01-02T03:04:05Z");
    await bench.store.touch(idOf("a"), time);
    // As a server leaves them that is killed while it unpacks.
    await mkdir(bench.path("tmp", `${idOf("b")}.1`, "content"), { recursive: true });
    await mkdir(bench.path(idOf("c"), "content"), { recursive: true });
    await writeFile(bench.path(idOf("c"), "content", "half.py"), "");
    const next = await bench.open();
    assert.deepEqual(next.list(), [{ id: idOf("a"), sizeBytes: 3, fileCount: 1, useTime: time }]);
    assert.deepEqual((await readdir(bench.path())).sort(), [idOf("a"), "tmp"]);
    assert.deepEqual(await readdir(bench.path("tmp")), []);
  });

  test("refuse links, devices and names that lead elsewhere, and keep nothing of such a tar", async () => {
    await using bench = await openFiles();
    const evil = [
      { name: "environment/link", type: "symlink", linkname: "/etc/passwd" },
      { name: "environment/hard", type: "link", linkname: "/etc/passwd" },
      { name: "environment/fifo", type: "fifo" },
      { name: "environment/../../outside" },
      { name: "/environment/absolute" },
      { name: "elsewhere/file" },
    ] as const;
    for (const header of evil) {
      const tar = pack();
      tar.entry({ name: "environment/first.py" }, "x");
      if ("type" in header) tar.entry({ ...header });
      else tar.entry({ ...header }, "x");
      await assert.rejects(bench.store.keep(idOf("a"), bytesOf(tar), signal), BadArchive, header.name);
      assert.ok(!bench.store.has(idOf("a")));
    }
    assert.deepEqual(await readdir(bench.path()), ["tmp"]);
    assert.deepEqual(await readdir(bench.path("tmp")), []);
  });

  test("hold no more than a build may take", async () => {
    await using bench = await openFiles({ ...DEFAULT_ARCHIVE_LIMITS, maxContentBytes: 10 });
    const keep = bench.store.keep(idOf("a"), environmentTar({ "a.py": "123456", "b.py": "123456" }), signal);
    await assert.rejects(keep, BadArchive);
    assert.deepEqual(await readdir(bench.path("tmp")), []);
  });
});
