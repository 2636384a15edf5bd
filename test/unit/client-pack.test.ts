import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmod, mkdir, readdir, symlink, utimes } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { describe, test } from "node:test";
import { BadSource, Longshore } from "@longshore/client";
import { extract } from "tar-stream";
import { ScriptedServer } from "../support/scripted-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

interface Unpacked {
  readonly name: string;
  readonly mode: number;
  readonly mtime: number;
  readonly text: string;
}

/** Submits a folder and answers what the server got. */
async function submitted(folder: string): Promise<{ sha256: string; entries: Unpacked[] }> {
  await using server = await ScriptedServer.start();
  await using client = new Longshore(server.address);
  await client.submit(folder);
  const [[sha256, blob] = []] = server.blobs;
  assert.ok(sha256 !== undefined && blob !== undefined);
  const entries: Unpacked[] = [];
  const reader = extract();
  reader.end(blob.bytes);
  for await (const entry of reader) {
    const chunks = await Array.fromAsync(entry as AsyncIterable<Buffer>);
    const { name, mode, mtime } = entry.header;
    entries.push({ name, mode, mtime: mtime.getTime(), text: Buffer.concat(chunks).toString() });
  }
  return { sha256, entries };
}

async function problemsOf(folder: string): Promise<string[]> {
  await using server = await ScriptedServer.start();
  await using client = new Longshore(server.address);
  const error = await client.submit(folder).then(
    () => assert.fail("was not refused"),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof BadSource, String(error));
  assert.equal(server.blobs.size, 0);
  return error.problems.map(({ path, problem }) => `${path} ${problem}`).sort();
}

