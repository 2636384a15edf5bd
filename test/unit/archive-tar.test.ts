import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import type { ArchiveLimits } from "#server/domain/blob.ts";
import {
  file,
  folder,
  gnuLongName,
  padded,
  pax,
  paxRecord,
  TAR_END,
  tar,
  tarEntry,
  tarHeader,
} from "../fixtures/archives/raw-tar.ts";
import { ArchiveLab } from "../support/archive-lab.ts";

const LONG = `${"deep/".repeat(30)}${"n".repeat(120)}.py`;

describe("tar: what is accepted comes out as one canonical form", () => {
  const accepted: readonly (readonly [title: string, bytes: Buffer, paths: readonly string[]])[] = [
    ["nothing", tar(), []],
    ["a file", tar(file("main.py")), ["main.py"]],
    ["a leading ./ and a folder for it", tar(folder("./"), file("./main.py")), ["main.py"]],
    ["a top named /, as Python writes it", tar(folder("/"), file("main.py")), ["main.py"]],
    ["inner dots and doubled slashes", tar(file("a/.//b.py")), ["a", "a/b.py"]],
    ["folders only implied", tar(file("a/b/c.py")), ["a", "a/b", "a/b/c.py"]],
    ["a folder named after its files", tar(file("a/b.py"), folder("a")), ["a", "a/b.py"]],
    ["a folder of the time before folders", tar(tarEntry({ name: "a/", type: "\0", format: "v7" })), ["a"]],
    ["a prefix", tar(tarEntry({ name: "main.py", prefix: "a/b" }, "x")), ["a", "a/b", "a/b/main.py"]],
    ["a long GNU name", tar(gnuLongName(`./${"x".repeat(150)}`), file("cut off")), ["x".repeat(150)]],
    ["a long PAX path", tar(pax({ path: LONG }), file("cut off")), parentsOf(LONG)],
    ["a PAX size that repeats the header's", tar(pax({ size: "2" }), file("a")), ["a"]],
    ["a git commit in a global header", tar(pax({ comment: "c".repeat(40) }, "g"), file("a")), ["a"]],
    [
      "what macOS adds",
      tar(
        tarEntry({ name: "./._main.py" }, "attributes"),
        pax({
          "LIBARCHIVE.xattr.com.apple.quarantine": "MDA4Mw",
          "SCHILY.xattr.com.apple.provenance": "\x01\x02",
        }),
        file("./main.py"),
        file("__MACOSX/._main.py"),
      ),
      ["._main.py", "main.py", "__MACOSX", "__MACOSX/._main.py"],
    ],
    ["letters beyond ASCII", tar(file("été/日本.py")), ["été", "été/日本.py"]],
    ["spaces around a size", tar(tarEntry({ name: "a", patches: [[124, "          2 "]] }, "x\n")), ["a"]],
    ["a size in base-256", tar(tarEntry({ name: "a", patches: [[124, baseSize(2)]] }, "x\n")), ["a"]],
    ["padding up to whole records", Buffer.concat([tar(file("a")), Buffer.alloc(10_240)]), ["a"]],
    ["garbage behind a name's end", tar(tarEntry({ name: "a\0garbage" }, "x")), ["a"]],
  ];
  for (const [title, bytes, paths] of accepted) {
    test(title, async () => {
      await using lab = await ArchiveLab.open();
      for (const cut of [2 ** 20, 511, 7]) {
        const verdict = await lab.judge(bytes, "TAR", cut);
        assert.ok(verdict.accepted, JSON.stringify(verdict));
        assert.deepEqual(
          [...verdict.entries.keys()].map((name) => name.replace(/\/$/, "")),
          paths,
        );
      }
    });
  }

  test("owners and unusual modes go, content, times and the executable bit stay", async () => {
    await using lab = await ArchiveLab.open();
    const verdict = await lab.judge(
      tar(
        tarEntry({ name: "run.sh", mode: 0o4711, mtime: 1_600_000_000 }, "echo"),
        tarEntry({ name: "data", mode: 0o600 }, "\0\xff"),
        pax({ mtime: "1500000000.75" }),
        file("dated"),
        pax({ mtime: "-5" }),
        file("before time"),
        tarEntry({ name: "long before", patches: [[136, Buffer.alloc(12, 0xff)]] }),
        tarEntry({ name: "private", type: "5", mode: 0o700 }),
      ),
      "TAR",
    );
    assert.ok(verdict.accepted, JSON.stringify(verdict));
    assert.deepEqual(verdict.entries.get("run.sh"), {
      type: "file",
      mode: 0o755,
      mtime: 1_600_000_000,
      content: "echo",
    });
    assert.equal(verdict.entries.get("data")?.mode, 0o644);
    assert.equal(verdict.entries.get("data")?.content, Buffer.from("\0\xff").toString("latin1"));
    assert.equal(verdict.entries.get("dated")?.mtime, 1_500_000_000);
    assert.equal(verdict.entries.get("before time")?.mtime, 0);
    assert.equal(verdict.entries.get("long before")?.mtime, 0);
    assert.equal(verdict.entries.get("private")?.mode, 0o755);
    for (let at = 0; at + 512 <= verdict.tar.length; at += 512) {
      const header = verdict.tar.subarray(at, at + 512);
      if (header.toString("latin1", 257, 262) === "ustar")
        assert.equal(header.toString("latin1", 108, 124), "0000000\0".repeat(2));
    }
  });

  test("the manifest tells what a task needs to know", async () => {
    await using lab = await ArchiveLab.open();
    const verdict = await lab.judge(
      tar(
        file("train.py"),
        file("./app.py"),
        file("._app.py"),
        file("lib/deep.py"),
        file("requirements.txt"),
        file("data.csv", "1,2"),
      ),
      "TAR",
    );
    assert.ok(verdict.accepted, JSON.stringify(verdict));
    assert.deepEqual(verdict.manifest, {
      fileCount: 6,
      folderCount: 1,
      contentBytes: 13,
      tarBytes: verdict.tar.length,
      topLevelScripts: ["app.py", "train.py"],
      hasRequirements: true,
    });
  });

  test("the same content packed by different tools becomes the same bytes", async () => {
    await using lab = await ArchiveLab.open();
    const plain = await lab.judge(tar(file("a/b.py")), "TAR");
    const dressed = await lab.judge(
      gzipSync(tar(pax({ uid: "77" }), tarEntry({ name: "./a//b.py", mode: 0o600 }, "x\n"))),
      "TAR_GZ",
    );
    assert.ok(plain.accepted && dressed.accepted);
    assert.deepEqual(dressed.tar, plain.tar);
  });
});

