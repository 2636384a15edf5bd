import assert from "node:assert/strict";
import { mkdtemp, open, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { CanonicalTar } from "#server/adapters/archive/canonical-tar.ts";
import { UploadMirror } from "#server/adapters/archive/upload-mirror.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const CONTENT = Buffer.alloc(300_000, "content");
const OTHER_FILE_SYSTEM = "/dev/shm";

async function* of(...chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

async function write(tar: CanonicalTar, last: string): Promise<void> {
  await using _ = tar;
  await tar.folder("d", 1);
  const plain = { size: CONTENT.length, executable: false, mtimeSeconds: 2 };
  await tar.file({ ...plain, path: "d/a" }, of(CONTENT));
  await tar.file({ ...plain, path: last }, of(CONTENT));
  await tar.end();
}

/** The canonical tar over an original that lies at `path` and was read whole. */
async function over(folder: TemporaryFolder, path: string, last: string): Promise<string> {
  const mirror = new UploadMirror();
  for await (const _ of mirror.watch(of(await readFile(path)))) {
    // As the parser does, which then knows all of it.
  }
  const canonical = folder.at("canonical.tar");
  await write(await CanonicalTar.create(canonical, { path, mirror }), last);
  return canonical;
}

describe("canonical tar over an original", () => {
  test("that parts from it late: the common beginning is brought over", async () => {
    await using folder = await TemporaryFolder.create();
    await write(await CanonicalTar.create(folder.at("original.tar")), "z");
    await write(await CanonicalTar.create(folder.at("plain.tar")), "y");
    const canonical = await over(folder, folder.at("original.tar"), "y");
    assert.deepEqual(await readFile(canonical), await readFile(folder.at("plain.tar")));
  });

  test("that ends early, or goes on behind it, is not it", async () => {
    await using folder = await TemporaryFolder.create();
    await write(await CanonicalTar.create(folder.at("plain.tar")), "z");
    const whole = await readFile(folder.at("plain.tar"));
    for (const bytes of [whole.subarray(0, -512), Buffer.concat([whole, Buffer.alloc(512)])]) {
      await using original = await TemporaryFolder.create({ "original.tar": bytes });
      const canonical = await over(folder, original.at("original.tar"), "z");
      assert.deepEqual(await readFile(canonical), whole);
      assert.equal((await stat(canonical)).nlink, 1);
      await rm(canonical);
    }
  });

  test("on another file system is copied", async (context) => {
    await using folder = await TemporaryFolder.create();
    const there = await stat(OTHER_FILE_SYSTEM).catch(() => undefined);
    if (there === undefined || there.dev === (await stat(folder.path)).dev)
      return context.skip(`${OTHER_FILE_SYSTEM} is no other file system here`);
    const elsewhere = await mkdtemp(join(OTHER_FILE_SYSTEM, "longshore-"));
    try {
      const path = join(elsewhere, "original.tar");
      await write(await CanonicalTar.create(path), "z");
      const canonical = await over(folder, path, "z");
      assert.deepEqual(await readFile(canonical), await readFile(path));
      assert.equal((await stat(canonical)).nlink, 1);
      assert.deepEqual(await readdir(folder.path), ["canonical.tar"]);
    } finally {
      await rm(elsewhere, { recursive: true });
    }
  });

  test("that is gone is an error, and no empty archive", async () => {
    await using folder = await TemporaryFolder.create();
    await write(await CanonicalTar.create(folder.at("original.tar")), "z");
    const mirror = new UploadMirror();
    for await (const _ of mirror.watch(of(await readFile(folder.at("original.tar"))))) {
      // Seen whole, and removed since.
    }
    const path = folder.at("gone.tar");
    const tar = await CanonicalTar.create(folder.at("canonical.tar"), { path, mirror });
    await assert.rejects(write(tar, "z"), /ENOENT/);
    await assert.rejects(open(folder.at("canonical.tar")), /ENOENT/);
  });
});
