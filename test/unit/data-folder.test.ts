import assert from "node:assert/strict";
import { mkdir, readdir, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { makeDataFolder } from "#server/adapters/host/data-folder.ts";
import { SystemFault } from "#server/domain/errors.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

test("the data folder is made with those above it, for its owner alone, and is left empty", async () => {
  await using folder = await TemporaryFolder.create();
  const path = join(folder.path, "a", "b", "data");
  await makeDataFolder(path);
  await makeDataFolder(path);
  assert.equal((await stat(path)).mode & 0o777, 0o700);
  assert.deepEqual(await readdir(path), []);
});

test("a data folder may be a link to one", async () => {
  await using folder = await TemporaryFolder.create();
  await mkdir(join(folder.path, "real"));
  await symlink(join(folder.path, "real"), join(folder.path, "link"));
  await makeDataFolder(join(folder.path, "link"));
});

test("a data folder that cannot be is told at once, with what to do", async () => {
  await using folder = await TemporaryFolder.create();
  const file = join(folder.path, "file");
  await writeFile(file, "");
  const cases: [string, RegExp][] = [
    ["/proc/x", /\/proc\/x cannot be used: nothing can be made there/],
    ["/proc/x/y", /nothing can be made there/],
    [file, /it is a file/],
    [join(file, "data"), /a part of its path is a file/],
    [join(folder.path, "n".repeat(300)), /too long/],
  ];
  for (const [path, why] of cases) {
    await assert.rejects(makeDataFolder(path), (error) => {
      assert.ok(error instanceof SystemFault);
      assert.match(error.message, why);
      assert.match(error.message, /Set LONGSHORE_DATA_DIR to a folder/);
      return true;
    });
  }
});
