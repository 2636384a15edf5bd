import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { pack } from "tar-stream";
import type { BlobFormat } from "#server/domain/blob.ts";
import { TAR_END, tarHeader, tarPadding } from "../../clients/typescript/src/tar-header.ts";
import {
  file,
  folder,
  gnuLongName,
  pax,
  type RawHeader,
  tar,
  tarEntry,
} from "../fixtures/archives/raw-tar.ts";
import { descriptor, type RawZipEntry, unicodePath, zip, zip64End } from "../fixtures/archives/raw-zip.ts";
import { ArchiveLab, type Verdict } from "../support/archive-lab.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

type Format = Exclude<BlobFormat, "RAW">;
type Tree = ReadonlyMap<string, { readonly content: Buffer; readonly executable: boolean }>;

/** How many archives of each kind are tried. A run with more finds more; this many take a few seconds. */
const RUNS = Number(process.env.LONGSHORE_FUZZ_RUNS ?? 150);
const PYTHON_READER = fileURLToPath(new URL("../fixtures/archives/read-with-python.py", import.meta.url));

/** No two of these fold to one, so that a tree of them never collides. */
const NAMES = [
  "a",
  "b.py",
  "main.py",
  "with space",
  "été",
  "日本",
  "._b.py",
  "-rf",
  "n".repeat(90),
  "...",
  "🚢",
  "q'\"$`;&",
];

const trees: fc.Arbitrary<Tree> = fc
  .array(
    fc.record({
      path: fc.array(fc.constantFrom(...NAMES), { minLength: 1, maxLength: 5 }),
      content: fc.oneof(
        fc.uint8Array({ maxLength: 3000 }),
        fc.nat(3).map((n) => new Uint8Array(n * 512).fill(7)),
      ),
      executable: fc.boolean(),
    }),
    { maxLength: 12 },
  )
  .map((files) => {
    const tree = new Map<string, { content: Buffer; executable: boolean }>();
    for (const { path, content, executable } of files) {
      const name = path.join("/");
      const conflicts = [...tree.keys()].some(
        (other) => `${other}/`.startsWith(`${name}/`) || name.startsWith(`${other}/`),
      );
      if (!conflicts) tree.set(name, { content: Buffer.from(content), executable });
    }
    return tree;
  });

const writers: Readonly<Record<string, readonly [Format, (tree: Tree) => Buffer | Promise<Buffer>]>> = {
  "tar with GNU names": [
    "TAR",
    (tree) => tar(...parts(tree, (name) => (fits(name) ? [] : [gnuLongName(name)]))),
  ],
  "tar with PAX names": ["TAR", (tree) => tar(...parts(tree, (name) => [pax({ path: name, uid: "1000" })]))],
  "tar.gz": [
    "TAR_GZ",
    (tree) => gzipSync(tar(...parts(tree, (name) => (fits(name) ? [] : [pax({ path: name })])))),
  ],
  "tar by tar-stream": ["TAR", packed],
  "zip, deflated": ["ZIP", (tree) => zip(zipEntries(tree, {}))],
  "zip, stored": [
    "ZIP",
    (tree) => zip(zipEntries(tree, { method: 0 }), tree.size > 0 ? { zip64: zip64End } : {}),
  ],
  "zip, streamed": [
    "ZIP",
    (tree) => zip(zipEntries(tree, { flags: 0x0808, local: { crc: 0, size: 0, compressedSize: 0 } })),
  ],
};

describe("archives: any tree packed by another hand comes out as it was", () => {
  for (const [name, [format, write]] of Object.entries(writers)) {
    test(name, async () => {
      await using lab = await ArchiveLab.open();
      await fc.assert(
        fc.asyncProperty(trees, fc.integer({ min: 1, max: 5000 }), async (tree, cut) => {
          const verdict = await lab.judge(await write(tree), format, Math.max(cut, 64));
          assert.ok(verdict.accepted, JSON.stringify(verdict));
          const files = [...verdict.entries].filter(([, entry]) => entry.type === "file");
          assert.deepEqual(
            new Map(
              files.map(([path, { content, mode }]) => [path, { content, executable: mode === 0o755 }]),
            ),
            new Map(
              [...tree].map(([path, entry]) => [
                path,
                { ...entry, content: entry.content.toString("latin1") },
              ]),
            ),
          );
          assert.equal(verdict.manifest.fileCount, tree.size);
          assertSound(verdict);
          await assertLent(lab, verdict.tar, "TAR", Math.max(cut, 64), true);
        }),
        { numRuns: Math.ceil(RUNS / 3) },
      );
    });
  }
});

