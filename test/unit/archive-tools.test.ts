/** Archives as people's tools make them: every one must be accepted, and the runner must unpack what becomes of it. */
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmod, mkdir, open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { FileArchiveReader } from "#server/adapters/archive/file-archive-reader.ts";
import { DEFAULT_ARCHIVE_LIMITS } from "#server/domain/blob.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const run = promisify(execFile);
const RUNNER = fileURLToPath(new URL("../../executor-image/runner/", import.meta.url));
const LONG = `src/${"long-folder/".repeat(12)}${"n".repeat(110)}.py`;
const FILES: Readonly<Record<string, string>> = {
  "main.py": "print('hi')\n",
  "requirements.txt": "numpy\n",
  "src/été.py": "x = 1\n",
  "src/with space.txt": "",
  [LONG]: "y = 2\n",
  "data/big.bin": "0123456789abcdef".repeat(70_000),
};

/** Each packs the folder `project` into `out`, beside it. */
const tools: readonly (readonly [name: string, program: string, args: readonly string[], out: string])[] = [
  ["GNU tar", "tar", ["--format=gnu", "-cf", "out.tar", "-C", "project", "."], "out.tar"],
  ["GNU tar, posix", "tar", ["--format=posix", "-cf", "out.tar", "-C", "project", "."], "out.tar"],
  [
    "GNU tar, gzip, with owners and attributes",
    "tar",
    ["--xattrs", "--numeric-owner", "-czf", "out.tar.gz", "-C", "project", "."],
    "out.tar.gz",
  ],
  ["bsdtar", "bsdtar", ["-cf", "out.tar", "-C", "project", "."], "out.tar"],
  ["bsdtar, gzip", "bsdtar", ["-czf", "out.tar.gz", "-C", "project", "."], "out.tar.gz"],
  ["bsdtar, zip", "bsdtar", ["--format=zip", "-cf", "out.zip", "-C", "project", "."], "out.zip"],
  ["Info-ZIP", "sh", ["-c", "cd project && zip -qr ../out.zip ."], "out.zip"],
  ["Info-ZIP, streamed", "sh", ["-c", "cd project && zip -qr - . > ../out.zip"], "out.zip"],
  ["Info-ZIP, stored", "sh", ["-c", "cd project && zip -0qr ../out.zip ."], "out.zip"],
  [
    "shutil, tar",
    "python3",
    ["-c", "import shutil; shutil.make_archive('out', 'tar', 'project')"],
    "out.tar",
  ],
  [
    "shutil, gztar",
    "python3",
    ["-c", "import shutil; shutil.make_archive('out', 'gztar', 'project')"],
    "out.tar.gz",
  ],
  [
    "shutil, zip",
    "python3",
    ["-c", "import shutil; shutil.make_archive('out', 'zip', 'project')"],
    "out.zip",
  ],
  [
    "tarfile, GNU format",
    "python3",
    [
      "-c",
      "import tarfile\nwith tarfile.open('out.tar', 'w', format=tarfile.GNU_FORMAT) as t: t.add('project', '')",
    ],
    "out.tar",
  ],
  [
    "git archive, tar",
    "sh",
    ["-c", `${gitInit()} && git archive --format=tar -o ../out.tar HEAD`],
    "out.tar",
  ],
  [
    "git archive, tar.gz",
    "sh",
    ["-c", `${gitInit()} && git archive --format=tar.gz -o ../out.tar.gz HEAD`],
    "out.tar.gz",
  ],
  [
    "git archive, zip",
    "sh",
    ["-c", `${gitInit()} && git archive --format=zip -o ../out.zip HEAD`],
    "out.zip",
  ],
  ["7z", "sh", ["-c", "cd project && 7z a -bd -tzip ../out.zip ."], "out.zip"],
];

describe("archives made by common tools", () => {
  for (const [name, program, args, out] of tools) {
    test(name, async (context) => {
      const needed = /cd project && (\w+)/.exec(args.join(" "))?.[1] ?? program;
      if (!isThere(needed)) return context.skip(`${needed} is not on this machine`);
      await using folder = await makeProject();
      await run(program, args, { cwd: folder.path });
      await acceptAndUnpack(context, folder, folder.at(out), FILES);
    });
  }

  test("npm pack", async (context) => {
    if (!isThere("npm")) return context.skip("npm is not on this machine");
    await using folder = await makeProject();
    await folder.write({ "project/package.json": '{"name": "packed", "version": "1.0.0"}' });
    await run("npm", ["pack", "--silent", "--offline", "--pack-destination", ".."], {
      cwd: folder.at("project"),
    });
    const expected = Object.entries(FILES).map(([path, content]) => [`package/${path}`, content] as const);
    await acceptAndUnpack(context, folder, folder.at("packed-1.0.0.tgz"), Object.fromEntries(expected), [
      "package/package.json",
    ]);
  });
});

async function makeProject(): Promise<TemporaryFolder> {
  const folder = await TemporaryFolder.create();
  for (const [path, content] of Object.entries(FILES)) await folder.write({ [`project/${path}`]: content });
  await chmod(folder.at("project", "main.py"), 0o755);
  return folder;
}

async function acceptAndUnpack(
  context: TestContext,
  folder: TemporaryFolder,
  archive: string,
  files: Readonly<Record<string, string>>,
  more: readonly string[] = [],
): Promise<void> {
  const reader = new FileArchiveReader({ directory: folder.path, limits: DEFAULT_ARCHIVE_LIMITS });
  const bytes = await readFile(archive);
  const format = reader.detect(bytes.subarray(0, 4096));
  assert.notEqual(format, "RAW");
  if (format === "RAW") return;
  await using check = await reader.begin(format);
  await check.write(bytes);
  await using accepted = await check.finish(archive);
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  await accepted.keep(sha256);
  const path = await reader.canonicalTar(sha256);
  assert.ok(path !== undefined);
  if (!isThere("python3")) return context.diagnostic("not unpacked: python3 is not on this machine");
  const into = folder.at("unpacked");
  await mkdir(into);
  await unpackAsTheRunnerDoes(path, into);
  for (const [name, content] of Object.entries(files))
    assert.equal(await readFile(join(into, name), "utf8"), content, name);
  assert.deepEqual((await filesBelow(into)).sort(), [...Object.keys(files), ...more].sort());
  const main = Object.keys(files).find((name) => name.endsWith("main.py")) ?? "";
  assert.equal((await stat(join(into, main))).mode & 0o777, 0o755);
}

async function unpackAsTheRunnerDoes(path: string, into: string): Promise<void> {
  const script = join(into, "..", "unpack-it.py");
  await writeFile(
    script,
    "import os, sys\nsys.path.insert(0, sys.argv[1])\nimport unpack\nfd = os.open(sys.argv[2], os.O_RDONLY)\nunpack.Unpacker(fd, os.fstat(fd).st_size).run()\n",
  );
  await using tar = await open(path);
  assert.ok((await tar.stat()).size % 512 === 0);
  await run("python3", ["-I", "-B", script, RUNNER, path], { cwd: into });
  await rm(script);
}

async function filesBelow(path: string): Promise<string[]> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(path.length + 1));
}

function isThere(program: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${program}`]).status === 0;
}

function gitInit(): string {
  const as = "-c user.name=nobody -c user.email=nobody@localhost -c commit.gpgsign=false";
  return `cd project && git init -q . && git add . && git ${as} commit -qm one`;
}
