import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { FileArchiveReader } from "#server/adapters/archive/file-archive-reader.ts";
import { FileBlobStore } from "#server/adapters/blobs/file-blob-store.ts";
import { DownloadBlob } from "#server/application/download-blob.ts";
import { GetBlob } from "#server/application/get-blob.ts";
import { RecheckArchive } from "#server/application/recheck-archive.ts";
import { UploadBlob, type UploadHeader } from "#server/application/upload-blob.ts";
import { type ArchiveLimits, DEFAULT_ARCHIVE_LIMITS } from "#server/domain/blob.ts";
import {
  BadArchive,
  DigestMismatch,
  InvalidRequest,
  NotFound,
  OffsetBeyondEnd,
  Unavailable,
  UploadInProgress,
  WrongOffset,
} from "#server/domain/errors.ts";
import { file, folder, tar, tarEntry } from "../fixtures/archives/raw-tar.ts";
import { zip } from "../fixtures/archives/raw-zip.ts";
import { unpack } from "../support/archive-lab.ts";
import { MemoryDatabase } from "../support/fakes/memory-database.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const run = promisify(execFile);
const TENANT = "tenant";
const TIME = new Date("2026-01-02T03:04:05Z");
const MAX_UPLOAD_BYTES = 8 * 2 ** 20;
const digestOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** The use cases over real adapters; the index alone is in memory. */
class Harbour implements AsyncDisposable {
  readonly folder: TemporaryFolder;
  readonly index = new MemoryDatabase().blobs;
  readonly blobs: FileBlobStore;
  readonly archives: FileArchiveReader;
  readonly upload: UploadBlob;
  readonly get: GetBlob;
  readonly download: DownloadBlob;
  readonly recheck: RecheckArchive;

  static async open(limits: Partial<ArchiveLimits> = {}): Promise<Harbour> {
    return new Harbour(await TemporaryFolder.create(), { ...DEFAULT_ARCHIVE_LIMITS, ...limits });
  }

  private constructor(folder: TemporaryFolder, limits: ArchiveLimits) {
    this.folder = folder;
    this.blobs = new FileBlobStore({ directory: folder.path });
    this.archives = new FileArchiveReader({ directory: folder.path, limits });
    const { blobs, index, archives } = this;
    this.upload = new UploadBlob({
      blobs,
      index,
      archives,
      maxUploadBytes: MAX_UPLOAD_BYTES,
      clock: () => TIME,
    });
    this.get = new GetBlob({ blobs, index, archives });
    this.download = new DownloadBlob({ blobs, index });
    this.recheck = new RecheckArchive({ blobs, archives });
  }

  send(
    bytes: Uint8Array,
    header: Partial<UploadHeader> = {},
    options: {
      tenant?: string;
      purpose?: "project" | "blob";
      chunks?: AsyncIterable<Uint8Array>;
      signal?: AbortSignal;
    } = {},
  ) {
    return this.upload.execute(
      {
        tenant: options.tenant ?? TENANT,
        header: { sha256: digestOf(bytes), sizeBytes: bytes.length, offsetBytes: 0, format: null, ...header },
        purpose: options.purpose ?? "blob",
      },
      options.chunks ?? cut(bytes.subarray(header.offsetBytes ?? 0)),
      options.signal ?? new AbortController().signal,
    );
  }

  /** Every file that an upload may have left half-made. */
  async leftovers(): Promise<string[]> {
    const below = (...parts: string[]) => readdir(this.folder.at(...parts)).catch(() => []);
    return [...(await below("uploads")), ...(await below("archives", "tmp"))];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.folder[Symbol.asyncDispose]();
  }
}