/** One archive of each kind of thing that readers disagree about, to be damaged from. */
const seeds: readonly (readonly [Format, Buffer])[] = [
  ["TAR", tar(folder("d"), file("d/a.py", "print(1)\n"), tarEntry({ name: "b", prefix: "p/q" }, "b"))],
  [
    "TAR",
    tar(gnuLongName("x".repeat(130)), file("x"), pax({ path: "é.py", size: "2", mtime: "5" }), file("y")),
  ],
  [
    "TAR",
    tar(
      pax({ comment: "c" }, "g"),
      tarEntry({ name: "v", format: "v7", type: "\0" }, "v"),
      tarEntry({ name: "d/", type: "\0" }),
    ),
  ],
  ["TAR_GZ", gzipSync(tar(file("a", "x".repeat(2000)), file("b")))],
  [
    "ZIP",
    zip([
      { name: "d/", mode: 0o040755 },
      { name: "d/a.py", content: "print(1)\n" },
      { name: "b", content: "b", method: 0 },
    ]),
  ],
  [
    "ZIP",
    zip([{ name: "é", flags: 0, extra: unicodePath("é", "é") }, streamed("s", "streamed")], {
      zip64: zip64End,
      comment: "hello",
    }),
  ],
];

/** As the clients pack, which is the canonical form: damaged late, it differs from it late. */
const canonical = Buffer.concat([
  tarHeader({ path: "d", isFolder: true, executable: true, size: 0 }),
  clientFile("d/a.py", "print(1)\n"),
  clientFile(`d/${"é".repeat(120)}`, "x".repeat(1500)),
  clientFile("z", "z".repeat(512)),
  TAR_END,
]);

const damage = (bytes: Buffer) =>
  fc.oneof(
    fc
      .tuple(fc.nat(bytes.length - 1), fc.nat(255))
      .map(([at, byte]) => spliced(bytes, at, at + 1, Buffer.of(byte))),
    fc
      .tuple(fc.nat(bytes.length - 1), fc.uint8Array({ maxLength: 8 }))
      .map(([at, more]) => spliced(bytes, at, at + more.length, more)),
    fc.nat(bytes.length).map((end) => bytes.subarray(0, end)),
    fc
      .tuple(fc.nat(bytes.length), fc.uint8Array({ maxLength: 600 }))
      .map(([at, more]) => spliced(bytes, at, at, more)),
    fc
      .tuple(fc.nat(bytes.length), fc.nat(700))
      .map(([at, count]) => spliced(bytes, at, at + count, Buffer.alloc(0))),
    blocks(bytes).map(([at, from, count]) => spliced(bytes, at, at, bytes.subarray(from, from + count))),
    blocks(bytes).map(([at, , count]) => spliced(bytes, at, at + count, Buffer.alloc(0))),
    blocks(bytes).map(([at]) => spliced(bytes, at, at, Buffer.alloc(512))),
  );

/** Headers wrong in a field but right in their checksum, where random damage would never get past it. */
const craftedHeaders: fc.Arbitrary<RawHeader & { content: string }> = fc.record({
  name: fc.constantFrom("a", "a/", "./a", "b/a", "../a", "/a", "", "A", "a\0b", "é"),
  type: fc.constantFrom("0", "\0", "5", "1", "2", "x", "g", "L", "K", "S", "7", "Z"),
  size: fc.constantFrom(0, 1, 2, 10, 511, 512, 513, 2 ** 33 - 1),
  format: fc.constantFrom("ustar" as const, "gnu" as const, "v7" as const),
  prefix: fc.constantFrom("", "", "", "p", "..", "/"),
  patches: fc.array(
    fc.tuple(
      fc.constantFrom(0, 99, 100, 124, 125, 135, 136, 156, 157, 257, 263, 345, 499, 500, 511),
      fc
        .constantFrom("\0", " ", "/", "7", "9", "\x80", "\xff", "x")
        .map((text) => Buffer.from(text, "latin1")),
    ),
    { maxLength: 2 },
  ),
  content: fc.constantFrom(
    "",
    "x",
    "10 path=c\n",
    "9 size=1\n",
    "11 path=../\n",
    "long\0",
    "x".repeat(512),
    "y".repeat(600),
  ),
});

