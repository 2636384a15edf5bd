import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { describe, test } from "node:test";
import { NotFound, OffsetBeyondEnd, UploadInProgress } from "#server/domain/errors.ts";
import type { BlobStore } from "#server/domain/ports/blob-store.ts";

export interface OpenStore extends AsyncDisposable {
  readonly store: BlobStore;
}

const MiB = 2 ** 20;
const digestOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const NOWHERE = "0".repeat(64);

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) {
    assert.ok(chunk.length > 0 && chunk.length <= MiB, `a chunk of ${chunk.length} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function* of(...chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

async function stored(store: BlobStore, bytes: Uint8Array): Promise<string> {
  return (await store.write(of(bytes))).sha256;
}

/** What every blob store does. */
export function blobStoreContract(name: string, open: () => Promise<OpenStore>, skip?: string): void {
  describe(`blob store: ${name}`, { skip: skip ?? false }, () => {
    test("bytes of unknown digest are stored under it and read back from any offset", async () => {
      await using lab = await open();
      const bytes = randomBytes(2 * MiB + 17);
      const written = await lab.store.write(of(bytes.subarray(0, 5), bytes.subarray(5)));
      assert.deepEqual(written, { sha256: digestOf(bytes), sizeBytes: bytes.length });
      assert.equal(await lab.store.size(written.sha256), bytes.length);
      for (const offset of [0, 1, MiB, 2 * MiB + 16, bytes.length]) {
        assert.deepEqual(await collect(lab.store.read(written.sha256, offset)), bytes.subarray(offset));
      }
    });

    test("no bytes are a blob too", async () => {
      await using lab = await open();
      const written = await lab.store.write(of());
      assert.deepEqual(written, { sha256: digestOf(Buffer.alloc(0)), sizeBytes: 0 });
      assert.equal((await collect(lab.store.read(written.sha256, 0))).length, 0);
    });

    test("an offset beyond the end and an unknown digest are told apart", async () => {
      await using lab = await open();
      const sha256 = await stored(lab.store, Buffer.from("abc"));
      await assert.rejects(collect(lab.store.read(sha256, 4)), OffsetBeyondEnd);
      await assert.rejects(collect(lab.store.read(NOWHERE, 0)), NotFound);
      assert.equal(await lab.store.size(NOWHERE), undefined);
    });

    test("an aborted read and an aborted write stop with the signal's reason and store nothing", async () => {
      await using lab = await open();
      const bytes = randomBytes(3 * MiB);
      const sha256 = await stored(lab.store, bytes);
      const reader = new AbortController();
      const reason = new Error("enough");
      await assert.rejects(async () => {
        for await (const _ of lab.store.read(sha256, 0, reader.signal)) reader.abort(reason);
      }, reason);
      const writer = new AbortController();
      const cut = async function* () {
        yield Buffer.from("first");
        writer.abort(reason);
        yield Buffer.from("second");
      };
      await assert.rejects(lab.store.write(cut(), writer.signal), reason);
      assert.equal(await lab.store.size(digestOf(Buffer.from("first"))), undefined);
      assert.equal(await lab.store.removeStagedBefore(new Date(Date.now() + 60_000)), 0);
    });

    test("a failing source leaves nothing behind", async () => {
      await using lab = await open();
      const broken = async function* () {
        yield Buffer.from("half");
        throw new Error("the pipe broke");
      };
      await assert.rejects(lab.store.write(broken()), /the pipe broke/);
      assert.equal(await lab.store.removeStagedBefore(new Date(Date.now() + 60_000)), 0);
    });

    test("a staged upload keeps its bytes when it is let go, and is taken up where it stopped", async () => {
      await using lab = await open();
      {
        await using first = await lab.store.stage("key");
        assert.equal(first.committedBytes, 0);
        await first.append(Buffer.from("one "));
        await first.append(Buffer.from("two "));
        await first.commit();
      }
      assert.equal(await lab.store.stagedBytes("key"), 8);
      assert.equal(await lab.store.stagedBytes("other"), 0);
      await using second = await lab.store.stage("key");
      assert.equal(second.committedBytes, 8);
      assert.equal((await collect(second.read())).toString(), "one two ");
      await second.append(Buffer.from("three"));
      const sha256 = digestOf(Buffer.from("one two three"));
      await second.promote(sha256);
      assert.equal((await collect(lab.store.read(sha256, 0))).toString(), "one two three");
      assert.equal(await lab.store.stagedBytes("key"), 0);
    });

    test("one writer at a time for a key; the next may come once it is let go", async () => {
      await using lab = await open();
      const first = await lab.store.stage("key");
      await assert.rejects(lab.store.stage("key"), UploadInProgress);
      await using _ = await lab.store.stage("another key");
      await first[Symbol.asyncDispose]();
      const second = await lab.store.stage("key");
      await second.discard();
      await using third = await lab.store.stage("key");
      await third.append(Buffer.from("x"));
      await third.promote(digestOf(Buffer.from("x")));
      await using fourth = await lab.store.stage("key");
      assert.equal(fourth.committedBytes, 0);
    });

    test("of two that ask for a key at the same time, one gets it", async () => {
      await using lab = await open();
      const asked = await Promise.allSettled([lab.store.stage("key"), lab.store.stage("key")]);
      assert.deepEqual(asked.map((result) => result.status).sort(), ["fulfilled", "rejected"]);
      for (const result of asked) if (result.status === "fulfilled") await result.value.discard();
    });

    test("discarded bytes are gone, and everything may be ended twice", async () => {
      await using lab = await open();
      const staged = await lab.store.stage("key");
      await staged.append(Buffer.from("bytes"));
      await staged.discard();
      await staged.discard();
      await staged[Symbol.asyncDispose]();
      assert.equal(await lab.store.stagedBytes("key"), 0);
    });

    test("the same bytes may be promoted twice, and read on while they are", async () => {
      await using lab = await open();
      const bytes = randomBytes(2 * MiB);
      const sha256 = await stored(lab.store, bytes);
      const reading = lab.store.read(sha256, 0)[Symbol.asyncIterator]();
      const head = await reading.next();
      await stored(lab.store, bytes);
      const rest = await collect({ [Symbol.asyncIterator]: () => reading });
      assert.deepEqual(Buffer.concat([head.value ?? Buffer.alloc(0), rest]), bytes);
    });

    test("a removed blob is gone, and removing it again is no fault", async () => {
      await using lab = await open();
      const sha256 = await stored(lab.store, Buffer.from("abc"));
      await lab.store.remove(sha256);
      await lab.store.remove(sha256);
      assert.equal(await lab.store.size(sha256), undefined);
    });

    test("a blob is removed by age only if it did not come again since", async () => {
      await using lab = await open();
      const bytes = Buffer.from("abc");
      const sha256 = await stored(lab.store, bytes);
      const [item] = await Array.fromAsync(lab.store.list());
      assert.equal(item?.sha256, sha256);
      const came = item?.time ?? new Date(0);
      assert.equal(await lab.store.removeBefore(sha256, came), false);
      assert.equal(await lab.store.removeBefore(NOWHERE, new Date(Date.now() + 60_000)), false);
      assert.equal(await lab.store.size(sha256), bytes.length);
      assert.equal(await lab.store.removeBefore(sha256, new Date(Date.now() + 60_000)), true);
      assert.equal(await lab.store.size(sha256), undefined);
      assert.deepEqual(await Array.fromAsync(lab.store.list()), []);
    });

    test("a blob that comes while an equal one is collected is there afterwards or was never told of", async () => {
      await using lab = await open();
      const bytes = Buffer.from("abc");
      const sha256 = await stored(lab.store, bytes);
      const past = new Date(Date.now() - 60_000);
      for (let round = 0; round < 20; round++) {
        await Promise.all([lab.store.write(of(bytes)), lab.store.removeBefore(sha256, past)]);
        assert.equal(await lab.store.size(sha256), bytes.length);
      }
    });

    test("old staged uploads are collected, those in use are not", async () => {
      await using lab = await open();
      for (const key of ["a", "b"]) {
        await using staged = await lab.store.stage(key);
        await staged.append(Buffer.from(key));
      }
      await using inUse = await lab.store.stage("c");
      await inUse.append(Buffer.from("c"));
      assert.equal(await lab.store.removeStagedBefore(new Date(Date.now() - 60_000)), 0);
      assert.equal(await lab.store.removeStagedBefore(new Date(Date.now() + 60_000)), 2);
      assert.equal(await lab.store.stagedBytes("a"), 0);
      assert.equal(await lab.store.stagedBytes("c"), 1);
    });
  });
}
