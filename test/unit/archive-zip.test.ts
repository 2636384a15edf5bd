import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { deflateRawSync } from "node:zlib";
import type { ArchiveLimits } from "#server/domain/blob.ts";
import {
  descriptor,
  endRecord,
  extraField,
  type RawZipEntry,
  unicodePath,
  zip,
  zip64End,
} from "../fixtures/archives/raw-zip.ts";
import { ArchiveLab } from "../support/archive-lab.ts";

const SYMLINK = 0o120777;
const LATIN1_NAME = Uint8Array.of(0x63, 0x61, 0x66, 0xe9); // "café" in Latin-1
const main: RawZipEntry = { name: "main.py", content: "print('hi')\n" };
const streamed: RawZipEntry = {
  ...main,
  flags: 0x0808,
  local: { crc: 0, compressedSize: 0, size: 0 },
  behind: descriptor("print('hi')\n"),
};

describe("zip: what is accepted comes out as one canonical form", () => {
  const accepted: readonly (readonly [title: string, bytes: Buffer, paths: readonly string[]])[] = [
    ["nothing", zip([]), []],
    ["a deflated file", zip([main]), ["main.py"]],
    ["a stored file", zip([{ ...main, method: 0 }]), ["main.py"]],
    ["a streamed file", zip([streamed, { name: "b" }]), ["main.py", "b"]],
    [
      "a streamed file without signature",
      zip([{ ...streamed, behind: descriptor("print('hi')\n", {}, false) }]),
      ["main.py"],
    ],
    ["folders", zip([{ name: "a/", mode: 0o040755, method: 0 }, { name: "a/b.py" }]), ["a", "a/b.py"]],
    ["folders compressed to two bytes", zip([{ name: "a/", mode: 0o040755 }]), ["a"]],
    ["an archive comment, as git archive writes it", zip([main], { comment: "c".repeat(40) }), ["main.py"]],
    [
      "comments and timestamps of entries",
      zip([{ ...main, comment: "mine", extra: extraField(0x5455, Buffer.of(1, 0, 0, 0, 95)) }]),
      ["main.py"],
    ],
    [
      "zip64 end records",
      zip([main], { zip64: zip64End, entries: 0xffff, directoryStart: 0xffffffff }),
      ["main.py"],
    ],
    [
      "what macOS adds",
      zip([main, { name: "__MACOSX/._main.py", content: "attributes" }]),
      ["main.py", "__MACOSX", "__MACOSX/._main.py"],
    ],
    ["UTF-8 names", zip([{ name: "été.py" }]), ["été.py"]],
    ["UTF-8 names without their flag, as macOS writes them", zip([{ name: "été.py", flags: 0 }]), ["été.py"]],
    [
      "a name in an old encoding with its Unicode form",
      zip([{ name: LATIN1_NAME, flags: 0, extra: unicodePath(LATIN1_NAME, "café") }]),
      ["café"],
    ],
    ["no Unix attributes at all", zip([{ ...main, mode: 0 }]), ["main.py"]],
  ];
  for (const [title, bytes, paths] of accepted) {
    test(title, async () => {
      await using lab = await ArchiveLab.open();
      const verdict = await lab.judge(bytes, "ZIP");
      assert.ok(verdict.accepted, JSON.stringify(verdict));
      assert.deepEqual(
        [...verdict.entries.keys()].map((name) => name.replace(/\/$/, "")),
        paths,
      );
      if (paths.includes("main.py")) assert.equal(verdict.entries.get("main.py")?.content, "print('hi')\n");
    });
  }

  test("times and the executable bit stay", async () => {
    await using lab = await ArchiveLab.open();
    const time = Buffer.of(1, 0, 0, 0, 0);
    time.writeInt32LE(1_600_000_000, 1);
    const verdict = await lab.judge(
      zip([{ ...main, mode: 0o100755, extra: extraField(0x5455, time) }, { name: "b" }]),
      "ZIP",
    );
    assert.ok(verdict.accepted, JSON.stringify(verdict));
    assert.equal(verdict.entries.get("main.py")?.mode, 0o755);
    assert.equal(verdict.entries.get("main.py")?.mtime, 1_600_000_000);
    assert.equal(verdict.entries.get("b")?.mode, 0o644);
    // A DOS time has no zone; it is read as UTC wherever the server runs.
    assert.equal(verdict.entries.get("b")?.mtime, Date.UTC(2025, 0, 1) / 1000);
  });

  test("large entries, deflated and stored", async () => {
    await using lab = await ArchiveLab.open();
    const content = Buffer.alloc(3 * 2 ** 20, "longshore ");
    const verdict = await lab.judge(
      zip([
        { name: "a", content },
        { name: "b", content, method: 0 },
      ]),
      "ZIP",
      100_000,
    );
    assert.ok(verdict.accepted, JSON.stringify(verdict));
    for (const name of ["a", "b"])
      assert.equal(verdict.entries.get(name)?.content, content.toString("latin1"));
  });
});

