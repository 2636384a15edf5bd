/** Addresses into a real S3 server that checks signatures: what clients PUT there counts for nothing until it is checked. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { S3Addresses } from "#server/adapters/blobs/s3-addresses.ts";
import { S3BlobStore } from "#server/adapters/blobs/s3-blob-store.ts";
import type { S3Bucket } from "#server/adapters/blobs/s3-bucket.ts";
import type { UploadUrlRequest } from "#server/application/api.ts";
import { BadArchive, InvalidRequest, NotFound, Unsupported } from "#server/domain/errors.ts";
import { file, tar } from "../fixtures/archives/raw-tar.ts";
import { zip } from "../fixtures/archives/raw-zip.ts";
import { digestOf, Harbour, MAX_UPLOAD_BYTES, project, TENANT } from "../support/harbour.ts";
import { S3Server, whyNoS3Server } from "../support/s3-server.ts";

const skip = (await whyNoS3Server()) ?? false;
const DAY = 86_400_000;
const zipped = zip([{ name: "main.py", content: "print(1)\n".repeat(5000) }]);

class Quay implements AsyncDisposable {
  readonly harbour: Harbour;
  readonly bucket: S3Bucket;
  readonly addresses: S3Addresses;

  private constructor(harbour: Harbour, bucket: S3Bucket, addresses: S3Addresses) {
    this.harbour = harbour;
    this.bucket = bucket;
    this.addresses = addresses;
  }

  static async open(s3: S3Server): Promise<Quay> {
    const bucket = s3.bucket(`presigned/${randomBytes(8).toString("hex")}`);
    const opened: { addresses?: S3Addresses } = {};
    const harbour = await Harbour.open((directory) => {
      const blobs = new S3BlobStore({ bucket, directory });
      opened.addresses = new S3Addresses({ bucket, store: blobs });
      return { blobs, addresses: opened.addresses };
    });
    assert.ok(opened.addresses !== undefined);
    return new Quay(harbour, bucket, opened.addresses);
  }

  address(bytes: Uint8Array, changes: Partial<UploadUrlRequest> = {}, tenant = TENANT) {
    return this.harbour.presigned.createUploadUrl(tenant, {
      sha256: digestOf(bytes),
      sizeBytes: bytes.length,
      format: null,
      lifetimeMillis: null,
      violations: [],
      ...changes,
    });
  }

  /** What a client with a hacked store, or one that checks nothing, would bring about. */
  async smuggle(expected: Uint8Array, sent: string): Promise<void> {
    const { url } = await this.address(expected);
    const key = decodeURIComponent(new URL(url).pathname).replace(/^.*?\/incoming\//, "incoming/");
    await this.bucket.putText(key, sent);
  }

  async state(bytes: Uint8Array, tenant = TENANT): Promise<string> {
    return (await this.harbour.get.execute(tenant, digestOf(bytes))).state;
  }

  /** Everything in the bucket but stored blobs. */
  async onTheWay(): Promise<string[]> {
    const keys: string[] = [];
    for (const folder of ["incoming/", "sealed/"])
      for await (const { key } of this.bucket.list(folder)) keys.push(key);
    return keys;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.harbour[Symbol.asyncDispose]();
    this.bucket.close();
  }
}

async function put(
  { url, headers }: { url: string; headers: Readonly<Record<string, string>> },
  body: Uint8Array,
): Promise<number> {
  const answer = await fetch(url, { method: "PUT", headers, body: Buffer.from(body) });
  await answer.body?.cancel();
  return answer.status;
}

