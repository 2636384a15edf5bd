import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { FileBlobStore } from "#server/adapters/blobs/file-blob-store.ts";
import {
  BadArchive,
  InvalidRequest,
  NotFound,
  OffsetBeyondEnd,
  StoreAway,
  UploadInProgress,
  WrongOffset,
} from "#server/domain/errors.ts";
import { TAR_END, tarHeader, tarPadding } from "../../clients/typescript/src/tar-header.ts";
import { file, tar } from "../fixtures/archives/raw-tar.ts";
import { zip } from "../fixtures/archives/raw-zip.ts";
import { unpack } from "../support/archive-lab.ts";
import { cut, digestOf, Harbour, lostAfter, project, TENANT, TIME, unread } from "../support/harbour.ts";

/** As the clients pack, which is the canonical form. */
function packed(): Buffer {
  const data = randomBytes(400_000);
  return Buffer.concat([
    tarHeader({ path: "main.py", isFolder: false, executable: false, size: 1 }),
    Buffer.from("1"),
    tarPadding(1),
    tarHeader({ path: "src", isFolder: true, executable: true, size: 0 }),
    tarHeader({ path: "src/data.bin", isFolder: false, executable: false, size: data.length }),
    data,
    tarPadding(data.length),
    TAR_END,
  ]);
}

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
        useTime: TIME,
        manifest: sent.manifest,
      });
      assert.deepEqual(await harbour.downloaded(sent.sha256), bytes);
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
    await assert.rejects(harbour.downloaded(sha256, 0, "other"), NotFound);
    const sent = await harbour.send(bytes, {}, { tenant: "other" });
    assert.equal(sent.receivedBytes, bytes.length);
    assert.deepEqual(await harbour.downloaded(sha256, 0, "other"), bytes);
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

describe("upload: packed as the clients pack", () => {
  const inodes = async (harbour: Harbour, sha256: string) => {
    const canonical = (await harbour.archives.canonicalTar(sha256)) ?? "";
    const blob = harbour.folder.at("blobs", "sha256", sha256.slice(0, 2), sha256);
    return [(await stat(canonical)).ino, (await stat(blob)).ino];
  };

  for (const [title, from] of [
    ["in one go", 0],
    ["cut and gone on with", 200_000],
  ] as const) {
    test(`sent ${title}, it is written once: blob and canonical tar are one file`, async () => {
      await using harbour = await Harbour.open();
      const bytes = packed();
      if (from > 0)
        await assert.rejects(harbour.send(bytes, {}, { chunks: lostAfter(bytes, from) }), /client is gone/);
      const { sha256, manifest } = await harbour.send(bytes, { offsetBytes: from });
      const [canonical, blob] = await inodes(harbour, sha256);
      assert.equal(canonical, blob);
      assert.deepEqual(await harbour.downloaded(sha256), bytes);
      assert.deepEqual([...(await unpack(bytes)).keys()], ["main.py", "src", "src/data.bin"]);
      assert.equal(manifest?.tarBytes, bytes.length);
      assert.deepEqual(await harbour.leftovers(), []);
      // Each goes by its own name.
      await harbour.archives.remove(sha256);
      assert.deepEqual(await harbour.downloaded(sha256), bytes);
      const made = await harbour.recheck.canonicalTar(sha256, "TAR");
      await harbour.blobs.remove(sha256);
      assert.deepEqual(await readFile(made), bytes);
    });
  }

  test("what is left of an upload that the store did not take is never written to any more", async () => {
    let away = true;
    await using harbour = await Harbour.open((directory) => {
      const blobs = new FileBlobStore({ directory });
      const stage = blobs.stage.bind(blobs);
      blobs.stage = async (key) => {
        const staged = await stage(key);
        const promote = staged.promote.bind(staged);
        staged.promote = async (sha256) => {
          if (away) throw new StoreAway("the store is away", 1000);
          await promote(sha256);
        };
        return staged;
      };
      return { blobs };
    });
    const bytes = packed();
    const sha256 = digestOf(bytes);
    await assert.rejects(harbour.send(bytes), StoreAway);
    const canonical = (await harbour.archives.canonicalTar(sha256)) ?? "";
    // The same digest with another size goes on with the same bytes.
    const more = Buffer.concat([bytes, file("../evil.py")]);
    const longer = { sha256, sizeBytes: more.length, offsetBytes: bytes.length };
    await assert.rejects(harbour.send(more, longer), BadArchive);
    assert.deepEqual(await readFile(canonical), bytes);
    away = false;
    await harbour.send(bytes);
    assert.deepEqual(await harbour.downloaded(sha256), bytes);
    assert.deepEqual(await harbour.leftovers(), []);
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
      assert.deepEqual(await harbour.downloaded(sha256), bytes);
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
      useTime: TIME,
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
      assert.deepEqual(await harbour.downloaded(sha256, offset), bytes.subarray(offset));
    }
    await assert.rejects(harbour.downloaded(sha256, bytes.length + 1), OffsetBeyondEnd);
    await assert.rejects(harbour.downloaded(sha256, -1), InvalidRequest);
    await assert.rejects(harbour.downloaded("x"), InvalidRequest);
    await assert.rejects(harbour.downloaded("0".repeat(64)), NotFound);
  });
});

async function canonical(harbour: Harbour, sha256: string): Promise<unknown> {
  const path = await harbour.archives.canonicalTar(sha256);
  assert.ok(path !== undefined);
  const bytes = await readFile(path);
  assert.ok((await unpack(bytes)).has("main.py"));
  return bytes;
}
