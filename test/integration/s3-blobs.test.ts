/** Blobs in a real S3 server: large ones, a store that is away or refuses, and uploads that lose nothing by it. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { S3BlobStore } from "#server/adapters/blobs/s3-blob-store.ts";
import { StoreAway, SystemFault } from "#server/domain/errors.ts";
import { cut, digestOf, Harbour, project, TENANT } from "../support/harbour.ts";
import { S3Server, whyNoS3Server } from "../support/s3-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const MiB = 2 ** 20;
const skip = (await whyNoS3Server()) ?? false;

async function read(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(source));
}

describe("blobs in S3", { skip }, () => {
  let s3: S3Server;
  before(async () => {
    s3 = await S3Server.start();
  });
  after(() => s3?.[Symbol.asyncDispose]());

  test("one of many parts comes back as it was, from any offset", async () => {
    await using folder = await TemporaryFolder.create();
    const bucket = s3.bucket("parts");
    const store = new S3BlobStore({ bucket, directory: folder.path });
    const bytes = randomBytes(25 * MiB + 3);
    const { sha256 } = await store.write(cut(bytes));
    assert.equal(sha256, digestOf(bytes));
    assert.equal(await store.size(sha256), bytes.length);
    for (const offset of [0, 8 * MiB - 1, 24 * MiB, bytes.length - 1])
      assert.ok((await read(store.read(sha256, offset))).equals(bytes.subarray(offset)), String(offset));
    bucket.close();
  });

  test("what was checked of a project is made anew from its blob, and a damaged blob is not taken for it", async () => {
    const bucket = s3.bucket("derived");
    await using harbour = await Harbour.open((directory) => ({
      blobs: new S3BlobStore({ bucket, directory }),
    }));
    const bytes = project();
    const sha256 = digestOf(bytes);
    await harbour.send(bytes);
    const kept = await readFile(await harbour.recheck.canonicalTar(sha256, "TAR"));
    await harbour.archives.remove(sha256);
    assert.deepEqual(await readFile(await harbour.recheck.canonicalTar(sha256, "TAR")), kept);
    await harbour.archives.remove(sha256);
    await bucket.putText(`sha256/${sha256.slice(0, 2)}/${sha256}`, "exchanged");
    await assert.rejects(harbour.recheck.canonicalTar(sha256, "RAW"));
    assert.equal(await harbour.archives.canonicalTar(sha256), undefined);
    assert.deepEqual(await harbour.leftovers(), []);
    bucket.close();
  });

  test("many slow readers keep nobody else out", async () => {
    await using folder = await TemporaryFolder.create();
    const bucket = s3.bucket("slow");
    const store = new S3BlobStore({ bucket, directory: folder.path });
    const { sha256 } = await store.write(cut(randomBytes(10 * MiB)));
    const readers = Array.from({ length: 70 }, () => store.read(sha256, 0)[Symbol.asyncIterator]());
    await Promise.all(readers.map((reader) => reader.next()));
    assert.equal(await store.size(sha256), 10 * MiB);
    await Promise.all(readers.map((reader) => reader.return?.()));
    bucket.close();
  });

  test("the prefix keeps one server's blobs from another's", async () => {
    await using folder = await TemporaryFolder.create();
    const [one, two] = ["a/b", "a/bc"].map(
      (prefix) => new S3BlobStore({ bucket: s3.bucket(prefix), directory: folder.path }),
    );
    assert.ok(one !== undefined && two !== undefined);
    const { sha256 } = await one.write(cut(Buffer.from("mine")));
    assert.equal(await two.size(sha256), undefined);
    assert.deepEqual(await Array.fromAsync(two.list()), []);
    assert.deepEqual(
      (await Array.fromAsync(one.list())).map((item) => item.sha256),
      [sha256],
    );
  });

  test("a wrong key or bucket is told at the start, and later as a store that is away, without its secrets", async () => {
    await using folder = await TemporaryFolder.create();
    await s3.bucket("x").probe();
    for (const changes of [{ secret: "not-the-secret" }, { bucket: "no-such-bucket" }]) {
      const bucket = s3.bucket("x", changes);
      await assert.rejects(bucket.probe(), (error) => {
        assert.ok(error instanceof SystemFault, String(error));
        assert.match(error.message, /check LONGSHORE_BLOBS, that the bucket exists, and the credentials/);
        return true;
      });
      const store = new S3BlobStore({ bucket, directory: folder.path });
      await assert.rejects(store.write(cut(Buffer.from("x"))), (error) => {
        assert.ok(error instanceof StoreAway, String(error));
        assert.match(error.message, /refuses this server \((SignatureDoesNotMatch|NoSuchBucket)\)/);
        assert.doesNotMatch(error.message, /not-the-secret|access-key/);
        return true;
      });
      bucket.close();
    }
  });

  test("an upload whose store is away keeps its bytes here, and ends without sending one of them again", async () => {
    const bucket = s3.bucket("away");
    await using harbour = await Harbour.open((directory) => ({
      blobs: new S3BlobStore({ bucket, directory }),
    }));
    const { blobs, get } = harbour;
    const bytes = randomBytes(3 * MiB);
    const sha256 = digestOf(bytes);
    await s3.pause();
    try {
      await assert.rejects(harbour.send(bytes), (error) => {
        assert.ok(error instanceof StoreAway, String(error));
        assert.match(error.message, /does not answer \(ECONNREFUSED\).*try again in a moment/);
        return true;
      });
      await assert.rejects(blobs.size(sha256), StoreAway);
      await assert.rejects(read(blobs.read(sha256, 0)), StoreAway);
      await assert.rejects(Array.fromAsync(blobs.list()), StoreAway);
      assert.deepEqual(
        await get.execute(TENANT, sha256).then(({ state, committedBytes }) => [state, committedBytes]),
        ["PARTIAL", bytes.length],
      );
    } finally {
      await s3.resume();
    }
    const kept = await harbour.send(bytes, { offsetBytes: bytes.length });
    assert.deepEqual([kept.receivedBytes, kept.sizeBytes], [0, bytes.length]);
    assert.equal((await get.execute(TENANT, sha256)).state, "STORED");
    assert.ok((await read(blobs.read(sha256, 0))).equals(bytes));
    assert.deepEqual(await harbour.leftovers(), []);
    bucket.close();
  });
});