describe("an address to upload to", { skip }, () => {
  let s3: S3Server;
  before(async () => {
    s3 = await S3Server.start();
  });
  after(() => s3?.[Symbol.asyncDispose]());

  test("takes the bytes, which are stored once they were asked for, and nothing is left on the way", async () => {
    await using quay = await Quay.open(s3);
    const bytes = randomBytes(2_000_000);
    assert.equal(await put(await quay.address(bytes), bytes), 200);
    assert.equal((await quay.onTheWay()).length, 1);
    const [one, two] = await Promise.all([quay.state(bytes), quay.state(bytes)]);
    assert.deepEqual([one, two], ["STORED", "STORED"]);
    assert.deepEqual(await quay.harbour.downloaded(digestOf(bytes)), bytes);
    assert.deepEqual(await quay.onTheWay(), []);
    assert.deepEqual(await quay.harbour.leftovers(), []);
    assert.equal(await quay.state(bytes, "other"), "MISSING");
  });

  for (const [name, bytes, format] of [
    ["a tar", project(), "TAR"],
    ["a zip", zipped, "ZIP"],
    ["a zip that nobody said is one", zipped, null],
    ["nothing at all", Buffer.alloc(0), null],
    ["a few bytes", Buffer.from("few"), null],
  ] as const) {
    test(`takes ${name}`, async () => {
      await using quay = await Quay.open(s3);
      assert.equal(await put(await quay.address(bytes, { format }), bytes), 200);
      const record = await quay.harbour.presigned.find(TENANT, digestOf(bytes));
      assert.equal(record?.state, "STORED");
      assert.equal(record?.format, bytes.length < 100 ? "RAW" : name.includes("zip") ? "ZIP" : "TAR");
      assert.equal(record?.manifest?.topLevelScripts.includes("main.py") ?? false, bytes.length >= 100);
      assert.deepEqual(await quay.harbour.leftovers(), []);
    });
  }

  test("refuses other bytes, another length, another key and a changed signature in the store itself", async () => {
    await using quay = await Quay.open(s3);
    const bytes = Buffer.from("the bytes that were announced");
    const address = await quay.address(bytes);
    const others = Buffer.from("the bytes that weren't announ");
    assert.equal(others.length, bytes.length);
    assert.equal(await put(address, others), 400);
    assert.equal(await put(address, Buffer.from("short")), 403);
    assert.equal(await put({ ...address, headers: {} }, bytes), 403);
    const elsewhere = address.url.replace("/incoming/", "/sha256/");
    assert.equal(await put({ ...address, url: elsewhere }, bytes), 403);
    const forged = address.url.replace(
      /X-Amz-Signature=(.)/,
      (_, first) => `X-Amz-Signature=${first === "0" ? "1" : "0"}`,
    );
    assert.equal(await put({ ...address, url: forged }, bytes), 403);
    assert.equal(await quay.state(bytes), "MISSING");
    assert.equal(await put(address, bytes), 200);
    assert.equal(await quay.state(bytes), "STORED");
  });

  test("works for its lifetime only", async () => {
    await using quay = await Quay.open(s3);
    const bytes = Buffer.from("late");
    const address = await quay.address(bytes, { lifetimeMillis: 1 });
    // Its clock counts whole seconds; whatever was put until then is not looked at.
    const signal = AbortSignal.timeout(20_000);
    while ((await put(address, bytes)) === 200) signal.throwIfAborted();
    assert.equal(await put(address, bytes), 403);
  });

  test("that brought something else than it was made for is refused for good; another may bring the right bytes", async () => {
    await using quay = await Quay.open(s3);
    const bytes = Buffer.from("the bytes that were announced");
    for (const [sent, reason] of [
      ["the bytes that weren't announ", /the bytes have the SHA-256 [0-9a-f]{64}, not [0-9a-f]{64}/],
      ["more bytes than were announced for sure", /39 bytes came where size_bytes announced 29/],
    ] as const) {
      await quay.smuggle(bytes, sent);
      const status = await quay.harbour.get.execute(TENANT, digestOf(bytes));
      assert.equal(status.state, "MISSING");
      assert.match(status.refusal, reason);
      assert.match((await quay.harbour.get.execute(TENANT, digestOf(bytes))).refusal, reason);
      assert.equal(await quay.harbour.presigned.find(TENANT, digestOf(bytes)), undefined);
      await assert.rejects(quay.harbour.downloaded(digestOf(bytes)), NotFound);
      assert.equal(await quay.harbour.blobs.size(digestOf(bytes)), undefined);
      assert.equal(await quay.harbour.blobs.size(digestOf(Buffer.from(sent))), undefined);
    }
    assert.equal(await put(await quay.address(bytes), bytes), 200);
    assert.equal(await quay.state(bytes), "STORED");
  });

  test("refused bytes leave the way to UploadBlob open", async () => {
    await using quay = await Quay.open(s3);
    const bytes = Buffer.from("right");
    await quay.smuggle(bytes, "wrong");
    assert.equal(await quay.state(bytes), "MISSING");
    await quay.harbour.send(bytes);
    assert.equal(await quay.state(bytes), "STORED");
  });

  test("a project that breaks a rule is refused like any other upload of it", async () => {
    await using quay = await Quay.open(s3);
    const bytes = tar(file("../escape.py"));
    assert.equal(await put(await quay.address(bytes, { format: "TAR" }), bytes), 200);
    const status = await quay.harbour.get.execute(TENANT, digestOf(bytes));
    assert.equal(status.state, "REFUSED");
    assert.match(status.refusal, /parent-path/);
    await assert.rejects(quay.address(bytes), BadArchive);
    await assert.rejects(quay.harbour.send(bytes), BadArchive);
    assert.deepEqual(await quay.onTheWay(), []);
  });

  test("what is exchanged while it is checked changes nothing", async () => {
    await using quay = await Quay.open(s3);
    const bytes = Buffer.from("checked");
    await quay.smuggle(bytes, "checked");
    const [arrival] = await quay.addresses.arrivals(TENANT, digestOf(bytes));
    assert.ok(arrival !== undefined);
    const sealed = await arrival.seal();
    assert.ok(sealed !== undefined);
    await quay.smuggle(bytes, "evil...");
    for (const key of await quay.onTheWay())
      if (key.startsWith("incoming/")) await quay.bucket.putText(key, "evil...");
    await sealed.accept(digestOf(bytes));
    await sealed[Symbol.asyncDispose]();
    const stored = await Array.fromAsync(quay.harbour.blobs.read(digestOf(bytes), 0));
    assert.equal(Buffer.concat(stored).toString(), "checked");
  });

  test("nobody else's bytes, and none that nobody asked for in time, are kept", async () => {
    await using quay = await Quay.open(s3);
    const [used, refused] = [Buffer.from("used"), Buffer.from("refused")];
    assert.equal(await put(await quay.address(used), used), 200);
    assert.equal(await quay.state(used, "other"), "MISSING");
    await quay.smuggle(refused, "???????");
    assert.match((await quay.harbour.get.execute(TENANT, digestOf(refused))).refusal, /SHA-256/);
    assert.equal(await quay.addresses.removeExpired(new Date()), 0);
    assert.equal(await quay.addresses.removeExpired(new Date(Date.now() + 2 * DAY)), 2);
    assert.equal(await quay.state(used), "MISSING");
    assert.equal((await quay.harbour.get.execute(TENANT, digestOf(refused))).refusal, "");
  });

  test("is not made for what is too large, or for too long", async () => {
    await using quay = await Quay.open(s3);
    const wrong = { sizeBytes: MAX_UPLOAD_BYTES + 1, lifetimeMillis: DAY };
    await assert.rejects(quay.address(Buffer.from("x"), wrong), (error) => {
      assert.ok(error instanceof InvalidRequest);
      assert.deepEqual(error.violations.map(({ field }) => field).sort(), ["lifetime", "size_bytes"]);
      return true;
    });
  });
});