async function* cut(bytes: Uint8Array, size = 100_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** A client that must not be asked for anything. */
async function* unread(): AsyncGenerator<Uint8Array> {
  yield assert.fail("bytes were asked for");
}

/** Sends the first `count` bytes, then loses the connection. */
async function* lostAfter(bytes: Uint8Array, count: number): AsyncGenerator<Uint8Array> {
  yield* cut(bytes.subarray(0, count));
  throw new Error("the client is gone");
}

const project = () => tar(folder("src"), file("main.py", randomBytes(400_000)), file("src/a.py"));
const badAtTheEnd = () =>
  tar(file("main.py", randomBytes(300_000)), tarEntry({ name: "ln", type: "2", linkname: "/" }));

describe("upload: what is stored", () => {
  for (const [title, format, bytes] of [
    ["a tar", "TAR", project()],
    ["a tar.gz", "TAR_GZ", gzipSync(project())],
    [
      "a zip",
      "ZIP",
      zip([
        { name: "main.py", content: "x" },
        { name: "src/a.py", content: randomBytes(400_000) },
      ]),
    ],
  ] as const) {
    test(`${title} is told by its bytes, stored as sent, and kept as a canonical tar`, async () => {
      await using harbour = await Harbour.open();
      const sent = await harbour.send(bytes);
      assert.deepEqual(sent, {
        sha256: digestOf(bytes),
        sizeBytes: bytes.length,
        format,
        manifest: sent.manifest,
        receivedBytes: bytes.length,
      });
      assert.deepEqual(sent.manifest?.topLevelScripts, ["main.py"]);
      assert.deepEqual(await harbour.index.find(TENANT, sent.sha256), {
        tenant: TENANT,
        sha256: sent.sha256,
        sizeBytes: bytes.length,
        format,
        state: "STORED",
        refusal: "",
        validatorVersion: harbour.archives.version,
        createTime: TIME,
        manifest: sent.manifest,
      });
      assert.deepEqual(await downloaded(harbour, sent.sha256), bytes);
      assert.ok(await harbour.archives.has(sent.sha256, "src/a.py", "file"));
      assert.ok(await harbour.archives.has(sent.sha256, "./src/", "folder"));
      assert.ok(await harbour.archives.has(sent.sha256, ".", "folder"));
      assert.ok(!(await harbour.archives.has(sent.sha256, "src", "file")));
      assert.ok(!(await harbour.archives.has(sent.sha256, "src/../main.py", "file")));
      assert.deepEqual(await harbour.leftovers(), []);
    });
  }

  test("raw bytes are stored without a look, if they say that they are raw or look like nothing", async () => {
    await using harbour = await Harbour.open();
    const csv = randomBytes(200_000);
    const evil = tar(file("../x"));
    assert.equal((await harbour.send(csv)).format, "RAW");
    assert.equal((await harbour.send(gzipSync(csv))).format, "RAW");
    const kept = await harbour.send(evil, { format: "RAW" });
    assert.equal(kept.format, "RAW");
    assert.equal(kept.manifest, null);
    assert.equal((await harbour.send(Buffer.alloc(0))).sizeBytes, 0);
  });

  test("a project needs neither digest nor size", async () => {
    await using harbour = await Harbour.open();
    const bytes = project();
    const sent = await harbour.send(bytes, { sha256: "", sizeBytes: 0 }, { purpose: "project" });
    assert.equal(sent.sha256, digestOf(bytes));
    assert.equal((await harbour.get.execute(TENANT, sent.sha256)).state, "STORED");
  });

  test("the second time nothing is sent", async () => {
    await using harbour = await Harbour.open();
    const bytes = project();
    const first = await harbour.send(bytes);
    const second = await harbour.send(bytes, {}, { chunks: unread() });
    assert.deepEqual(second, { ...first, receivedBytes: 0 });
  });
});

describe("upload: what is known to one tenant is not known to another", () => {
  test("another tenant's digest must be sent in full, and is then stored once", async () => {
    await using harbour = await Harbour.open();
    const bytes = project();
    const sha256 = digestOf(bytes);
    await harbour.send(bytes);
    assert.equal((await harbour.get.execute("other", sha256)).state, "MISSING");
    await assert.rejects(downloaded(harbour, sha256, 0, "other"), NotFound);
    const sent = await harbour.send(bytes, {}, { tenant: "other" });
    assert.equal(sent.receivedBytes, bytes.length);
    assert.deepEqual(await downloaded(harbour, sha256, 0, "other"), bytes);
    assert.equal((await readdir(harbour.folder.at("blobs", "sha256", sha256.slice(0, 2)))).length, 1);
  });

  test("another tenant's unfinished upload does not show, and neither blocks nor feeds one's own", async () => {
    await using harbour = await Harbour.open();
    const bytes = project();
    await assert.rejects(harbour.send(bytes, {}, { chunks: lostAfter(bytes, 200_000) }), /client is gone/);
    assert.equal((await harbour.get.execute("other", digestOf(bytes))).committedBytes, 0);
    assert.equal((await harbour.send(bytes, {}, { tenant: "other" })).receivedBytes, bytes.length);
    assert.equal((await harbour.get.execute(TENANT, digestOf(bytes))).state, "PARTIAL");
  });
});

describe("upload: going on where it stopped", () => {
  for (const [title, bytes] of [
    ["a tar", project()],
    ["a tar.gz", gzipSync(project())],
    ["a zip", zip([{ name: "main.py", content: randomBytes(400_000) }])],
  ] as const) {
    test(`${title} cut at half resumes and is checked as a whole`, async () => {
      await using harbour = await Harbour.open();
      const sha256 = digestOf(bytes);
      await assert.rejects(harbour.send(bytes, {}, { chunks: lostAfter(bytes, 200_000) }), /client is gone/);
      const partial = await harbour.get.execute(TENANT, sha256);
      assert.deepEqual([partial.state, partial.committedBytes], ["PARTIAL", 200_000]);
      await assert.rejects(harbour.send(bytes), (error) => {
        assert.ok(error instanceof WrongOffset);
        assert.equal(error.metadata.committed_bytes, "200000");
        return true;
      });
      const sent = await harbour.send(bytes, { offsetBytes: 200_000 });
      assert.equal(sent.receivedBytes, bytes.length - 200_000);
      assert.deepEqual(await downloaded(harbour, sha256), bytes);
      const path = await harbour.archives.canonicalTar(sha256);
      assert.ok(path !== undefined);
      assert.deepEqual(await harbour.leftovers(), []);
    });
  }

  test("an upload cut at many places, a few bytes at a time", async () => {
    await using harbour = await Harbour.open();
    const bytes = gzipSync(tar(file("main.py", randomBytes(5000)), file("b")));
    let committed = 0;
    for (let end = 1; end < bytes.length; end += 701) {
      const part = bytes.subarray(committed, end);
      await assert.rejects(
        harbour.send(bytes, { offsetBytes: committed }, { chunks: lostAfter(part, part.length) }),
        /client is gone/,
      );
      committed = (await harbour.get.execute(TENANT, digestOf(bytes))).committedBytes;
      assert.equal(committed, end);
    }
    assert.equal((await harbour.send(bytes, { offsetBytes: committed })).manifest?.fileCount, 2);
  });

  test("a cancelled upload keeps its bytes, also when the client just fell silent", async () => {
    await using harbour = await Harbour.open();
    const bytes = project();
    const cancel = new AbortController();
    const reason = new Error("cancelled");
    const silent = async function* () {
      yield bytes.subarray(0, 1000);
      setImmediate(() => cancel.abort(reason));
      await new Promise(() => undefined);
    };
    await assert.rejects(harbour.send(bytes, {}, { chunks: silent(), signal: cancel.signal }), reason);
    assert.equal((await harbour.get.execute(TENANT, digestOf(bytes))).committedBytes, 1000);
    assert.equal((await harbour.leftovers()).length, 1);
    // Nothing holds the upload any more.
    await harbour.send(bytes, { offsetBytes: 1000 });
  });

  test("without a digest, or without a size, a lost upload leaves nothing", async () => {
    await using harbour = await Harbour.open();
    const bytes = project();
    const chunks = () => lostAfter(bytes, 200_000);
    await assert.rejects(
      harbour.send(bytes, { sha256: "" }, { chunks: chunks(), purpose: "project" }),
      /client is gone/,
    );
    await assert.rejects(harbour.send(bytes, { sizeBytes: 0 }, { chunks: chunks() }), /client is gone/);
    assert.deepEqual(await harbour.leftovers(), []);
  });

  test("a second stream of the same upload is told to wait", async () => {
    await using harbour = await Harbour.open();
    const bytes = project();
    const arrived = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    const slow = async function* () {
      yield bytes.subarray(0, 1000);
      arrived.resolve();
      await goOn.promise;
      yield* cut(bytes.subarray(1000));
    };
    const first = harbour.send(bytes, {}, { chunks: slow() });
    await arrived.promise;
    await assert.rejects(harbour.send(bytes, {}, { chunks: unread() }), UploadInProgress);
    goOn.resolve();
    assert.equal((await first).receivedBytes, bytes.length);
  });
});

describe("upload: what is refused", () => {
  test("every wrong field of the header at once", async () => {
    await using harbour = await Harbour.open();
    const wrong = { sha256: "ABC", sizeBytes: MAX_UPLOAD_BYTES + 1, offsetBytes: -1, format: "RAW" } as const;
    await assert.rejects(
      harbour.send(Buffer.alloc(1), wrong, { chunks: unread(), purpose: "project" }),
      (error) => {
        assert.ok(error instanceof InvalidRequest);
        assert.deepEqual(
          error.violations.map(({ field }) => field),
          ["sha256", "size_bytes", "offset_bytes", "format"].map((field) => `header.archive.${field}`),
        );
        return true;
      },
    );
    await assert.rejects(harbour.send(Buffer.alloc(1), { sha256: "" }, { chunks: unread() }), InvalidRequest);
    await assert.rejects(
      harbour.send(Buffer.alloc(1), { sizeBytes: 0, offsetBytes: 5 }, { chunks: unread() }),
      InvalidRequest,
    );
  });

  test("another digest, too few bytes and too many, each with nothing left behind", async () => {
    await using harbour = await Harbour.open();
    const bytes = randomBytes(300_000);
    const sha256 = digestOf(bytes);
    await assert.rejects(harbour.send(bytes, { sha256: "0".repeat(64) }), DigestMismatch);
    await assert.rejects(harbour.send(bytes, { sizeBytes: 300_001 }), DigestMismatch);
    const more = async function* () {
      yield* cut(bytes);
      yield Buffer.of(1);
      assert.fail("more was asked for than announced");
    };
    await assert.rejects(harbour.send(bytes, {}, { chunks: more() }), DigestMismatch);
    assert.equal((await harbour.get.execute(TENANT, sha256)).state, "MISSING");
    assert.deepEqual(await harbour.leftovers(), []);
  });

  test("more than the server takes, as soon as it is known", async () => {
    await using harbour = await Harbour.open();
    let sent = 0;
    const endless = async function* () {
      for (;;) {
        sent += 2 ** 20;
        yield Buffer.alloc(2 ** 20);
      }
    };
    await assert.rejects(
      harbour.send(Buffer.alloc(0), { sizeBytes: 0, format: "RAW" }, { chunks: endless() }),
      InvalidRequest,
    );
    assert.ok(sent <= MAX_UPLOAD_BYTES + 2 ** 20);
    assert.deepEqual(await harbour.leftovers(), []);
  });

  test("a chunk over 1 MiB; what came before it stays", async () => {
    await using harbour = await Harbour.open();
    const bytes = randomBytes(2 ** 20 + 10);
    const chunks = (async function* () {
      yield bytes.subarray(0, 9);
      yield Buffer.concat([bytes.subarray(9), Buffer.alloc(9)]);
    })();
    await assert.rejects(harbour.send(bytes, {}, { chunks }), (error) => {
      assert.ok(error instanceof InvalidRequest);
      assert.equal(error.violations[0]?.field, "chunk");
      return true;
    });
    assert.equal((await harbour.get.execute(TENANT, digestOf(bytes))).committedBytes, 9);
  });

  test("a bad entry early on, before the rest is sent; that is no verdict on the digest", async () => {
    await using harbour = await Harbour.open();
    const bytes = Buffer.concat([file("../x"), randomBytes(600_000)]);
    const early = async function* () {
      yield bytes.subarray(0, 8192);
      yield bytes.subarray(8192, 9000);
      assert.fail("more was asked for after the bad entry");
    };
    await assert.rejects(harbour.send(bytes, {}, { chunks: early() }), (error) => {
      assert.ok(error instanceof BadArchive);
      assert.deepEqual(error.metadata, { rule: "parent-path", entry: "../x" });
      return true;
    });
    assert.equal((await harbour.get.execute(TENANT, digestOf(bytes))).state, "MISSING");
    assert.deepEqual(await harbour.leftovers(), []);
  });

  for (const [title, bytes] of [
    ["a tar whose last entry is bad", badAtTheEnd()],
    ["a small tar", tar(file("../x"))],
    [
      "a zip",
      zip([
        { name: "main.py", content: "x" },
        { name: "ln", mode: 0o120777 },
      ]),
    ],
    ["a tar that is cut short", project().subarray(0, 300_000)],
  ] as const) {
    test(`${title}, and once its digest is verified it stays refused without being sent again`, async () => {
      await using harbour = await Harbour.open();
      const verdict = async (chunks?: AsyncIterable<Uint8Array>) => {
        const refused = await harbour
          .send(bytes, {}, chunks === undefined ? {} : { chunks })
          .catch((error: unknown) => error);
        assert.ok(refused instanceof BadArchive, String(refused));
        return { message: refused.message, metadata: refused.metadata };
      };
      const first = await verdict();
      assert.deepEqual(await verdict(unread()), first);
      const status = await harbour.get.execute(TENANT, digestOf(bytes));
      assert.equal(status.state, "REFUSED");
      assert.ok(
        status.refusal.startsWith(first.metadata.rule ?? "?") && status.refusal.endsWith(first.message),
      );
      assert.equal((await harbour.get.execute("other", digestOf(bytes))).state, "MISSING");
      assert.deepEqual(await harbour.leftovers(), []);
      assert.equal(await harbour.blobs.size(digestOf(bytes)), undefined);
      // As raw bytes it is welcome.
      assert.equal((await harbour.send(bytes, { format: "RAW" })).format, "RAW");
    });
  }

  test("a refusal under a wrong digest does not poison that digest", async () => {
    await using harbour = await Harbour.open();
    const good = project();
    const evil = tar(file("../x"), file("b", randomBytes(10_000)));
    await assert.rejects(harbour.send(evil, { sha256: digestOf(good) }), BadArchive);
    assert.equal((await harbour.send(good)).manifest?.fileCount, 2);
  });

  test("a declared format that the bytes contradict", async () => {
    await using harbour = await Harbour.open();
    const declared = [
      [gzipSync(project()), "ZIP", /declared zip, but the bytes are a tar.gz/],
      [project(), "TAR_GZ", /declared tar.gz, but the bytes are a tar/],
      [zip([{ name: "a" }]), "TAR", /declared tar, but the bytes are a zip/],
      [randomBytes(9000), "ZIP", /declared zip, but the bytes do not begin like one/],
      [randomBytes(9000), "TAR_GZ", /declared tar.gz, but the bytes are no gzip/],
      [randomBytes(9000), "TAR", /not a tar/],
    ] as const;
    for (const [bytes, format, message] of declared) {
      await assert.rejects(
        harbour.send(bytes, { format }),
        (error) => error instanceof BadArchive && message.test(error.message),
      );
    }
    for (const bytes of [randomBytes(9000), Buffer.from("hi"), Buffer.alloc(0)]) {
      await assert.rejects(harbour.send(bytes, { sha256: "" }, { purpose: "project" }), BadArchive);
    }
    assert.deepEqual(await harbour.leftovers(), []);
  });
});

describe("upload: a full disk", () => {
  test("is said plainly, takes nothing of the room that is left, and passes", async (context) => {
    await using harbour = await Harbour.open();
    const mounted = await run("mount", [
      "-t",
      "tmpfs",
      "-o",
      "size=1m,mode=0700",
      "tmpfs",
      harbour.folder.path,
    ]).catch((error: Error) => error);
    if (mounted instanceof Error)
      return context.skip(`mounting a small filesystem needs root: ${mounted.message}`);
    try {
      // As sent it fits; with its canonical tar beside it, it does not.
      const bytes = tar(file("main.py", randomBytes(700_000)));
      await assert.rejects(
        harbour.send(bytes),
        (error) => error instanceof Unavailable && /disk is full/.test(error.message),
      );
      assert.deepEqual(await harbour.leftovers(), []);
      assert.equal((await harbour.get.execute(TENANT, digestOf(bytes))).state, "MISSING");
      assert.equal((await harbour.send(tar(file("main.py", randomBytes(300_000))))).manifest?.fileCount, 1);
    } finally {
      await run("umount", [harbour.folder.path]);
    }
  });
});

describe("upload: verdicts made anew", () => {
  test("bytes stored raw become an archive without being sent again, and stay raw when they are none", async () => {
    await using harbour = await Harbour.open();
    for (const bytes of [zip([{ name: "main.py" }]), gzipSync(project())]) {
      await harbour.send(bytes, { format: "RAW" });
      const sent = await harbour.send(bytes, {}, { purpose: "project", chunks: unread() });
      assert.equal(sent.receivedBytes, 0);
      assert.deepEqual(sent.manifest?.topLevelScripts, ["main.py"]);
      assert.equal((await harbour.index.find(TENANT, sent.sha256))?.format, sent.format);
    }
    const evil = tar(file("../x"));
    await harbour.send(evil, { format: "RAW" });
    await assert.rejects(harbour.send(evil, {}, { purpose: "project", chunks: unread() }), BadArchive);
    assert.equal((await harbour.get.execute(TENANT, digestOf(evil))).state, "STORED");
    assert.deepEqual(await harbour.leftovers(), []);
  });

  test("a collected canonical tar is derived from the blob again, byte for byte", async () => {
    await using harbour = await Harbour.open();
    for (const bytes of [zip([{ name: "main.py", content: "x" }]), project()]) {
      const { sha256, format } = await harbour.send(bytes);
      const before = await canonical(harbour, sha256);
      await harbour.archives.remove(sha256);
      assert.equal(await harbour.archives.canonicalTar(sha256), undefined);
      await assert.rejects(harbour.archives.has(sha256, "main.py", "file"), NotFound);
      await harbour.recheck.canonicalTar(sha256, format);
      assert.deepEqual(await canonical(harbour, sha256), before);
    }
  });

  test("a blob whose bytes are gone is sent again", async () => {
    await using harbour = await Harbour.open();
    const bytes = project();
    const { sha256 } = await harbour.send(bytes);
    await harbour.blobs.remove(sha256);
    assert.equal((await harbour.get.execute(TENANT, sha256)).state, "MISSING");
    assert.equal((await harbour.send(bytes)).receivedBytes, bytes.length);
  });

  test("refusals and acceptances by older rules do not count", async () => {
    await using harbour = await Harbour.open();
    const good = project();
    const evil = tar(file("../x"));
    const old = {
      tenant: TENANT,
      format: "TAR",
      validatorVersion: 0,
      createTime: TIME,
      manifest: null,
    } as const;
    const refusal = "some-rule: an old refusal";
    await harbour.index.put({
      ...old,
      sha256: digestOf(good),
      sizeBytes: good.length,
      state: "REFUSED",
      refusal,
    });
    assert.equal((await harbour.get.execute(TENANT, digestOf(good))).state, "MISSING");
    assert.equal((await harbour.send(good)).receivedBytes, good.length);
    await harbour.blobs.write(cut(evil));
    await harbour.index.put({
      ...old,
      sha256: digestOf(evil),
      sizeBytes: evil.length,
      state: "STORED",
      refusal: "",
    });
    await assert.rejects(harbour.send(evil, {}, { chunks: unread() }), BadArchive);
    assert.equal((await harbour.get.execute(TENANT, digestOf(evil))).state, "REFUSED");
  });
});

describe("download", () => {
  test("from any offset, with the place of each chunk", async () => {
    await using harbour = await Harbour.open();
    const bytes = randomBytes(3 * 2 ** 20 + 5);
    const { sha256 } = await harbour.send(bytes);
    for (const offset of [0, 1, 2 ** 20, bytes.length]) {
      assert.deepEqual(await downloaded(harbour, sha256, offset), bytes.subarray(offset));
    }
    await assert.rejects(downloaded(harbour, sha256, bytes.length + 1), OffsetBeyondEnd);
    await assert.rejects(downloaded(harbour, sha256, -1), InvalidRequest);
    await assert.rejects(downloaded(harbour, "x"), InvalidRequest);
    await assert.rejects(downloaded(harbour, "0".repeat(64)), NotFound);
  });
});

async function downloaded(harbour: Harbour, sha256: string, offset = 0, tenant = TENANT): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let position = offset;
  for await (const part of harbour.download.execute(tenant, sha256, offset, new AbortController().signal)) {
    assert.equal(part.offset, position);
    position += part.chunk.length;
    chunks.push(part.chunk);
  }
  return Buffer.concat(chunks);
}

async function canonical(harbour: Harbour, sha256: string): Promise<unknown> {
  const path = await harbour.archives.canonicalTar(sha256);
  assert.ok(path !== undefined);
  const bytes = await readFile(path);
  assert.ok((await unpack(bytes)).has("main.py"));
  return bytes;
}
