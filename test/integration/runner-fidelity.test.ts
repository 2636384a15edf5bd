/** A program must not be able to tell how the runner started its interpreter: ahead of time, plainly, or a person by hand. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { type Case, cases } from "../fixtures/runner-fidelity.ts";
import { dockerMissing, image, runSpec, taskUid } from "../support/runner-container.ts";
import { bytesOf, endOf, outline } from "../support/runner-journal.ts";

interface Outcome {
  readonly stdout: string;
  readonly stderr: string;
  readonly exit_code: number | null;
  readonly signal: number | null;
}

const skip = dockerMissing();
const byHand = new Map<string, Outcome>();

describe("however it is started, a program behaves as under python3 -u", { skip, concurrency: 2 }, () => {
  before(() => {
    for (const [name, outcome] of runByHand()) byHand.set(name, outcome);
  });

  for (const each of cases) {
    for (const prestart of [true, false]) {
      test(`${each.name} (${prestart ? "pre-started" : "plain"})`, async () => {
        assert.deepEqual(normal(await runInSandbox(each, prestart)), normal(byHand.get(each.name)));
      });
    }
  }

  test("the pre-started interpreter is the one that was used", async () => {
    const code = "print('boot' in open('/proc/self/environ').read())";
    const { journal } = await runSpec({ code });
    assert.equal(bytesOf(journal, "stdout").toString(), "True\n", outline(journal));
  });

  for (const name of ["PYTHONHASHSEED", "OMP_NUM_THREADS", "LC_ALL", "TZ"]) {
    test(`${name} is there when the interpreter starts`, async () => {
      const code = `import os; print(open("/proc/self/environ").read().count("${name}=1"), os.environ["${name}"])`;
      const { journal } = await runSpec({ code, env: { [name]: "1" } });
      assert.equal(bytesOf(journal, "stdout").toString(), "1 1\n");
    });
  }

  for (const prestart of [true, false]) {
    test(`a function is called with its arguments (${prestart ? "pre-started" : "plain"})`, async () => {
      const files = {
        "pkg/__init__.py": "",
        "pkg/m.py": "import sys\ndef go(*args): print(args, sys.path[0] == ''); 1 / 0",
      };
      const program = { module: "pkg.m", function: "go" };
      const { journal } = await runSpec({ program, args: ["1", "b"] }, { files, settings: { prestart } });
      assert.equal(bytesOf(journal, "stdout").toString(), "('1', 'b') True\n");
      assert.match(
        bytesOf(journal, "stderr").toString(),
        /^Traceback .*\n {2}File "<string>", line 1, in <module>\n {2}File "\/workspace\/pkg\/m\.py"/,
      );
      assert.equal(endOf(journal).exit_code, 1);
    });
  }
});

async function runInSandbox(each: Case, prestart: boolean): Promise<Outcome> {
  const { journal } = await runSpec(
    { program: each.program, args: each.args, stdin: each.stdin, working_directory: each.cwd },
    { files: each.files, settings: { prestart } },
  );
  const { exit_code, signal } = endOf(journal);
  const text = (kind: "stdout" | "stderr") => bytesOf(journal, kind).toString("latin1");
  return { stdout: text("stdout"), stderr: text("stderr"), exit_code, signal };
}

/** Addresses and thread ids differ from run to run, however a program is started. */
function normal(outcome: Outcome | undefined): Outcome | undefined {
  if (outcome === undefined) return undefined;
  const clean = (text: string) =>
    text.replaceAll(/0x[0-9a-f]{6,}/g, "0x").replaceAll(/thread 0x/gi, "thread");
  return { ...outcome, stdout: clean(outcome.stdout), stderr: clean(outcome.stderr) };
}

function runByHand(): [string, Outcome][] {
  const driver = fileURLToPath(new URL("../fixtures/runner-reference.py", import.meta.url));
  const owner = `uid=${taskUid},gid=${taskUid},mode=0700,exec`;
  const environment = { HOME: "/home/task", USER: "task", LOGNAME: "task", TMPDIR: "/tmp", LANG: "C.UTF-8" };
  const names = Object.entries(environment).flatMap(([name, value]) => ["-e", `${name}=${value}`]);
  const input = cases.map((each) => ({
    ...each,
    files: Object.fromEntries(
      Object.entries(each.files).map(([name, text]) => [name, Buffer.from(text).toString("base64")]),
    ),
  }));
  const ran = spawnSync(
    "docker",
    [
      ...["run", "--rm", "-i", "--read-only", "--network", "none", "--cap-drop", "ALL", "--pids-limit", "64"],
      ...["-u", `${taskUid}:${taskUid}`, "-v", `${driver}:/reference.py:ro`, ...names],
      ...["/workspace", "/tmp", "/home/task"].flatMap((path) => ["--tmpfs", `${path}:${owner}`]),
      // As in a sandbox: nothing of the container's own environment, and no core files.
      ...["--ulimit", "core=0", "--ulimit", "nofile=1024:1024", "--entrypoint", "env", image],
      ...["-u", "HOSTNAME", "python3", "/reference.py"],
    ],
    { input: JSON.stringify(input), encoding: "utf8", maxBuffer: 64 << 20 },
  );
  if (ran.status !== 0)
    throw new Error(`the reference run failed: ${ran.stderr}\n${readFileSync(driver, "utf8").length}`);
  return Object.entries(JSON.parse(ran.stdout));
}