describe("an address to download from", { skip }, () => {
  let s3: S3Server;
  before(async () => {
    s3 = await S3Server.start();
  });
  after(() => s3?.[Symbol.asyncDispose]());

  test("gives the bytes of a stored blob of the tenant, and nothing else", async () => {
    await using quay = await Quay.open(s3);
    const bytes = randomBytes(100_000);
    await quay.harbour.send(bytes);
    const request = { sha256: digestOf(bytes), lifetimeMillis: null, violations: [] };
    const { url } = await quay.harbour.presigned.createDownloadUrl(TENANT, request);
    assert.deepEqual(Buffer.from(await (await fetch(url)).arrayBuffer()), bytes);
    const other = await fetch(url.replace(digestOf(bytes), "0".repeat(64)));
    assert.equal(other.status, 403);
    await other.body?.cancel();
    await assert.rejects(quay.harbour.presigned.createDownloadUrl("other", request), NotFound);
    const unknown = { ...request, sha256: "0".repeat(64) };
    await assert.rejects(quay.harbour.presigned.createDownloadUrl(TENANT, unknown), NotFound);
  });
});

test("a store of files has no addresses", async () => {
  await using harbour = await Harbour.open();
  const request = {
    sha256: "0".repeat(64),
    sizeBytes: 1,
    format: null,
    lifetimeMillis: null,
    violations: [],
  };
  await assert.rejects(harbour.presigned.createUploadUrl(TENANT, request), Unsupported);
  await assert.rejects(harbour.presigned.createDownloadUrl(TENANT, request), Unsupported);
});
