/** The real server over a real S3 store: inputs, artifacts, addresses, from both ends of the TypeScript client and the command line. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { BadSource, Longshore, type Task, Unavailable } from "@longshore/client";
import { Blob_State } from "@longshore/proto/longshore/v1/blob_service.ts";
import { runCli } from "../support/run-cli.ts";
import { type RunningServer, startServer, whyNoServer } from "../support/running-server.ts";
import { S3Server, whyNoS3Server } from "../support/s3-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const skip = (await whyNoServer()) ?? (await whyNoS3Server()) ?? false;
const python = process.env.LONGSHORE_TEST_PYTHON ?? "";
const PYTHON_CLIENT = join(import.meta.dirname, "../../clients/python");
const PREFIX = "e2e/blobs";
const digestOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const COPY = "open('copy.bin', 'wb').write(open('data/in.bin', 'rb').read())";
const HASH = "import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())";

describe("a server that keeps its blobs in S3", { skip }, () => {
  let s3: S3Server;
  let server: RunningServer;
  let folder: TemporaryFolder;
  let client: Longshore;
  const bytes = randomBytes(12 * 2 ** 20 + 1);
  before(async () => {
    s3 = await S3Server.start();
    folder = await TemporaryFolder.create({ "in.bin": bytes });
    server = await startServer(s3.settings(PREFIX));
    client = new Longshore(server.address);
  });
  after(async () => {
    await client?.[Symbol.asyncDispose]();
    await server?.stop();
    const left = await server?.leftovers();
    await server?.[Symbol.asyncDispose]();
    await folder?.[Symbol.asyncDispose]();
    await s3?.[Symbol.asyncDispose]();
    assert.deepEqual(left, []);
  });

  test("a file goes up as an input, an artifact comes out, and is the input of another task before it exists", async () => {
    const inputs = { "data/in.bin": folder.at("in.bin") };
    const maker = await client.submit({ code: COPY }, { inputs, outputs: ["copy.bin"], timeout: "60s" });
    const taker = await client.submit(
      { code: HASH },
      { args: ["deep/it.bin"], inputs: { "deep/it.bin": maker.artifact("copy.bin") } },
    );
    const { stdoutTail } = await taker.result();
    assert.equal(stdoutTail.trim(), digestOf(bytes));
    await maker.artifacts.download("copy.bin", folder.at("out", "copy.bin"));
    assert.deepEqual(await readFile(folder.at("out", "copy.bin")), bytes);
    const bucket = s3.bucket(PREFIX);
    const keys = (await Array.fromAsync(bucket.list(""))).map(({ key }) => key);
    bucket.close();
    assert.deepEqual(keys, [`sha256/${digestOf(bytes).slice(0, 2)}/${digestOf(bytes)}`]);
  });

  test("bytes go straight to the store and back, and count once the server has checked them", async () => {
    assert.equal((await client.capabilities()).presignedUrls, true);
    const own = randomBytes(3_000_000);
    const seen: number[] = [];
    const blob = await client.blobs.upload(own, {
      direct: true,
      onProgress: ({ bytes }) => seen.push(bytes),
    });
    assert.equal(blob.state, Blob_State.STORED);
    assert.equal(blob.sha256, digestOf(own));
    assert.ok(seen.includes(own.length));
    await client.blobs.download(blob.sha256, folder.at("direct.bin"), { direct: true });
    assert.deepEqual(await readFile(folder.at("direct.bin")), own);
    const task = await client.submit({ code: HASH }, { args: ["x"], inputs: { x: blob } });
    assert.equal((await task.result()).stdoutTail.trim(), blob.sha256);
  });

  test("the command line uploads, runs with inputs of each kind, and downloads", async () => {
    const options = { server: server.address, cwd: folder.path };
    await folder.write({
      "words.txt": "one two\n",
      "cat.py": "print(open('a').read(), open('b').read(), open('d/c').read())",
    });
    const sent = await runCli(["upload", folder.at("words.txt"), "--direct", "-q"], options);
    assert.equal(sent.code, 0, sent.stderr);
    const digest = sent.stdout.trim();
    const made = await runCli(
      ["submit", "--code", "open('c.txt','w').write('three')", "-o", "c.txt"],
      options,
    );
    const run = await runCli(
      [
        ...["run", folder.at("cat.py"), "--input", `a=${folder.at("words.txt")}`],
        ...["--input", `b=sha256:${digest}`, "-i", `d/c=${made.stdout.trim()}:c.txt`],
      ],
      options,
    );
    assert.equal(run.code, 0, run.stderr);
    assert.equal(run.stdout, "one two\n one two\n three\n");
    assert.match(run.stderr, /words\.txt {2}nothing to send/);
    const fetched = await runCli(["download", `sha256:${digest}`, "-o", folder.at("back.txt")], options);
    assert.equal(fetched.code, 0, fetched.stderr);
    assert.equal(await readFile(folder.at("back.txt"), "utf8"), "one two\n");
    const bad = await runCli(
      ["run", "--code", "1", "--input", "nothing", "--input", "x=no-such-file"],
      options,
    );
    assert.match(
      bad.stderr,
      /"nothing" is not of the form PATH=FILE, PATH=sha256:DIGEST or PATH=TASK:ARTIFACT/,
    );
  });

  test("the Python client does the same", {
    skip: python === "" && "Python's packages are not installed",
  }, async (t) => {
    const suite = spawn(python, ["-m", "pytest", "--quiet", "--no-header", "tests/test_inputs.py"], {
      cwd: PYTHON_CLIENT,
      env: {
        ...process.env,
        PYTHONPATH: join(PYTHON_CLIENT, "src"),
        PYTHONDONTWRITEBYTECODE: "1",
        LONGSHORE_SERVER: server.address,
      },
      stdio: ["ignore", "pipe", "pipe"],
      signal: t.signal,
    });
    const [output, [code]] = await Promise.all([text(suite.stdout), once(suite, "close")]);
    assert.equal(code, 0, output);
  });

  test("a file that is not there is named before anything is sent", async () => {
    const inputs = { a: folder.at("missing"), b: folder.path };
    await assert.rejects(client.submit({ code: "1" }, { inputs }), (error) => {
      assert.ok(error instanceof BadSource);
      assert.match(error.message, /input a: there is no such file.*input b: it is a folder/);
      return true;
    });
  });

  test("a store that is away holds up what needs it, and nothing else", async () => {
    const stored = await client.blobs.upload(Buffer.from("kept"));
    await s3.pause();
    let waiting: Task;
    try {
      waiting = await client.submit({ code: HASH }, { args: ["x"], inputs: { x: stored } });
      const plain = await client.run({ code: "print('still here')" });
      assert.equal(plain.stdoutTail, "still here\n");
      const upload = client.blobs.get("0".repeat(64), { signal: AbortSignal.timeout(60_000) });
      await assert.rejects(upload, Unavailable);
    } finally {
      await s3.resume();
    }
    const { stdoutTail } = await waiting.result();
    assert.equal(stdoutTail.trim(), stored.sha256);
    assert.equal((await waiting.get()).attempts.length, 1);
    assert.equal((await client.blobs.upload(Buffer.from("back"))).state, Blob_State.STORED);
  });

  test("a wrong key keeps the server from starting, with what to look at", async () => {
    const settings = { ...s3.settings("x"), AWS_SECRET_ACCESS_KEY: "wrong" };
    await assert.rejects(startServer(settings), /refuses bucket longshore-test .*check LONGSHORE_BLOBS/);
  });
});
