import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import type { ArchiveLimits } from "#server/domain/blob.ts";
import { file, tar } from "../fixtures/archives/raw-tar.ts";
import { ArchiveLab } from "../support/archive-lab.ts";

type Refusal = readonly [
  title: string,
  bytes: Buffer,
  rule: string,
  entry: string,
  limits?: Partial<ArchiveLimits>,
];

describe("tar.gz", () => {
  const whole = gzipSync(tar(file("main.py", "print('hi')")));

  test("all parts of a gzip header are understood", async () => {
    await using lab = await ArchiveLab.open();
    const header = Buffer.of(0x1f, 0x8b, 8, 4 | 8 | 16, 0, 0, 0, 0, 0, 3, 2, 0, 65, 66);
    const dressed = Buffer.concat([header, Buffer.from("name.tar\0a comment\0"), whole.subarray(10)]);
    for (const bytes of [whole, dressed]) {
      for (const cut of [2 ** 20, 13, 1]) {
        const verdict = await lab.judge(bytes, "TAR_GZ", cut);
        assert.ok(verdict.accepted, JSON.stringify(verdict));
        assert.equal(verdict.entries.get("main.py")?.content, "print('hi')");
      }
    }
  });

  const trailer = whole.length - 8;
  const refused: readonly Refusal[] = [
    ["a wrong checksum", flipped(whole, trailer), "checksum", ""],
    ["a wrong size", flipped(whole, trailer + 4), "checksum", ""],
    ["no trailer", whole.subarray(0, trailer), "truncated", ""],
    ["half a trailer", whole.subarray(0, trailer + 3), "truncated", ""],
    ["half the data", whole.subarray(0, trailer - 20), "truncated", ""],
    ["half a header", whole.subarray(0, 6), "truncated", ""],
    ["a second member", Buffer.concat([whole, gzipSync("more")]), "trailing-bytes", ""],
    [
      "an archive in two members",
      Buffer.concat([gzipSync(file("a")), gzipSync(tar(file("b")))]),
      "trailing-bytes",
      "",
    ],
    ["a byte behind it", Buffer.concat([whole, Buffer.of(0)]), "trailing-bytes", ""],
    [
      "unknown flags",
      Buffer.concat([whole.subarray(0, 3), Buffer.of(0x80), whole.subarray(4)]),
      "header",
      "",
    ],
    [
      "damaged data",
      Buffer.concat([whole.subarray(0, 10), Buffer.of(0xff), whole.subarray(11)]),
      "compression",
      "",
    ],
    ["a zip", Buffer.from("PK\x03\x04 and so on"), "format", ""],
    ["a gzip in a gzip", gzipSync(whole), "truncated", ""],
    ["a bad entry inside", gzipSync(tar(file("../x"))), "parent-path", "../x"],
    [
      "a bomb",
      gzipSync(tar(file("zeros", Buffer.alloc(2 ** 20)))),
      "ratio",
      "",
      { maxRatio: 100, ratioGraceBytes: 1000 },
    ],
    [
      "an endless name",
      Buffer.concat([Buffer.of(0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3), Buffer.alloc(5000, "n")]),
      "header-size",
      "",
      { maxHeaderBytes: 4096 },
    ],
  ];
  for (const [title, bytes, rule, entry, limits] of refused) {
    test(`${title} is refused`, async () => {
      await using lab = await ArchiveLab.open(limits);
      for (const cut of [2 ** 20, 13, 1]) {
        const verdict = await lab.judge(bytes, "TAR_GZ", cut);
        assert.ok(!verdict.accepted, "it was accepted");
        assert.deepEqual([verdict.rule, verdict.entry], [rule, entry], verdict.message);
      }
    });
  }

  test("well-compressed but small is no bomb", async () => {
    await using lab = await ArchiveLab.open({ maxRatio: 10 });
    assert.ok((await lab.judge(gzipSync(tar(file("zeros", Buffer.alloc(2 ** 20)))), "TAR_GZ")).accepted);
  });
});

function flipped(bytes: Uint8Array, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}
