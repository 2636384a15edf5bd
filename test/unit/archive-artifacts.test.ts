import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { TarArtifactReader } from "#server/adapters/archive/tar-artifact-reader.ts";
import { type ArchiveLimits, DEFAULT_ARCHIVE_LIMITS } from "#server/domain/blob.ts";
import { BadArchive } from "#server/domain/errors.ts";
import { file, folder, pax, TAR_END, tar, tarEntry, tarHeader } from "../fixtures/archives/raw-tar.ts";

async function* cut(bytes: Uint8Array, size = 700): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function read(bytes: Uint8Array, limits: Partial<ArchiveLimits> = {}) {
  const kept = new Map<string, string>();
  let refused: unknown;
  try {
    await new TarArtifactReader({ ...DEFAULT_ARCHIVE_LIMITS, ...limits }).read(
      cut(bytes),
      async (path, content) => {
        const chunks: Uint8Array[] = [];
        for await (const chunk of content) chunks.push(chunk);
        kept.set(path, Buffer.concat(chunks).toString());
      },
    );
  } catch (error) {
    refused = error;
  }
  return { kept: Object.fromEntries(kept), refused };
}

describe("artifacts: the tar that a sandbox left behind", () => {
  test("files come in order, with normalised paths; folders do not count as artifacts", async () => {
    const { kept, refused } = await read(
      tar(
        folder("out"),
        file("./out/model.bin", "m".repeat(5000)),
        pax({ path: `${"d/".repeat(60)}é` }),
        file("cut"),
        file("empty", ""),
      ),
    );
    assert.equal(refused, undefined);
    assert.deepEqual(kept, { "out/model.bin": "m".repeat(5000), [`${"d/".repeat(60)}é`]: "x\n", empty: "" });
  });

  test("names that differ in case are two results", async () => {
    assert.deepEqual((await read(tar(file("A"), file("a")))).kept, { A: "x\n", a: "x\n" });
  });

  test("a consumer may leave a file unread", async () => {
    const seen: string[] = [];
    await new TarArtifactReader(DEFAULT_ARCHIVE_LIMITS).read(
      cut(tar(file("a", "x".repeat(3000)), file("b", "y".repeat(3000)), file("c"))),
      async (path, content) => {
        seen.push(path);
        if (path === "b") for await (const _ of content) break;
      },
    );
    assert.deepEqual(seen, ["a", "b", "c"]);
  });

  const hostile: readonly (readonly [
    title: string,
    bytes: Buffer,
    rule: string,
    limits?: Partial<ArchiveLimits>,
  ])[] = [
    ["a link", tarEntry({ name: "ln", type: "2", linkname: "/etc/shadow" }), "link"],
    ["a hard link", tarEntry({ name: "ln", type: "1", linkname: "first" }), "link"],
    ["a device", tarEntry({ name: "null", type: "3" }), "device"],
    ["a parent path", file("../../etc/cron.d/x"), "parent-path"],
    ["an absolute path", file("/etc/cron.d/x"), "absolute-path"],
    ["the same name again", file("first"), "duplicate-name"],
    [
      "more bytes than allowed",
      tarHeader({ name: "big", size: 2 ** 32 }),
      "too-large",
      { maxContentBytes: 1000 },
    ],
    ["more files than allowed", file("second"), "too-many-entries", { maxEntries: 1 }],
    ["a file cut short", tarEntry({ name: "short", size: 9000 }, "x"), "truncated"],
  ];
  for (const [title, bytes, rule, limits] of hostile) {
    test(`${title} is refused; what came before stays`, async () => {
      const { kept, refused } = await read(Buffer.concat([file("first"), bytes, TAR_END]), limits);
      assert.ok(refused instanceof BadArchive, String(refused));
      assert.equal(refused.metadata.rule, rule);
      assert.equal(kept.first, "x\n");
    });
  }

  test("a failing consumer and an aborted signal stop the reading and close the source", async () => {
    const bytes = tar(file("a"), file("b", "y".repeat(100_000)));
    const reader = new TarArtifactReader(DEFAULT_ARCHIVE_LIMITS);
    let closed = 0;
    const source = async function* () {
      try {
        yield* cut(bytes);
      } finally {
        closed += 1;
      }
    };
    const full = new Error("the store is full");
    await assert.rejects(
      reader.read(source(), () => Promise.reject(full)),
      full,
    );
    const stop = new AbortController();
    const reason = new Error("enough");
    const keep = async () => stop.abort(reason);
    await assert.rejects(reader.read(source(), keep, stop.signal), reason);
    assert.equal(closed, 2);
  });
});
