import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { FileBlobStore } from "#server/adapters/blobs/file-blob-store.ts";
import { S3BlobStore } from "#server/adapters/blobs/s3-blob-store.ts";
import { NotFound, Unavailable } from "#server/domain/errors.ts";
import { MemoryBlobStore } from "../support/fakes/memory-blob-store.ts";
import { S3Server, whyNoS3Server } from "../support/s3-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";
import { blobStoreContract } from "./blob-store.ts";

const run = promisify(execFile);
const digestOf = (bytes: string) => createHash("sha256").update(bytes).digest("hex");

blobStoreContract("the fake in memory", async () => ({
  store: new MemoryBlobStore(),
  async [Symbol.asyncDispose]() {
    // Nothing is held.
  },
}));

blobStoreContract("files", async () => {
  const folder = await TemporaryFolder.create();
  return {
    store: new FileBlobStore({ directory: folder.path }),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
});

const noS3 = await whyNoS3Server();
let s3: S3Server;
before(async () => {
  if (noS3 === undefined) s3 = await S3Server.start();
});
after(() => s3?.[Symbol.asyncDispose]());

blobStoreContract(
  "S3",
  async () => {
    const folder = await TemporaryFolder.create();
    const bucket = s3.bucket(`contract/${randomUUID()}`);
    return {
      store: new S3BlobStore({ bucket, directory: folder.path }),
      async [Symbol.asyncDispose]() {
        bucket.close();
        await folder[Symbol.asyncDispose]();
      },
    };
  },
  noS3,
);

describe("blob store: files only", () => {
  test("staged bytes survive the server, and nobody else can read anything", async () => {
    await using folder = await TemporaryFolder.create();
    {
      await using staged = await new FileBlobStore({ directory: folder.path }).stage("tenant and digest");
      await staged.append(Buffer.from("half"));
    }
    const restarted = new FileBlobStore({ directory: folder.path });
    assert.equal(await restarted.stagedBytes("tenant and digest"), 4);
    await using staged = await restarted.stage("tenant and digest");
    await staged.append(Buffer.from(" and half"));
    const sha256 = digestOf("half and half");
    await staged.promote(sha256);
    const path = folder.at("blobs", "sha256", sha256.slice(0, 2), sha256);
    assert.equal(await readFile(path, "utf8"), "half and half");
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    for (const parts of [["uploads"], ["blobs", "sha256"], ["blobs", "sha256", sha256.slice(0, 2)]]) {
      assert.equal((await stat(folder.at(...parts))).mode & 0o777, 0o700, parts.join("/"));
    }
    assert.deepEqual(await readdir(folder.at("uploads")), []);
  });

  test("neither keys nor digests are paths", async () => {
    await using folder = await TemporaryFolder.create({ secret: "not a blob" });
    const store = new FileBlobStore({ directory: folder.path });
    await using staged = await store.stage("../../escape");
    await staged.append(Buffer.from("x"));
    assert.match((await readdir(folder.at("uploads"))).join(), /^[0-9a-f]{64}$/);
    for (const digest of ["../../secret", "", `${"a".repeat(64)}/x`, "A".repeat(64)]) {
      await assert.rejects(store.size(digest), NotFound);
      await assert.rejects(staged.promote(digest), NotFound);
    }
  });

  test("a link in place of a staged upload is not followed", async () => {
    await using folder = await TemporaryFolder.create({ secret: "not an upload" });
    const store = new FileBlobStore({ directory: folder.path });
    await mkdir(folder.at("uploads"));
    await symlink(
      folder.at("secret"),
      folder.at("uploads", createHash("sha256").update("key").digest("hex")),
    );
    await assert.rejects(store.stage("key"), /ELOOP/);
    assert.equal(await readFile(folder.at("secret"), "utf8"), "not an upload");
    // The refusal lets go of the key.
    await assert.rejects(store.stage("key"), /ELOOP/);
  });

  test("a full disk is said plainly, and half a chunk does not count", async (context) => {
    await using folder = await TemporaryFolder.create({ "disk/.keep": "" });
    const disk = folder.at("disk");
    const mounted = await run("mount", ["-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", disk]).catch(
      (error: Error) => error,
    );
    if (mounted instanceof Error)
      return context.skip(`mounting a small filesystem needs root: ${mounted.message}`);
    try {
      const store = new FileBlobStore({ directory: disk });
      await using staged = await store.stage("key");
      await staged.append(Buffer.alloc(600 * 1024));
      await assert.rejects(staged.append(Buffer.alloc(600 * 1024)), (error) => {
        assert.ok(error instanceof Unavailable);
        assert.match(error.message, /disk is full.*try again/);
        return true;
      });
      assert.equal(staged.committedBytes, 600 * 1024);
      assert.equal((await stat(staged.path)).size, 600 * 1024);
      await staged.discard();
      const endless = async function* () {
        for (;;) yield Buffer.alloc(100 * 1024);
      };
      await assert.rejects(store.write(endless()), Unavailable);
      assert.deepEqual(await readdir(`${disk}/uploads`), []);
      await writeFile(`${disk}/room`, Buffer.alloc(900 * 1024));
    } finally {
      await run("umount", [disk]);
    }
  });
});