describe("packing a folder", () => {
  test("gives the same bytes for the same files, whatever their order, times and owners", async () => {
    const files = {
      "main.py": "print(1)",
      "pkg/b.py": "b",
      "pkg/a.py": "a",
      "pkg-2/c.py": "c",
      "é.txt": "é",
    };
    await using one = await TemporaryFolder.create(files);
    await using other = await TemporaryFolder.create(Object.fromEntries(Object.entries(files).reverse()));
    await utimes(other.at("main.py"), 1, 1);
    await chmod(other.at("pkg/a.py"), 0o600);
    const [a, b] = [await submitted(one.path), await submitted(other.path)];
    assert.equal(a.sha256, b.sha256);
    assert.deepEqual(
      a.entries.map(({ name }) => name),
      ["main.py", "pkg", "pkg-2", "pkg-2/c.py", "pkg/a.py", "pkg/b.py", "é.txt"],
    );
    assert.ok(a.entries.every(({ mtime }) => mtime === Date.UTC(1980, 0, 1)));
  });

  test("keeps what may be executed, long names, empty folders and empty files", async () => {
    const long = `${"d".repeat(120)}/${"f".repeat(150)}.py`;
    await using folder = await TemporaryFolder.create({
      "run.sh": "#!/bin/sh",
      [long]: "x",
      "empty.txt": "",
    });
    await chmod(folder.at("run.sh"), 0o744);
    await mkdir(folder.at("results"));
    const { entries } = await submitted(folder.path);
    const modes = Object.fromEntries(entries.map(({ name, mode }) => [name, mode]));
    assert.equal(modes["run.sh"], 0o755);
    assert.equal(modes["empty.txt"], 0o644);
    assert.equal(modes[long], 0o644);
    assert.equal(modes["results"], 0o755);
  });

  test("leaves out history, caches, virtual environments and what .longshoreignore names", async () => {
    await using folder = await TemporaryFolder.create({
      "main.py": "1",
      ".git/HEAD": "ref",
      "sub/.git": "gitdir: elsewhere",
      "pkg/__pycache__/a.pyc": "x",
      "pkg/mod.py": "x",
      ".venv/pyvenv.cfg": "",
      "my-env/pyvenv.cfg": "home = /usr",
      "my-env/lib/big.py": "x",
      "node_modules/left-pad/index.js": "x",
      "kept/node_modules/here.js": "x",
      "data/train.csv": "x",
      "data/keep.csv": "x",
      "notes.txt": "x",
      ".longshoreignore": "data/*\n!data/keep.csv\n/notes.txt\n!kept/node_modules/\n# a comment\n",
    });
    const { entries } = await submitted(folder.path);
    assert.deepEqual(
      entries.map(({ name }) => name),
      [
        ".longshoreignore",
        "data",
        "data/keep.csv",
        "kept",
        "kept/node_modules",
        "kept/node_modules/here.js",
        "main.py",
        "pkg",
        "pkg/mod.py",
        "sub",
      ],
    );
  });

  test("packs links within the folder as what they point to", async () => {
    await using folder = await TemporaryFolder.create({ "main.py": "code", "lib/a.py": "lib" });
    await symlink("main.py", folder.at("entry.py"));
    await symlink("lib", folder.at("vendored"));
    const { entries } = await submitted(folder.path);
    const texts = Object.fromEntries(entries.map(({ name, text }) => [name, text]));
    assert.equal(texts["entry.py"], "code");
    assert.equal(texts["vendored/a.py"], "lib");
    assert.ok("vendored" in texts);
  });

  test("refuses what cannot be packed, all of it at once", async () => {
    await using folder = await TemporaryFolder.create({ "main.py": "1", "a/b/c.py": "1" });
    await using outside = await TemporaryFolder.create({ "secret.txt": "s" });
    await symlink(outside.at("secret.txt"), folder.at("secret"));
    await symlink("..", folder.at("a/up"));
    await symlink("nothing", folder.at("dangling"));
    await symlink("self", folder.at("self"));
    const socket = createServer().listen(folder.at("socket"));
    execFileSync("mkfifo", [folder.at("pipe")]);
    const problems = await problemsOf(folder.path);
    socket.close();
    assert.equal(problems.length, 6, problems.join("\n"));
    assert.match(problems[0] ?? "", /^a\/up is a link to a folder that it lies in/);
    assert.match(problems[1] ?? "", /^dangling is a link to nothing/);
    assert.match(problems[2] ?? "", /^pipe is neither a file nor a folder/);
    assert.match(problems[3] ?? "", /^secret is a link out of the folder, to .*secret\.txt/);
    assert.match(problems[4] ?? "", /^self is a link that leads to itself/);
    assert.match(problems[5] ?? "", /^socket is neither a file nor a folder/);
  });

  test("refuses a folder without a file, a missing path and a file of an unknown kind", async () => {
    await using folder = await TemporaryFolder.create({ "empty/__pycache__/x.pyc": "", "notes.docx": "x" });
    assert.match((await problemsOf(folder.at("empty")))[0] ?? "", /no file to pack/);
    assert.match((await problemsOf(folder.at("missing")))[0] ?? "", /no such file or folder/);
    assert.match((await problemsOf(folder.at("notes.docx")))[0] ?? "", /\.py, \.zip, \.tar/);
  });

  test("leaves nothing behind on disk", async () => {
    const before = (await readdir(tmpdir())).filter((name) => /^longshore-[^t]/.test(name));
    await using folder = await TemporaryFolder.create({ "main.py": "1" });
    await submitted(folder.path);
    const after = (await readdir(tmpdir())).filter((name) => /^longshore-[^t]/.test(name));
    assert.deepEqual(after, before);
  });
});

describe("a Python file", () => {
  test("goes as a snippet when it is small and UTF-8, and as a project otherwise", async () => {
    await using server = await ScriptedServer.start();
    await using client = new Longshore(server.address);
    await using folder = await TemporaryFolder.create({
      "hello.py": "print('é')",
      "latin.py": Buffer.from("# coding: latin-1\nprint('\xe9')", "latin1"),
      "large.py": `# ${"x".repeat(300_000)}`,
    });
    for (const name of ["hello.py", "latin.py", "large.py"]) await client.submit(folder.at(name));
    const [hello, latin, large] = server.created;
    assert.equal(hello?.code, "print('é')");
    assert.equal(hello?.displayName, "hello.py");
    assert.equal(latin?.code, "");
    assert.equal(latin?.entrypoint, "latin.py");
    assert.match(latin?.archiveSha256 ?? "", /^[0-9a-f]{64}$/);
    assert.equal(large?.entrypoint, "large.py");
  });
});
