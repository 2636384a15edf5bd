/** Environments on the real server: uv in a sandbox, wheels from a folder, and scikit-learn where an index answers. */
import assert from "node:assert/strict";
import { chmod, copyFile, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { InvalidRequest, Longshore, type Task, type TaskRecord } from "@longshore/client";
import { gvisorMissing } from "../support/docker-engine.ts";
import { runCli } from "../support/run-cli.ts";
import { type RunningServer, startServer, whyNoServer } from "../support/running-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";
import { indexSettings, whyNoIndex, whyNoUv } from "../support/uv.ts";
import { makeWheel } from "../support/wheels.ts";

const skip = (await whyNoServer()) ?? (await whyNoUv()) ?? false;
const noGvisor = skip === false ? await gvisorMissing() : skip;
const noIndex = skip === false ? ((await whyNoIndex()) ?? false) : skip;
const ENVIRONMENT = 4;
const ENVIRONMENT_FAILED = 9;

/** Says so forever in place of installing anything. */
const HANGING_UV = `#!/bin/sh
if [ "$1" = --version ]; then echo "uv 0.0.0"; exit; fi
echo hanging
exec sleep 3600
`;

const environmentOf = (record: TaskRecord) =>
  record.stages.find(({ name }) => name === ENVIRONMENT)?.note ?? "";

async function ended(task: Task): Promise<{ record: TaskRecord; output: string; build: string }> {
  let [output, build] = ["", ""];
  for await (const { stream, data } of task.logs()) {
    if (stream === "build") build += Buffer.from(data).toString();
    else output += Buffer.from(data).toString();
  }
  return { record: await task.get(), output, build };
}

async function stopWithoutLeftovers(server: RunningServer | undefined): Promise<void> {
  await server?.stop();
  const left = await server?.leftovers();
  await server?.[Symbol.asyncDispose]();
  assert.deepEqual(left, []);
}

describe("environments", { skip }, () => {
  let folder: TemporaryFolder;
  let server: RunningServer;
  let client: Longshore;
  before(async () => {
    folder = await TemporaryFolder.create();
    const wheels = join(folder.path, "wheels");
    await mkdir(wheels);
    await chmod(folder.path, 0o755);
    await makeWheel(wheels, {
      name: "harbour-sample",
      version: "1.0",
      files: { "harbour_sample/__init__.py": "def main():\n    print('from a command')\n" },
      scripts: { "harbour-hello": "harbour_sample:main" },
      requires: ["harbour-base>=1"],
    });
    await makeWheel(wheels, {
      name: "harbour-base",
      version: "1.2",
      files: { "harbour_base.py": "VALUE = 42\n" },
    });
    await makeWheel(wheels, {
      ...{ name: "harbour-elsewhere", version: "1.0", tag: "cp311-cp311-win_amd64" },
      files: { "harbour_elsewhere.py": "" },
    });
    server = await startServer({ LONGSHORE_BUILD_NETWORK: "none", LONGSHORE_BUILD_WHEELS: wheels });
    client = new Longshore(server.address);
  });
  after(async () => {
    client?.close();
    await stopWithoutLeftovers(server);
    await folder?.[Symbol.asyncDispose]();
  });

  test("of a project's requirements.txt: packages, commands and all, read-only, once", async () => {
    const project = join(folder.path, "project");
    await mkdir(project);
    await writeFile(join(project, "requirements.txt"), "# ours\nHarbour_Sample == 1.0\n");
    await writeFile(
      join(project, "main.py"),
      [
        "import os, subprocess, harbour_base, harbour_sample",
        "print(harbour_base.VALUE, os.path.exists(harbour_base.__cached__))",
        "print(subprocess.run(['harbour-hello'], capture_output=True, text=True).stdout.strip())",
        "for path in ('/environment/x', '/environment/harbour_base.py'):",
        "    try:",
        "        open(path, 'w')",
        "    except OSError as error:",
        "        print(error.strerror)",
      ].join("\n"),
    );
    const expected = "42 True\nfrom a command\nRead-only file system\nRead-only file system\n";
    const first = await ended(await client.submit(project));
    assert.equal(first.output, expected);
    assert.match(first.build, /harbour-base==1\.2[\s\S]*harbour-sample==1\.0/);
    assert.match(environmentOf(first.record), /^built in [\d.]+ s: harbour-sample==1\.0$/);
    assert.match(first.record.attempts[0]?.environmentId ?? "", /^[0-9a-f]{64}$/);
    const run = await runCli(["run", project], { server: server.address });
    assert.deepEqual([run.code, run.stdout], [0, expected]);
    assert.match(run.stderr, /^environment harbour-sample==1\.0 {2}cached$/m);
    const without = await runCli(["run", project, "--no-requirements"], { server: server.address });
    assert.equal(without.code, 1);
    assert.match(without.stderr, /No module named 'harbour_base'/);
  });

  test("of a request, with modules imported beforehand", async () => {
    const options = { requirements: ["harbour-base"], preload: ["harbour_base"] };
    const plain = await ended(
      await client.submit({ code: "import harbour_base; print(harbour_base.VALUE)" }, options),
    );
    assert.equal(plain.output, "42\n");
    // The pool makes sandboxes ready after the first ask, and an interpreter that still imports is not waited for.
    const code = "import sys; print('harbour_base' in sys.modules)";
    for (let tries = 0; tries < 100; tries++) {
      const { record, output } = await ended(await client.submit({ code }, options));
      if (output === "False\n") continue;
      assert.deepEqual([output, record.attempts[0]?.warm], ["True\n", true]);
      return;
    }
    assert.fail("no sandbox was ever warm with the module imported");
  });

  for (const [what, requirements, message] of [
    [
      "a package that does not exist",
      "harbour-base\nharbour-bass",
      /^requirements line 2: there is no package harbour-bass/,
    ],
    ["a version that does not exist", "harbour-base==9.0", /^requirements line 1: .*harbour-base==9\.0/],
    [
      "a wheel for another platform",
      "# x\nharbour-elsewhere",
      /^requirements line 2: harbour-elsewhere==1\.0 has no wheel for this platform/,
    ],
  ] as const)
    test(`name the line of ${what}, and charge nothing`, async () => {
      const { record, build } = await ended(await client.submit({ code: "print('ran')" }, { requirements }));
      assert.equal(record.result?.reason, ENVIRONMENT_FAILED);
      assert.match(record.result?.message ?? "", message);
      assert.match(build, /error:/);
      assert.deepEqual([record.attempts, record.result?.stdoutTail, record.usage], [[], "", undefined]);
    });

  test("refuse addresses, options and other files where they are sent, by their lines", async () => {
    const requirements = [
      "six",
      "six @ https://host.example/six.whl",
      "--index-url https://host.example",
      "-r more.txt",
    ];
    await assert.rejects(client.submit({ code: "1" }, { requirements }), (error) => {
      assert.ok(error instanceof InvalidRequest);
      assert.deepEqual(
        error.violations.map(({ field, description }) => [field, description.slice(0, 6)]),
        [2, 3, 4].map((line) => ["environment.requirements", `line ${line}`]),
      );
      return true;
    });
  });

  test("are there under gVisor, too", { skip: noGvisor }, async () => {
    const code =
      "import subprocess, harbour_base; print(harbour_base.VALUE); subprocess.run(['harbour-hello'])";
    const options = { requirements: ["harbour-sample==1.0"], isolation: "gvisor" } as const;
    assert.equal((await ended(await client.submit({ code }, options))).output, "42\nfrom a command\n");
  });
});

describe("an environment whose server is killed while it is built", { skip }, () => {
  test("is built by the next one, and nothing is left of the first build", async () => {
    await using folder = await TemporaryFolder.create();
    await chmod(folder.path, 0o755);
    await makeWheel(folder.path, {
      name: "harbour-base",
      version: "1.0",
      files: { "harbour_base.py": "VALUE = 7\n" },
    });
    const uv = join(folder.path, "uv");
    await writeFile(uv, HANGING_UV, { mode: 0o755 });
    const server = await startServer({
      LONGSHORE_UV: uv,
      LONGSHORE_BUILD_NETWORK: "none",
      LONGSHORE_BUILD_WHEELS: folder.path,
    });
    try {
      await using client = new Longshore(server.address);
      const code = "import harbour_base; print(harbour_base.VALUE)";
      const task = await client.submit({ code }, { requirements: "harbour-base" });
      for await (const { stream } of task.logs()) if (stream === "build") break;
      await server.kill();
      await copyFile(process.env.LONGSHORE_UV ?? "", uv);
      await server.start();
      const { record, output } = await ended(task);
      assert.equal(output, "7\n");
      assert.match(environmentOf(record), /^built in/);
      const environments = join(server.dataDirectory, "environments");
      assert.equal((await readdir(environments)).length, 2);
      assert.deepEqual(await readdir(join(environments, "tmp")), []);
    } finally {
      await stopWithoutLeftovers(server);
    }
  });
});

/** As an index that refuses, and names itself with the password it was asked with. */
const TALKATIVE_UV = `#!/bin/sh
if [ "$1" = --version ]; then echo "uv 0.0.0"; exit; fi
echo "error: $UV_DEFAULT_INDEX via $HTTPS_PROXY refused"
exit 1
`;

describe("a password of the package index", { skip }, () => {
  test("reaches the installer and nobody else", async () => {
    await using folder = await TemporaryFolder.create();
    const uv = join(folder.path, "uv");
    await writeFile(uv, TALKATIVE_UV, { mode: 0o755 });
    const server = await startServer({
      LONGSHORE_UV: uv,
      LONGSHORE_BUILD_INDEX_URL: "https://robot:hunter2%21hunter2@index.example/simple",
      LONGSHORE_BUILD_PROXY: "http://secrettoken@proxy.example:3128",
    });
    try {
      await using client = new Longshore(server.address);
      const task = await client.submit({ code: "print(1)" }, { requirements: "six" });
      const { record, build } = await ended(task);
      assert.equal(
        build,
        "error: https://robot:****@index.example/simple via http://****@proxy.example:3128 refused\n",
      );
      const told = [
        JSON.stringify(record, (_key, value) => (typeof value === "bigint" ? String(value) : value)),
        server.log.join("\n"),
        JSON.stringify(await client.capabilities(), (_key, value) =>
          typeof value === "bigint" ? String(value) : value,
        ),
        await readFile(join(server.dataDirectory, "longshore.db"), "latin1"),
        await readFile(join(server.dataDirectory, "longshore.db-wal"), "latin1").catch(() => ""),
      ].join("\n");
      assert.match(told, /index\.example/);
      assert.doesNotMatch(told, /hunter2|secrettoken/);
    } finally {
      await stopWithoutLeftovers(server);
    }
  });

  test("is not repeated when its setting is wrong", async () => {
    const wrong = startServer({ LONGSHORE_BUILD_INDEX_URL: "ftp://robot:hunter2hunter2@index.example" });
    await assert.rejects(wrong, (error: Error) => {
      assert.match(error.message, /LONGSHORE_BUILD_INDEX_URL is no http or https address/);
      assert.doesNotMatch(error.message, /hunter2/);
      return true;
    });
  });
});

describe("scikit-learn", { skip: noIndex }, () => {
  test("fits in a sandbox without network", async () => {
    const server = await startServer(indexSettings());
    try {
      await using client = new Longshore(server.address);
      const code = [
        "import numpy as np",
        "from sklearn.ensemble import HistGradientBoostingClassifier",
        "x = np.random.default_rng(0).normal(size=(500, 4))",
        "model = HistGradientBoostingClassifier(max_iter=10).fit(x, x[:, 0] > 0)",
        "print(model.score(x, x[:, 0] > 0) > 0.9)",
        "import socket",
        "try:",
        "    socket.create_connection(('192.0.2.1', 80), 1)",
        "except OSError as error:",
        "    print(error.strerror)",
      ].join("\n");
      const options = { requirements: ["scikit-learn"], ram: "1GB", timeout: "2m" } as const;
      const { record, output } = await ended(await client.submit({ code }, options));
      assert.equal(output, "True\nNetwork is unreachable\n", record.result?.message);
      assert.match(environmentOf(record), /^built in .*: scikit-learn$/);
    } finally {
      await stopWithoutLeftovers(server);
    }
  });
});