describe("zip: what is refused, by which rule, naming which entry", () => {
  const content = "print('hi')\n";
  const big = Buffer.alloc(2 ** 20);
  const two = zip([main, { name: "b" }]);
  const refused: readonly (readonly [
    title: string,
    bytes: Buffer,
    rule: string,
    entry: string,
    limits?: Partial<ArchiveLimits>,
  ])[] = [
    ["an absolute path", zip([{ name: "/etc/passwd" }]), "absolute-path", "/etc/passwd"],
    ["a parent path", zip([main, { name: "../../x" }]), "parent-path", "../../x"],
    ["a backslash", zip([{ name: "a\\b.py" }]), "backslash", "a\\b.py"],
    ["a drive letter", zip([{ name: "c:x.py" }]), "drive-letter", "c:x.py"],
    ["a NUL", zip([{ name: "a\0b" }]), "control-character", "a\\u0000b"],
    ["no name", zip([{ name: "" }]), "empty-name", ""],
    ["a flagged name that is no UTF-8", zip([{ name: LATIN1_NAME }]), "name-encoding", "caf\ufffd"],
    ["a name in an unknown encoding", zip([{ name: LATIN1_NAME, flags: 0 }]), "name-encoding", "caf\ufffd"],
    ["a second name", zip([{ ...main, extra: unicodePath("main.py", "../x") }]), "ambiguous", "main.py"],
    [
      "a second name that leads out",
      zip([{ name: LATIN1_NAME, flags: 0, extra: unicodePath(LATIN1_NAME, "../x") }]),
      "parent-path",
      "../x",
    ],
    [
      "another entry's second name",
      zip([{ ...main, extra: unicodePath("other", "main.py") }]),
      "ambiguous",
      "main.py",
    ],
    [
      "two second names",
      zip([
        { ...main, extra: Buffer.concat([unicodePath("main.py", "main.py"), unicodePath("main.py", "x")]) },
      ]),
      "ambiguous",
      "main.py",
    ],
    ["a symbolic link", zip([{ name: "ln", content: "/etc/passwd", mode: SYMLINK }]), "link", "ln"],
    ["a device", zip([{ name: "sda", mode: 0o060644 }]), "device", "sda"],
    ["a named pipe", zip([{ name: "pipe", mode: 0o010644 }]), "device", "pipe"],
    ["a folder without its slash", zip([{ name: "a", mode: 0o040755 }]), "file-named-as-folder", "a"],
    ["a file with a slash", zip([{ name: "a/", mode: 0o100644 }]), "file-named-as-folder", "a/"],
    ["a folder with content", zip([{ name: "a/", content, mode: 0o040755 }]), "size", "a/"],
    ["the same name twice", zip([main, main]), "duplicate-name", "main.py"],
    ["names that differ in case", zip([main, { name: "MAIN.py" }]), "colliding-names", "MAIN.py"],
    ["a file that is a folder too", zip([{ name: "a" }, { name: "a/b" }]), "file-and-folder", "a/b"],
    ["encryption", zip([{ ...main, flags: 0x0801 }]), "encrypted", "main.py"],
    ["a hidden directory", zip([{ ...main, flags: 0x2800 }]), "encrypted", "main.py"],
    ["an unknown flag", zip([{ ...main, flags: 0x0820 }]), "header", "main.py"],
    ["a version that does not exist", patched(zip([main]), -22 - 46 - 7 + 6, 99), "header", "main.py"],
    ["another compression", zip([{ ...main, central: { method: 12 } }]), "compression", "main.py"],
    [
      "a size that is too small",
      zip([{ ...main, local: { size: 5 }, central: { size: 5 } }]),
      "size",
      "main.py",
    ],
    [
      "a size that is too large",
      zip([{ ...main, local: { size: 50 }, central: { size: 50 } }]),
      "size",
      "main.py",
    ],
    [
      "a size that is too small, of a large file",
      zip([{ name: "a", content: big, local: { size: 600_000 }, central: { size: 600_000 } }]),
      "size",
      "a",
    ],
    ["a stored file of two sizes", zip([{ ...main, method: 0, central: { size: 5 } }]), "size", "main.py"],
    ["a wrong checksum", zip([{ ...main, local: { crc: 1 }, central: { crc: 1 } }]), "checksum", "main.py"],
    ["damaged data", zip([{ ...main, data: Buffer.alloc(20, 0xff) }]), "compression", "main.py"],
    [
      "data cut short",
      zip([{ ...main, data: deflateRawSync(content).subarray(0, -3) }]),
      "truncated",
      "main.py",
    ],
    [
      "bytes behind the compressed data",
      zip([{ ...main, data: Buffer.concat([deflateRawSync(content), Buffer.from("hidden")]) }]),
      "ambiguous",
      "main.py",
    ],
    ["another name before the data", zip([{ ...main, local: { name: "evil.py" } }]), "ambiguous", "main.py"],
    ["another size before the data", zip([{ ...main, local: { size: 5 } }]), "ambiguous", "main.py"],
    [
      "another compressed size before the data",
      zip([{ ...main, local: { compressedSize: 5 } }]),
      "ambiguous",
      "main.py",
    ],
    ["another checksum before the data", zip([{ ...main, local: { crc: 5 } }]), "ambiguous", "main.py"],
    ["another method before the data", zip([{ ...main, local: { method: 0 } }]), "ambiguous", "main.py"],
    ["other flags before the data", zip([{ ...main, local: { flags: 0 } }]), "ambiguous", "main.py"],
    [
      "another second name before the data",
      zip([{ ...main, local: { extra: unicodePath("other", "x") } }]),
      "ambiguous",
      "main.py",
    ],
    [
      "damaged extra fields before the data",
      zip([{ ...main, local: { extra: Buffer.of(1, 0, 99, 0) } }]),
      "header",
      "main.py",
    ],
    [
      "a wrong descriptor",
      zip([{ ...streamed, behind: descriptor(content, { size: 5 }) }]),
      "ambiguous",
      "main.py",
    ],
    ["a missing descriptor", zip([{ ...streamed, behind: Buffer.alloc(0) }]), "overlap", "main.py"],
    [
      "bytes between entries",
      zip([{ ...main, behind: Buffer.from("hidden") }, { name: "b" }]),
      "overlap",
      "main.py",
    ],
    [
      "many bytes between entries",
      zip([{ ...main, behind: Buffer.alloc(99) }, { name: "b" }]),
      "overlap",
      "main.py",
    ],
    [
      "an entry that the directory leaves out",
      zip([main], { betweenEntriesAndDirectory: zip([{ name: "evil.py" }]).subarray(0, 39) }),
      "overlap",
      "main.py",
    ],
    ["two names for one place", zip([main, { name: "b", central: { offset: 0 } }]), "overlap", "main.py"],
    [
      "an offset into another entry",
      zip([main, { name: "b", central: { offset: 10 } }]),
      "overlap",
      "main.py",
    ],
    ["bytes in front", zip([main], { before: Buffer.from("PK\x03\x04 not an entry") }), "overlap", "main.py"],
    [
      "bytes in front that the offsets do not count",
      Buffer.concat([Buffer.from("PK\x03\x04 self-extracting"), two]),
      "ambiguous",
      "",
    ],
    ["bytes behind", zip([main], { after: Buffer.from("x") }), "trailing-bytes", ""],
    [
      "a second end record behind",
      Buffer.concat([two, endRecord({ entries: 0, bytes: 0, start: 0 })]),
      "ambiguous",
      "",
    ],
    [
      "an end record in the comment",
      zip([main], { comment: endRecord({ entries: 0, bytes: 0, start: 0 }).toString("latin1") }),
      "ambiguous",
      "",
    ],
    ["one zip after another", Buffer.concat([zip([main]), two]), "ambiguous", ""],
    ["too few entries counted", zip([main, { name: "b" }], { entries: 1 }), "ambiguous", ""],
    ["too many entries counted", zip([main], { entries: 2 }), "truncated", ""],
    ["a directory elsewhere", zip([main], { directoryStart: 3 }), "ambiguous", ""],
    [
      "a zip64 record that contradicts",
      zip([main], { zip64: (at) => zip64End({ ...at, entries: 0 }) }),
      "ambiguous",
      "",
    ],
    [
      "a zip64 record elsewhere",
      zip([main], { zip64: (at) => zip64End({ ...at, end: 0 }) }),
      "ambiguous",
      "",
    ],
    ["no end record", two.subarray(0, -22), "truncated", ""],
    ["half of it", two.subarray(0, two.length / 2), "truncated", ""],
    ["its first bytes only", two.subarray(0, 5), "truncated", ""],
    ["a tar.gz", Buffer.of(0x1f, 0x8b, 8, 0, 0, 0), "format", ""],
    ["text", Buffer.from("just text"), "format", ""],
    ["nothing at all", Buffer.alloc(0), "truncated", ""],
    [
      "too many entries",
      zip([main, { name: "b" }, { name: "c" }]),
      "too-many-entries",
      "",
      { maxEntries: 2 },
    ],
    ["too many bytes", zip([main, { name: "b", content }]), "too-large", "b", { maxContentBytes: 20 }],
    [
      "a bomb",
      zip([{ name: "zeros", content: big }]),
      "ratio",
      "zeros",
      { maxRatio: 100, ratioGraceBytes: 1000 },
    ],
    [
      "a bomb that lies about its size",
      zip([{ name: "a", content: big, local: { size: 9 }, central: { size: 9 } }]),
      "size",
      "a",
    ],
    [
      "a long comment",
      zip([{ ...main, comment: "c".repeat(5000) }]),
      "header-size",
      "main.py",
      { maxHeaderBytes: 4096 },
    ],
    [
      "a long extra field",
      zip([{ ...main, extra: extraField(0xcafe, Buffer.alloc(5000)) }]),
      "header-size",
      "main.py",
      { maxHeaderBytes: 4096 },
    ],
    [
      "a long extra field before the data",
      zip([{ ...main, local: { extra: extraField(0xcafe, Buffer.alloc(5000)) } }]),
      "header-size",
      "main.py",
      { maxHeaderBytes: 4096 },
    ],
    ["a long path", zip([{ name: "a/bcd" }]), "path-length", "a/bcd", { maxPathBytes: 4 }],
    ["a deep path", zip([{ name: "a/b/c" }]), "path-depth", "a/b/c", { maxDepth: 2 }],
  ];
  for (const [title, bytes, rule, entry, limits] of refused) {
    test(title, async () => {
      await using lab = await ArchiveLab.open(limits);
      for (const cut of [2 ** 20, 100]) {
        const verdict = await lab.judge(bytes, "ZIP", cut);
        assert.ok(!verdict.accepted, "it was accepted");
        assert.deepEqual([verdict.rule, verdict.entry], [rule, entry], verdict.message);
      }
    });
  }
});

function patched(bytes: Buffer, at: number, byte: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at < 0 ? copy.length + at : at] = byte;
  return copy;
}
