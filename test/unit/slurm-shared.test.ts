/** What the nodes of a cluster see of the server's own: environments, and what builds bring along. */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { SharedEnvironments } from "#server/adapters/slurm/shared-environments.ts";
import { shareTools } from "#server/adapters/slurm/shared-parts.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const ID = "e".repeat(64);

async function environment(folder: TemporaryFolder): Promise<string> {
  const content = folder.at("data", "environments", ID, "content");
  await mkdir(`${content}/bin`, { recursive: true });
  await writeFile(`${content}/bin/hello`, "#!/bin/sh", { mode: 0o755 });
  await writeFile(`${content}/brought.py`, "word = 1");
  return content;
}

describe("an environment that nodes do not see", () => {
  test("is copied once, whole, with its modes, and taken away when it is forgotten", async () => {
    await using folder = await TemporaryFolder.create();
    const content = await environment(folder);
    // What a server that was killed had of it.
    await mkdir(folder.at("shared", "environments", ID, "part", "half"), { recursive: true });
    const shared = new SharedEnvironments(folder.at("shared"));
    const [first, second] = await Promise.all([shared.place(content), shared.place(content)]);
    assert.equal(first, folder.at("shared", "environments", ID, "content"));
    assert.equal(second, first);
    assert.deepEqual(await readdir(folder.at("shared", "environments", ID)), ["content"]);
    assert.equal((await stat(`${first}/bin/hello`)).mode & 0o777, 0o755);
    assert.equal(await readFile(`${first}/brought.py`, "utf8"), "word = 1");
    await writeFile(`${content}/later.py`, "");
    await shared.place(content);
    assert.deepEqual((await readdir(first)).sort(), ["bin", "brought.py"]);
    await shared.forget(ID);
    assert.deepEqual(await readdir(folder.at("shared", "environments")), []);
    await shared.place(content);
    assert.ok((await readdir(first)).includes("later.py"));
  });

  test("that cannot be copied leaves nothing that counts", async () => {
    await using folder = await TemporaryFolder.create();
    const shared = new SharedEnvironments(folder.at("shared"));
    await assert.rejects(shared.place(folder.at("data", "environments", ID, "content")), { code: "ENOENT" });
    assert.deepEqual(await readdir(folder.at("shared", "environments")), []);
  });
});

test("an environment that nodes see stays where it is; another folder is none", async () => {
  await using folder = await TemporaryFolder.create();
  const content = await environment(folder);
  const shared = new SharedEnvironments(null);
  assert.equal(await shared.place(content), content);
  await shared.forget(ID);
  assert.ok((await stat(content)).isDirectory());
  for (const path of ["/etc", `/environments/${ID}`, `/environments/../${ID}/content`])
    await assert.rejects(shared.place(path), RangeError);
});

test("program and certificates of builds are copied under their names, which are those of their content", async () => {
  await using folder = await TemporaryFolder.create({ "tools/uv-1": "uv", "tools/ca-1": "ca" });
  const tools = {
    ...{ uv: folder.at("tools", "uv-1"), caBundle: folder.at("tools", "ca-1") },
    ...{ wheels: "/nfs/wheels", openNetwork: false },
  };
  for (let times = 0; times < 2; times++) {
    const { uv, caBundle, wheels } = await shareTools(tools, folder.at("shared"));
    assert.deepEqual(
      [uv, caBundle, wheels],
      [folder.at("shared/tools/uv-1"), folder.at("shared/tools/ca-1"), "/nfs/wheels"],
    );
    assert.equal(await readFile(uv, "utf8"), "uv");
  }
  assert.deepEqual((await readdir(folder.at("shared/tools"))).sort(), ["ca-1", "uv-1"]);
});