type Refusal = readonly [
  title: string,
  bytes: Buffer,
  rule: string,
  entry: string,
  limits?: Partial<ArchiveLimits>,
];

describe("tar: what is refused, by which rule, naming which entry", () => {
  const refused: readonly Refusal[] = [
    ["an absolute path", tar(file("/etc/passwd")), "absolute-path", "/etc/passwd"],
    [
      "an absolute path in a PAX record",
      tar(pax({ path: "/etc/cron.d/x" }), file("x")),
      "absolute-path",
      "/etc/cron.d/x",
    ],
    [
      "an absolute path through the prefix",
      tar(tarEntry({ name: "x", prefix: "/etc" })),
      "absolute-path",
      "/etc/x",
    ],
    ["a parent path", tar(file("a"), file("../x")), "parent-path", "../x"],
    ["a parent path inside", tar(file("a/../../x")), "parent-path", "a/../../x"],
    ["a parent folder", tar(folder("..")), "parent-path", ".."],
    ["a parent path by GNU long name", tar(gnuLongName("../x"), file("x")), "parent-path", "../x"],
    ["a backslash", tar(file("a\\b.py")), "backslash", "a\\b.py"],
    ["a drive letter", tar(file("C:/x.py")), "drive-letter", "C:/x.py"],
    ["a line break", tar(file("a\nb.py")), "control-character", "a\\u000ab.py"],
    ["an escape sequence", tar(file("\u001b[2J.py")), "control-character", "\\u001b[2J.py"],
    ["a NUL in a PAX path", tar(pax({ path: "a\0b" }), file("a")), "control-character", "a\\u0000b"],
    [
      "bytes that are no UTF-8",
      tar(file("placeholder"), tarEntry({ name: Uint8Array.of(0x61, 0xff) }, "x")),
      "name-encoding",
      "a\ufffd",
    ],
    ["no name", tar(tarEntry({ name: "" }, "x")), "empty-name", ""],
    ["a file named like a folder", tar(file("a/")), "file-named-as-folder", "a/"],
    ["a file named as the top", tar(file(".")), "file-named-as-folder", "."],
    ["a symbolic link", tar(tarEntry({ name: "ln", type: "2", linkname: "main.py" })), "link", "ln"],
    ["a hard link", tar(file("a"), tarEntry({ name: "ln", type: "1", linkname: "a" })), "link", "ln"],
    [
      "a link with a long target",
      tar(tarEntry({ name: "L", type: "K", format: "gnu" }, "t\0"), tarEntry({ name: "ln", type: "2" })),
      "link",
      "ln",
    ],
    ["a link's target before a file", tar(pax({ linkpath: "/etc" }), file("a")), "link", "a"],
    ["a character device", tar(tarEntry({ name: "null", type: "3" })), "device", "null"],
    ["a block device", tar(tarEntry({ name: "sda", type: "4" })), "device", "sda"],
    ["a named pipe", tar(tarEntry({ name: "pipe", type: "6" }), file("pipe")), "fifo", "pipe"],
    ["an old sparse file", tar(tarEntry({ name: "holes", type: "S", format: "gnu" })), "sparse", "holes"],
    [
      "a PAX sparse file",
      tar(pax({ "GNU.sparse.major": "1", "GNU.sparse.name": "holes" }), file("GNUSparseFile.0/holes")),
      "sparse",
      "GNUSparseFile.0/holes",
    ],
    ["a star sparse file", tar(pax({ "SCHILY.realsize": "9" }), file("a")), "sparse", "a"],
    ["a volume label", tar(tarEntry({ name: "label", type: "V", format: "gnu" })), "entry-type", "label"],
    ["a contiguous file", tar(tarEntry({ name: "a", type: "7" }, "x")), "entry-type", "a"],
    ["an unknown type", tar(tarEntry({ name: "a", type: "Z" })), "entry-type", "a"],
    ["the same name twice", tar(file("a"), file("a")), "duplicate-name", "a"],
    ["the same name written differently", tar(file("a/b"), file("./a//b")), "duplicate-name", "./a//b"],
    ["the same folder twice", tar(folder("a"), folder("a/")), "duplicate-name", "a/"],
    ["names that differ in case", tar(file("Main.py"), file("main.py")), "colliding-names", "main.py"],
    ["folders that differ in case", tar(file("Src/a.py"), file("src/b.py")), "colliding-names", "src"],
    [
      "names that differ in Unicode form",
      tar(file("e\u0301.py"), file("\u00e9.py")),
      "colliding-names",
      "\u00e9.py",
    ],
    ["a file that is a folder too", tar(file("a"), file("a/b")), "file-and-folder", "a/b"],
    ["a folder that is a file too", tar(file("a/b"), file("a")), "file-and-folder", "a"],
    ["a folder with content", tar(tarEntry({ name: "a", type: "5" }, "content")), "size", "a"],
    ["two sizes", tar(pax({ size: "512" }), tarEntry({ name: "a", size: 0 }), file("hidden")), "size", "a"],
    [
      "a size that is no number",
      tar(tarEntry({ name: "a", patches: [[124, "12x45678901\0"]] })),
      "header",
      "a",
    ],
    [
      "a negative size",
      tar(tarEntry({ name: "a", patches: [[124, Buffer.alloc(12, 0xff)]] })),
      "header",
      "a",
    ],
    [
      "a size beyond all numbers",
      tar(
        tarEntry({ name: "a", patches: [[124, Buffer.concat([Buffer.of(0x80), Buffer.alloc(11, 0xff)])]] }),
      ),
      "header",
      "a",
    ],
    ["an owner that is no number", tar(tarEntry({ name: "a", patches: [[108, "x"]] })), "header", "a"],
    ["a mode that is no number", tar(tarEntry({ name: "a", patches: [[100, "0009"]] })), "header", "a"],
    ["a time that is no number", tar(tarEntry({ name: "a", patches: [[136, "1 2"]] })), "header", "a"],
    ["a wrong checksum", tar(tarEntry({ name: "a", checksum: 1 }, "x")), "checksum", "a"],
    ["an unknown format", tar(tarEntry({ name: "a", patches: [[257, "ustor\0"]] }, "x")), "header", "a"],
    [
      "a prefix where GNU has none",
      tar(tarEntry({ name: "a", format: "gnu", prefix: "../.." }, "x")),
      "header",
      "a",
    ],
    [
      "bytes where ustar has none",
      tar(tarEntry({ name: "a", patches: [[508, "tar\0"]] }, "x")),
      "header",
      "a",
    ],
    ["a global path", tar(pax({ path: "../x" }, "g"), file("a")), "pax-header", ""],
    ["a PAX path twice", tar(twice("path", "a", "b"), file("c")), "pax-header", ""],
    [
      "a PAX record that lies about its length",
      tar(tarEntry({ name: "x", type: "x" }, "99 path=a\n"), file("a")),
      "pax-header",
      "",
    ],
    [
      "a PAX record without a key",
      tar(tarEntry({ name: "x", type: "x" }, "5 =a\n"), file("a")),
      "pax-header",
      "",
    ],
    [
      "rubbish behind PAX records",
      tar(
        tarEntry({ name: "x", type: "x" }, Buffer.concat([paxRecord("path", "a"), Buffer.alloc(3)])),
        file("a"),
      ),
      "pax-header",
      "",
    ],
    ["a PAX size that is no number", tar(pax({ size: "0x10" }), file("a")), "pax-header", ""],
    ["names in another encoding", tar(pax({ hdrcharset: "BINARY" }), file("a")), "name-encoding", ""],
    ["two long names", tar(gnuLongName("a"), pax({ path: "b" }), file("c")), "header", "././@PaxHeader"],
    [
      "a long name with bytes behind it",
      tar(tarEntry({ name: "L", type: "L", format: "gnu" }, "a\0b"), file("c")),
      "header",
      "L",
    ],
    [
      "a long name that goes on in its padding",
      tar(tarEntry({ name: "L", type: "L", format: "gnu", size: 1 }, "xyz"), file("c")),
      "header",
      "L",
    ],
    [
      "a PAX record in the padding",
      tar(tarEntry({ name: "x", type: "x", size: 10 }, "10 path=a\n10 path=b\n"), file("c")),
      "header",
      "x",
    ],
    ["a global header and no entry", tar(file("a"), pax({ comment: "c" }, "g")), "header", ""],
    ["a long name and no entry", tar(file("a"), gnuLongName("b")), "header", ""],
    ["a zero block between entries", tar(file("a"), Buffer.alloc(512), file("hidden")), "trailing-bytes", ""],
    ["an archive behind the end", tar(file("a"), TAR_END, file("hidden")), "trailing-bytes", ""],
    ["a byte behind the end", Buffer.concat([tar(file("a")), Buffer.from("x")]), "trailing-bytes", ""],
    ["endless padding", Buffer.concat([tar(file("a")), Buffer.alloc(2 ** 21)]), "trailing-bytes", ""],
    ["no end", file("a"), "truncated", ""],
    ["half an end", Buffer.concat([file("a"), Buffer.alloc(512)]), "truncated", ""],
    ["half a header", tar(file("a")).subarray(0, 700 + 512), "truncated", ""],
    ["half a file", tarEntry({ name: "a", size: 5000 }, "x".repeat(1000)), "truncated", "a"],
    [
      "half a PAX header",
      Buffer.concat([tarHeader({ name: "x", type: "x", size: 900 }), padded("12 path=ab\n")]),
      "truncated",
      "",
    ],
    ["nothing at all", Buffer.alloc(0), "truncated", ""],
    ["text", Buffer.from("just text ".repeat(100)), "checksum", shownText()],
    ["too many entries", tar(file("a"), file("b"), file("c")), "too-many-entries", "c", { maxEntries: 2 }],
    ["too many implied folders", tar(file("a/b/c/d")), "too-many-entries", "a/b/c/d", { maxEntries: 3 }],
    ["too much path", tar(file("aaaa"), file("bbbb")), "too-many-entries", "bbbb", { maxAllPathsBytes: 7 }],
    ["too many bytes", tar(file("a", "12345"), file("b", "12345")), "too-large", "b", { maxContentBytes: 9 }],
    [
      "too many bytes, told before they come",
      tarHeader({ name: "a", size: 2 ** 32 }),
      "too-large",
      "a",
      { maxContentBytes: 9 },
    ],
    [
      "a huge PAX header",
      tar(pax({ comment: "c".repeat(5000) }), file("a")),
      "header-size",
      "././@PaxHeader",
      { maxHeaderBytes: 4096 },
    ],
    [
      "many global headers",
      tar(...Array.from({ length: 9 }, () => pax({ comment: "c" }, "g")), file("a")),
      "header-size",
      "././@PaxHeader",
      { maxHeaderBytes: 4096 },
    ],
    ["a long path", tar(file("a/bcd")), "path-length", "a/bcd", { maxPathBytes: 4 }],
    [
      "a name no filesystem takes",
      tar(pax({ path: "x".repeat(256) }), file("a")),
      "path-length",
      `${"x".repeat(256)}`,
    ],
    ["a deep path", tar(file("a/b/c")), "path-depth", "a/b/c", { maxDepth: 2 }],
  ];
  for (const [title, bytes, rule, entry, limits] of refused) {
    test(title, async () => {
      await using lab = await ArchiveLab.open(limits);
      for (const cut of [2 ** 20, 513, 7]) {
        const verdict = await lab.judge(bytes, "TAR", bytes.length > 10 ** 6 ? Math.max(cut, 4096) : cut);
        assert.ok(!verdict.accepted, "it was accepted");
        assert.deepEqual([verdict.rule, verdict.entry], [rule, entry], verdict.message);
      }
    });
  }
});

function parentsOf(path: string): string[] {
  const names = path.split("/");
  return names.map((_, index) => names.slice(0, index + 1).join("/"));
}

function baseSize(size: number): Buffer {
  const field = Buffer.alloc(12);
  field[0] = 0x80;
  field.writeUInt32BE(size, 8);
  return field;
}

function twice(key: string, first: string, second: string): Buffer {
  return tarEntry({ name: "x", type: "x" }, Buffer.concat([paxRecord(key, first), paxRecord(key, second)]));
}

function shownText(): string {
  return "just text ".repeat(10);
}
