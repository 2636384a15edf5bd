import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { BadArchive, DigestMismatch, InvalidRequest, Unavailable } from "#server/domain/errors.ts";
import { file, tar, tarEntry } from "../fixtures/archives/raw-tar.ts";
import { zip } from "../fixtures/archives/raw-zip.ts";
import { cut, digestOf, Harbour, MAX_UPLOAD_BYTES, project, TENANT, unread } from "../support/harbour.ts";

const run = promisify(execFile);

const badAtTheEnd = () =>
  tar(file("main.py", randomBytes(300_000)), tarEntry({ name: "ln", type: "2", linkname: "/" }));

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
