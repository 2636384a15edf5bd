import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { after, before, describe, test } from "node:test";
import { Longshore } from "@longshore/client";
import * as tar from "tar-stream";
import { longshore } from "../support/cli.ts";
import { CuttingProxy } from "../support/cutting-proxy.ts";
import { type RunningServer, startServer, whyNoServer } from "../support/running-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const MEBIBYTE = 2 ** 20;
const DATA_BYTES = 200 * MEBIBYTE;
const MAIN = `
import hashlib, sys
digest = hashlib.sha256()
with open("data.bin", "rb") as data:
    while block := data.read(1 << 20):
        digest.update(block)
print(digest.hexdigest())
`;

/** 200 MB that no compressor or filter can make smaller, the same at every run. */
async function writeProject(folder: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "main.py"), MAIN);
  const whole = createHash("sha256");
  const out = createWriteStream(join(folder, "data.bin"));
  await pipeline(function* () {
    let block = createHash("sha512").update("longshore").digest();
    for (let written = 0; written < DATA_BYTES; written += MEBIBYTE) {
      const chunk = Buffer.alloc(MEBIBYTE);
      for (let at = 0; at < MEBIBYTE; at += block.length) {
        block.copy(chunk, at);
        chunk.writeUInt32LE(written + at, at);
      }
      block = createHash("sha512").update(block).digest();
      whole.update(chunk);
      yield chunk;
    }
  }, out);
  return whole.digest("hex");
}

async function packTar(folder: string, file: string): Promise<void> {
  const pack = tar.pack();
  const written = pipeline(pack, createWriteStream(file));
  const entry = pack.entry({ name: "data.bin", size: DATA_BYTES });
  await pipeline(createReadStream(join(folder, "data.bin")), entry);
  pack.entry({ name: "main.py" }, await readFile(join(folder, "main.py")));
  pack.finalize();
  await written;
}

describe("a project of 200 MB", { skip: (await whyNoServer()) ?? false }, () => {
  let server: RunningServer;
  let folder: TemporaryFolder;
  let digest: string;
  before(async () => {
    folder = await TemporaryFolder.create();
    digest = await writeProject(join(folder.path, "project"));
    await packTar(join(folder.path, "project"), join(folder.path, "project.tar"));
    server = await startServer();
  });
  after(async () => {
    await server?.stop();
    const left = await server?.leftovers();
    await server?.[Symbol.asyncDispose]();
    await folder?.[Symbol.asyncDispose]();
    assert.deepEqual(left, []);
  });

  test("cut at half resumes where it was, runs, and a second upload sends nothing", async () => {
    const archive = join(folder.path, "project.tar");
    const { size } = await stat(archive);
    await using proxy = await CuttingProxy.start(server.address);
    await using client = new Longshore(proxy.address);
    let cut = false;
    const options = { ram: "256MB", storage: "500MB", timeout: "2m" };
    const task = await client.submit(archive, {
      ...options,
      onProgress: (progress) => {
        if (cut || progress.phase !== "uploading" || progress.bytes < size / 2) return;
        cut = true;
        proxy.cutAll();
      },
    });
    await task.result();
    assert.equal((await task.get()).result?.stdoutTail, `${digest}\n`);
    assert.ok(cut, "the upload was cut at half");
    assert.ok(proxy.bytesIn < size * 1.3, `${proxy.bytesIn} bytes were sent for ${size}`);

    const before = proxy.bytesIn;
    await (await client.submit(archive, options)).result();
    assert.ok(proxy.bytesIn - before < MEBIBYTE, "the same bytes were sent again");
  });

  test("as a folder through the CLI gives the same, and the second time sends nothing", async () => {
    const args = [
      "run",
      join(folder.path, "project"),
      "--ram",
      "256MB",
      "--storage",
      "500MB",
      "--timeout",
      "2m",
    ];
    const first = await longshore(server.address, args);
    assert.equal(first.code, 0, first.stderr);
    assert.equal(first.stdout.toString(), `${digest}\n`);
    const second = await longshore(server.address, args);
    assert.equal(second.code, 0, second.stderr);
    assert.match(second.stderr, /nothing to send/);
  });
});