describe("archives: damaged ones are refused or read in one way", () => {
  test("whatever is damaged, the verdict is BadArchive or something sound, however the bytes arrive", async () => {
    await using collected = await Accepted.open();
    await using lab = await ArchiveLab.open({ maxContentBytes: 2 ** 24 });
    for (const [format, bytes] of seeds) {
      await fc.assert(
        fc.asyncProperty(damage(bytes), fc.integer({ min: 1, max: 700 }), async (damaged, cut) => {
          await collected.judge(lab, damaged, format, cut);
        }),
        { numRuns: RUNS * 2 },
      );
    }
    await collected.compareWithPython();
  });

  test("so is what clients pack, damaged anywhere, whole or with more behind it", async () => {
    await using collected = await Accepted.open();
    await using lab = await ArchiveLab.open({ maxContentBytes: 2 ** 24 });
    await assertLent(lab, canonical, "TAR", 4096, true);
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          damage(canonical),
          fc.nat(30).map((n) => Buffer.concat([canonical, Buffer.alloc(n * 512)])),
        ),
        fc.integer({ min: 1, max: 2000 }),
        async (damaged, cut) => {
          await collected.judge(lab, damaged, "TAR", cut);
        },
      ),
      { numRuns: RUNS * 2 },
    );
    await collected.compareWithPython();
  });

  test("so are tars of crafted headers", async () => {
    await using collected = await Accepted.open();
    await using lab = await ArchiveLab.open({ maxContentBytes: 2 ** 24 });
    await fc.assert(
      fc.asyncProperty(
        fc.array(craftedHeaders, { minLength: 1, maxLength: 4 }),
        fc.boolean(),
        async (headers, honest) => {
          const entries = headers.map(({ content, size, ...header }) =>
            tarEntry(honest ? header : { ...header, size }, content),
          );
          await collected.judge(lab, tar(...entries, file("last")), "TAR", 4096);
        },
      ),
      { numRuns: RUNS * 8 },
    );
    await collected.compareWithPython();
  });
});

/** What was accepted although it was damaged, kept to be read by somebody else. */
class Accepted implements AsyncDisposable {
  readonly #folder: TemporaryFolder;
  readonly #files = new Map<string, Record<string, string>>();

  static async open(): Promise<Accepted> {
    return new Accepted(await TemporaryFolder.create());
  }

  private constructor(folder: TemporaryFolder) {
    this.#folder = folder;
  }

  async judge(lab: ArchiveLab, bytes: Buffer, format: Format, cut: number): Promise<void> {
    const verdict = await lab.judge(bytes, format);
    const again = await assertLent(lab, bytes, format, cut);
    // Of several faults the first to be met is named, and that depends on how much has arrived.
    if (!verdict.accepted || !again.accepted) return assert.equal(again.accepted, verdict.accepted);
    assert.deepEqual(again, verdict);
    assertSound(verdict);
    const path = this.#folder.at(`${this.#files.size}.${format === "ZIP" ? "zip" : "tar"}`);
    await writeFile(path, bytes);
    const files = [...verdict.entries].filter(([, entry]) => entry.type === "file");
    this.#files.set(path, Object.fromEntries(files.map(([name, { content }]) => [name, digestOf(content)])));
  }

