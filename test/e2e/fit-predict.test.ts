/** Fits and predictions on Parquet files with scikit-learn, in sandboxes without a network. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { Longshore } from "@longshore/client";
import { runCli } from "../support/run-cli.ts";
import { type RunningServer, startServer, whyNoServer } from "../support/running-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";
import { indexSettings, whyNoIndex } from "../support/uv.ts";

const PYTHON_CLIENT = join(import.meta.dirname, "../../clients/python");
const EXAMPLE = join(PYTHON_CLIENT, "examples/fit_predict");
const python = process.env.LONGSHORE_TEST_PYTHON ?? "";
const noPython =
  python === "" &&
  "LONGSHORE_TEST_PYTHON names no Python with the client's packages; scripts/test makes one where Python >= 3.10 is";
/** At once, on as few cores as there are. */
const FITS = 20;

describe("fits and predictions", {
  skip: noPython || ((await whyNoServer()) ?? (await whyNoIndex()) ?? false),
}, () => {
  const cleanup = new AsyncDisposableStack();
  let server: RunningServer;
  let client: Longshore;
  let folder: TemporaryFolder;

  before(async () => {
    folder = cleanup.use(await TemporaryFolder.create());
    server = cleanup.use(await startServer({ ...indexSettings(), LONGSHORE_BUILD_CPU: "2" }));
    client = cleanup.use(new Longshore(server.address));
    const args = ["run", EXAMPLE, "--entrypoint", "make_data.py", "--ram", "1GB", "--timeout", "2m"];
    const made = await runCli([...args, "--out", "*.parquet", "--json"], { server: server.address });
    assert.equal(made.code, 0, made.stdout + made.stderr);
    const [created] = made.stdout.split("\n");
    const { id } = JSON.parse(created ?? "").task;
    await client.task(id).artifacts.downloadAll(folder.path);
  });
  after(() => cleanup.disposeAsync());

  async function example(name: string, ...args: readonly string[]) {
    const env = { ...process.env, PYTHONPATH: join(PYTHON_CLIENT, "src"), PYTHONDONTWRITEBYTECODE: "1" };
    const command = [join(EXAMPLE, name), "--server", server.address, ...args];
    try {
      const { stdout } = await promisify(execFile)(python, command, { cwd: folder.path, env });
      return { code: 0, stdout, stderr: "" };
    } catch (error) {
      assert.ok(
        error instanceof Error && "code" in error && "stdout" in error && "stderr" in error,
        String(error),
      );
      return { code: error.code, stdout: String(error.stdout), stderr: String(error.stderr) };
    }
  }
  const data = (train: string, test: string) => ["--train", folder.at(train), "--test", folder.at(test)];
  const tasks = async () => Array.fromAsync(client.list());
  const digestOf = async (file: string) =>
    createHash("sha256")
      .update(await readFile(folder.at(file)))
      .digest("hex");

  test("a pipeline leaves predictions, and its second run with the cache is answered at once", async () => {
    const args = [...data("train.parquet", "test.parquet"), "--cache"];
    const first = await example("example_1.py", ...args, "--out", "first.parquet");
    assert.equal(first.code, 0, first.stderr);
    assert.match(
      first.stdout,
      /fit +\S+ {2}ran {2}\{'rows': 2000, 'columns': 8, 'accuracy': (0\.9\d*|1\.0)\}/,
    );
    assert.match(first.stdout, /predict +\S+ {2}ran {2}\{'rows': 500\}/);
    const before = await tasks();
    const second = await example("example_1.py", ...args, "--out", "second.parquet");
    assert.equal(second.code, 0, second.stderr);
    assert.equal(second.stdout.match(/cached from/g)?.length, 2, second.stdout);
    assert.equal(await digestOf("second.parquet"), await digestOf("first.parquet"));
    const known = new Set(before.map(({ id }) => id));
    const made = (await tasks()).filter(({ id }) => !known.has(id));
    assert.equal(made.length, 2);
    for (const record of made) {
      assert.ok(known.has(record.cachedFrom), record.cachedFrom);
      assert.equal(record.attempts.length, 0);
      const [mine, theirs] = await Promise.all(
        [record.id, record.cachedFrom].map((id) => Array.fromAsync(client.task(id).artifacts.list())),
      );
      assert.deepEqual(mine, theirs);
    }
  });

  test("wrong data is refused before anything is sent, with what is missing and what there is", async () => {
    const before = (await tasks()).length;
    const train = await example("example_1.py", ...data("BAD_train.parquet", "test.parquet"));
    assert.notEqual(train.code, 0);
    assert.match(
      train.stderr,
      /^column 'y' is missing in \S*BAD_train\.parquet; it has x0, x1, x2, x3, x4, x5, x6, x7$/m,
    );
    const test = await example("example_1.py", ...data("train.parquet", "BAD_test.parquet"));
    assert.match(
      test.stderr,
      /^column 'x0' is missing in \S*BAD_test\.parquet, .*; it has x1, x2, x3, x4, x5, x6, x7$/m,
    );
    await folder.write({ "no.parquet": "PAR1 is not all there is to it" });
    const none = await example("example_1.py", ...data("no.parquet", "test.parquet"));
    assert.match(none.stderr, /no\.parquet is no Parquet file: it does not end as one/);
    assert.equal((await tasks()).length, before);
  });

  test("wrong data that is sent all the same fails with the same words, and so does what depends on it", async () => {
    const train = await example("example_1.py", ...data("BAD_train.parquet", "test.parquet"), "--unchecked");
    assert.match(
      train.stderr,
      /^column 'y' is missing in BAD_train\.parquet; it has x0, x1, .*, x7 \(task /m,
    );
    const [predict] = await tasks();
    assert.equal(predict?.spec?.displayName, "predict test.parquet");
    const outcome = await client.task(predict?.id ?? "").result({ reject: false });
    assert.equal(outcome.reason, "DEPENDENCY_FAILED");
    const test = await example("example_1.py", ...data("train.parquet", "BAD_test.parquet"), "--unchecked");
    assert.match(test.stderr, /^column 'x0' is missing in BAD_test\.parquet; it has x1, .*, x7 \(task /m);
  });

  test(`${FITS} fits at once all come to their end`, async () => {
    const done = await example(
      "example_2.py",
      "--train",
      folder.at("train.parquet"),
      "--count",
      String(FITS),
    );
    assert.equal(done.code, 0, done.stdout + done.stderr);
    assert.match(done.stdout, new RegExp(`${FITS} of ${FITS} succeeded`));
    assert.equal(done.stdout.match(/succeeded {2}accuracy 0\.\d+/g)?.length, FITS, done.stdout);
  });
});
