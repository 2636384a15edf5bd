import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { describe, test } from "node:test";
import { Longshore } from "@longshore/client";
import { CuttingProxy } from "../support/cutting-proxy.ts";
import { runCli } from "../support/run-cli.ts";
import { startServer, whyNoServer } from "../support/running-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const MEBIBYTE = 2 ** 20;
const PROJECT_BYTES = 200 * MEBIBYTE;
const PROGRAM = `
import hashlib
with open("data.bin", "rb") as data: print(hashlib.file_digest(data, "sha256").hexdigest())
`;

/** A project of 200 MB that nothing can compress, and the digest of its data. */
async function largeProject(folder: TemporaryFolder): Promise<string> {
  await folder.write({ "main.py": PROGRAM });
  const hash = createHash("sha256");
  const file = await open(folder.at("data.bin"), "wx");
  try {
    let block: Buffer = Buffer.from("seed");
    for (let written = 0; written < PROJECT_BYTES; written += MEBIBYTE) {
      block = Buffer.concat(
        Array.from({ length: MEBIBYTE / 64 }, (_, index) =>
          createHash("sha512").update(block.subarray(0, 64)).update(String(index)).digest(),
        ),
      );
      hash.update(block);
      await file.write(block);
    }
  } finally {
    await file.close();
  }
  return hash.digest("hex");
}

const why = await whyNoServer();

describe("a project of 200 MB", { skip: why ?? false }, () => {
  test("goes up although the connection is cut at half, and its second upload sends none of it", async () => {
    await using folder = await TemporaryFolder.create();
    const digest = await largeProject(folder);
    await using server = await startServer();
    await using proxy = await CuttingProxy.start(server.address);
    proxy.cutAfterSent.push(PROJECT_BYTES / 2);

    await using client = new Longshore(proxy.address);
    const first = await client.run(folder.path, { timeout: "60s", storage: "1GB" });
    assert.equal(first.stdoutTail.trim(), digest);
    assert.equal(proxy.cuts, 1);
    // What was on its way when the connection went is sent again, and no more than that.
    const overhead = proxy.sentBytes - PROJECT_BYTES;
    assert.ok(overhead < 32 * MEBIBYTE, `sent ${overhead} bytes more than the project has`);

    const before = proxy.sentBytes;
    const second = await runCli(["run", folder.path, "--timeout", "60s", "--storage", "1GB"], {
      server: proxy.address,
    });
    assert.equal(second.code, 0, second.stderr);
    assert.equal(second.stdout.trim(), digest);
    assert.match(second.stderr, /nothing to send, the server has all 200 MB/);
    assert.ok(proxy.sentBytes - before < 100_000, `sent ${proxy.sentBytes - before} bytes again`);
  });
});