  async compareWithPython(): Promise<void> {
    assert.ok(this.#files.size > 0, "nothing that was damaged is still an archive: the damage is too coarse");
    if (!hasPython()) return;
    const input = [...this.#files.keys()].join("\n");
    const output = execFileSync("python3", ["-I", PYTHON_READER], { input, maxBuffer: 2 ** 28 })
      .toString()
      .trim();
    const answers: unknown[] = output.split("\n").map((line) => JSON.parse(line));
    for (const [index, [path, files]] of [...this.#files].entries()) {
      // With the archive itself: what was generated cannot be had again otherwise.
      if (!isDeepStrictEqual(answers[index], { files }))
        assert.deepEqual(answers[index], { files }, `read differently by Python: ${await packedText(path)}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#folder[Symbol.asyncDispose]();
  }
}

/** Whether the reader may share the upload's bytes or not, it says and keeps the same, to the byte. */
async function assertLent(
  lab: ArchiveLab,
  bytes: Buffer,
  format: Format,
  cut: number,
  isUpload?: boolean,
): Promise<Verdict> {
  const written = await lab.judge(bytes, format, cut);
  // A compressed upload is never the canonical tar.
  if (format !== "TAR") return written;
  const lent = await lab.judge(bytes, format, cut, { shared: true });
  if (lent.accepted) assert.equal(lent.isUpload, isUpload ?? lent.tar.equals(bytes));
  assert.deepEqual(lent.accepted ? { ...lent, isUpload: false } : lent, written);
  return written;
}

function assertSound(verdict: Verdict & { accepted: true }): void {
  const seen = new Set<string>();
  for (const [name, { type, mode }] of verdict.entries) {
    assert.match(name, /^(?!\/)[^\0\\]+$/);
    const path = name.replace(/\/$/, "");
    assert.ok(
      path.split("/").every((part) => part !== "" && part !== "." && part !== ".."),
      name,
    );
    assert.ok(type === "file" || type === "directory", type);
    assert.ok(mode === 0o644 || mode === 0o755);
    const parent = path.slice(0, Math.max(0, path.lastIndexOf("/")));
    assert.ok(parent === "" || seen.has(parent), `${name} comes before its folder`);
    seen.add(path);
  }
}

async function packedText(path: string): Promise<string> {
  return `base64 of gzip: ${gzipSync(await readFile(path)).toString("base64")}`;
}

function hasPython(): boolean {
  return spawnSync("python3", ["-c", "import tarfile, zipfile"]).status === 0;
}

function clientFile(path: string, content: string): Buffer {
  const size = Buffer.byteLength(content);
  const header = tarHeader({ path, isFolder: false, executable: false, size });
  return Buffer.concat([header, Buffer.from(content), tarPadding(size)]);
}

function digestOf(content: string): string {
  return createHash("sha256").update(content, "latin1").digest("hex");
}

function fits(name: string): boolean {
  return Buffer.byteLength(name) <= 100;
}

function parts(tree: Tree, before: (name: string) => Buffer[]): Buffer[] {
  return [...tree].flatMap(([name, { content, executable }]) => [
    ...before(name),
    tarEntry({ name: fits(name) ? name : "cut off", mode: executable ? 0o700 : 0o600 }, content),
  ]);
}

async function packed(tree: Tree): Promise<Buffer> {
  const stream = pack();
  for (const [name, { content, executable }] of tree)
    stream.entry({ name, mode: executable ? 0o755 : 0o644 }, content);
  stream.finalize();
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) if (chunk instanceof Uint8Array) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function zipEntries(tree: Tree, common: Partial<RawZipEntry>): RawZipEntry[] {
  return [...tree].map(([name, { content, executable }]) => ({
    name,
    content,
    mode: executable ? 0o100755 : 0o100644,
    ...common,
    ...(common.flags === 0x0808 ? { behind: descriptor(content) } : {}),
  }));
}

function streamed(name: string, content: string): RawZipEntry {
  return {
    name,
    content,
    flags: 0x0808,
    local: { crc: 0, size: 0, compressedSize: 0 },
    behind: descriptor(content),
  };
}

function spliced(bytes: Buffer, start: number, end: number, insert: Uint8Array): Buffer {
  return Buffer.concat([bytes.subarray(0, start), insert, bytes.subarray(end)]);
}

function blocks(bytes: Buffer): fc.Arbitrary<[at: number, from: number, count: number]> {
  const block = fc.nat(Math.floor(bytes.length / 512)).map((n) => n * 512);
  return fc.tuple(
    block,
    block,
    fc.integer({ min: 1, max: 3 }).map((n) => n * 512),
  );
}
