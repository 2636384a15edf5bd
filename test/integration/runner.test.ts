/** The runner in real containers: what an attempt may do, how it ends, and what the journal says about it. */
import assert from "node:assert/strict";
import { chmod } from "node:fs/promises";
import { describe, test } from "node:test";
import {
  canonicalTar,
  dockerMissing,
  RunnerContainer,
  runSpec,
  taskUid,
} from "../support/runner-container.ts";
import { bytesOf, endOf, gapBytes, outline, recordsOf } from "../support/runner-journal.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const skip = dockerMissing();
const together = { skip, concurrency: 2 };

describe("the runner accepts one spec", together, () => {
  test("a snippet runs, and the journal tells its stages in order", async () => {
    const { status, journal } = await runSpec({ code: "print('hi')" });
    assert.equal(status, 0);
    assert.equal(journal.attemptId, "01JTESTATTEMPT");
    // Unbuffered, print writes its text and its newline apart.
    const kinds = journal.frames
      .map((frame) => frame.kind)
      .filter((kind, i, all) => kind !== "stdout" || all[i - 1] !== kind);
    assert.deepEqual(kinds, ["accepted", "stage", "stage", "stage", "stdout", "stage", "end"]);
    assert.equal(bytesOf(journal, "stdout").toString(), "hi\n");
    const end = endOf(journal);
    assert.equal(end.reason, "exited");
    assert.equal(end.exit_code, 0);
    assert.deepEqual(end.limits_hit, []);
    assert.equal(end.usage.stdout_bytes, 3);
    assert.ok((end.usage.cpu_micros ?? 0) > 0 && (end.usage.peak_ram_bytes ?? 0) > 1 << 20);
  });

  for (const [what, bytes] of [
    ["nothing", Buffer.alloc(0)],
    ["half a length", Buffer.from([0, 0])],
    ["half a spec", Buffer.from([0, 0, 1, 0, 0x7b])],
  ] as const) {
    test(`${what} on stdin: it ends in silence, with an empty journal`, async () => {
      await using container = await RunnerContainer.start();
      container.endStdin(bytes);
      const { status, journal, output } = await container.finish();
      assert.deepEqual([status, journal.frames.length, journal.attemptId, output], [0, 0, undefined, ""]);
    });
  }

  test("SIGTERM while it waits: it ends in silence", async () => {
    await using container = await RunnerContainer.start();
    // The first ones may come before it listens, and are then lost on a PID 1.
    while (container.state() !== "exited") container.signal("TERM");
    const { status, journal, output } = await container.finish();
    assert.deepEqual([status, journal.frames.length, output], [0, 0, ""]);
  });

  test("a spec that breaks the contract ends as system_error, with every problem", async () => {
    await using container = await RunnerContainer.start();
    const spec = { version: 2, attempt_id: "a1", program: {}, args: [1], env: { "a=": "1" }, limits: {} };
    container.sendText(JSON.stringify(spec));
    const { journal } = await container.finish();
    const end = endOf(journal);
    assert.equal(end.reason, "system_error");
    for (const name of ["version", "program", "args", "env", "limits.run_ms"])
      assert.match(end.message ?? "", new RegExp(name));
  });
});

describe("the task's process", together, () => {
  const facts = `
import json, os, resource, sys
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(json.dumps({
  "ids": [os.getuid(), os.geteuid(), os.getgid(), os.getegid(), os.getgroups()],
  "caps": [status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")], "no_new_privs": status["NoNewPrivs"],
  "oom": open("/proc/self/oom_score_adj").read().strip(), "nice": os.nice(0), "umask": os.umask(0),
  "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:-1],
  "files": resource.getrlimit(resource.RLIMIT_NOFILE), "core": resource.getrlimit(resource.RLIMIT_CORE),
  "session": os.getsid(0) == os.getpid() == os.getpgid(0), "cwd": os.getcwd(), "env": dict(os.environ),
  "stdin": sys.stdin.read(), "ignored": status["SigIgn"], "blocked": status["SigBlk"],
}))`;

  for (const prestart of [true, false]) {
    test(`has nothing of the runner's (${prestart ? "pre-started" : "plain"})`, async () => {
      const { journal } = await runSpec(
        { code: facts, env: { MODEL: "x=1" }, stdin: "given", limits: { open_files: 77 } },
        { settings: { prestart } },
      );
      const found = JSON.parse(bytesOf(journal, "stdout").toString() || "{}");
      const none = "0000000000000000";
      assert.deepEqual(found, {
        ids: [taskUid, taskUid, taskUid, taskUid, []],
        caps: [none, none, none, none],
        no_new_privs: "1",
        oom: "1000",
        nice: 19,
        umask: 0o022,
        fds: [0, 1, 2],
        files: [77, 77],
        core: [0, 0],
        session: true,
        cwd: "/workspace",
        env: {
          PATH: found.env.PATH,
          HOME: "/home/task",
          USER: "task",
          LOGNAME: "task",
          TMPDIR: "/tmp",
          LANG: "C.UTF-8",
          MODEL: "x=1",
        },
        stdin: "given",
        ignored: found.ignored,
        blocked: none,
      });
      assert.match(found.env.PATH, /\/usr\/bin/);
    });
  }

  test("cannot reach PID 1, nor anything that is the runner's", async () => {
    const code = `
import ctypes, os, signal
def attempt(name, action):
    try: action(); print(name, "WORKED")
    except OSError as error: print(name, "refused")
for name in ("mem", "environ"): attempt(name, lambda: open("/proc/1/" + name, "rb").read(1))
attempt("fd", lambda: os.listdir("/proc/1/fd"))
attempt("root", lambda: os.listdir("/proc/1/root"))
for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1): attempt("signal", lambda: os.kill(1, number))
libc = ctypes.CDLL(None, use_errno=True)
def ptrace():
    if libc.ptrace(16, 1, 0, 0) != 0: raise OSError(ctypes.get_errno(), "ptrace")
attempt("ptrace", ptrace)
for name in ("journal", "input", "artifacts"):
    for mode in ("rb", "ab"): attempt(name, lambda: open("/longshore/" + name, mode))
attempt("runner", lambda: open("/longshore/runner/x", "w"))
attempt("setuid", lambda: os.setuid(0))`;
    const { journal } = await runSpec({ code });
    const lines = bytesOf(journal, "stdout").toString().trim().split("\n");
    assert.equal(lines.length, 16, outline(journal));
    assert.deepEqual(
      lines.filter((line) => !line.endsWith(" refused")),
      [],
    );
  });

  test("can open its own /dev/stdout again", async () => {
    const { journal } = await runSpec({
      program: { command: ["sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr"] },
    });
    assert.equal(bytesOf(journal, "stdout").toString() + bytesOf(journal, "stderr").toString(), "out\nerr\n");
  });

  test("gets stdin that it reads late, and none that it does not read holds anything up", async () => {
    const stdin = "x".repeat(1 << 20);
    const read = await runSpec({
      code: "import sys\nprint('first', flush=True)\nprint(len(sys.stdin.read()))",
      stdin,
    });
    assert.equal(bytesOf(read.journal, "stdout").toString(), `first\n${stdin.length}\n`);
    const unread = await runSpec({ code: "print('done')", stdin });
    assert.equal(endOf(unread.journal).exit_code, 0);
  });

  test("a command that does not exist exits with 127 and says so", async () => {
    const { journal } = await runSpec({ program: { command: ["no-such-command"] } });
    assert.equal(endOf(journal).exit_code, 127);
    assert.match(bytesOf(journal, "stderr").toString(), /no-such-command: No such file/);
  });
});

describe("stage in", together, () => {
  test("a project is unpacked as the task's, long names and folders too", async () => {
    const long = `${"d".repeat(90)}/${"n".repeat(90)}.csv`;
    const code = `import os, sys\nprint(sys.argv[1:], open(${JSON.stringify(long)}).read(), os.stat("data").st_uid, os.listdir("empty"))`;
    const files = { "pkg/train.py": code, [long]: "1,2", "data/a": "", "empty/": "" };
    const { journal } = await runSpec({ program: { script: "pkg/train.py" }, args: ["a", "b c"] }, { files });
    assert.equal(bytesOf(journal, "stdout").toString(), `['a', 'b c'] 1,2 ${taskUid} []\n`);
    assert.deepEqual(recordsOf(journal, "stage")[1], { stage: "stage_in", event: "end", note: "3 files" });
  });

  test("the working directory is below the workspace, or the input has failed", async () => {
    const files = { "sub/main.py": "import os; print(os.getcwd())" };
    const good = await runSpec({ working_directory: "sub" }, { files });
    assert.equal(bytesOf(good.journal, "stdout").toString(), "/workspace/sub\n");
    const bad = endOf((await runSpec({ working_directory: "nope" }, { files })).journal);
    assert.equal(bad.reason, "input_failed");
    assert.match(bad.message ?? "", /working_directory 'nope'/);
  });

  test("anything but relative files and folders is refused", async () => {
    const header = (await canonicalTar({ "a.txt": "hello" })).subarray(0, 512);
    const tampered = (change: (copy: Buffer) => void) => {
      const copy = Buffer.from(header);
      change(copy);
      copy.fill(" ", 148, 156);
      const sum = copy.reduce((total, byte) => total + byte, 0);
      copy.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
      return Buffer.concat([copy, Buffer.alloc(512), Buffer.alloc(1024)]);
    };
    for (const [input, expected] of [
      [tampered((copy) => copy.write("../a.txt\0", 0)), /not a relative/],
      [tampered((copy) => copy.write("/a.txt\0", 0)), /not a relative/],
      [tampered((copy) => copy.write("2", 156)), /neither a file nor a folder/],
      [tampered((copy) => copy.write("6", 156)), /neither a file nor a folder/],
      [tampered((copy) => copy.write("77777777777", 124)), /middle of an entry/],
      [
        Buffer.concat([tampered(() => undefined).subarray(0, 1024), tampered(() => undefined)]),
        /there twice/,
      ],
      [tampered(() => undefined).subarray(0, 1024), /no end/],
    ] as const) {
      const end = endOf((await runSpec({}, { input })).journal);
      assert.equal(end.reason, "input_failed");
      assert.match(end.message ?? "", expected);
    }
  });

  test("a project larger than the storage says so", async () => {
    const files = { "main.py": "print(1)", big: "x".repeat(3 << 20) };
    const end = endOf((await runSpec({}, { files, storageMebibytes: 2 })).journal);
    assert.equal(end.reason, "storage_full");
    assert.equal(end.limit, "storage");
    assert.match(end.message ?? "", /does not fit/);
  });

  test("an environment counts as site-packages, .pth files and child interpreters too, and never for PID 1", async () => {
    await using folder = await TemporaryFolder.create({
      "library.py": "print('imported'); value = 42",
      "json/__init__.py": "raise RuntimeError('shadows the standard library')",
      "more.pth": "/environment/extra\nimport sys; sys.from_pth = True\n",
      "extra/deep.py": "value = 7",
    });
    await chmod(folder.path, 0o755);
    const code = `import subprocess, sys, json, library, deep
print(library.value, deep.value, sys.from_pth, flush=True)
subprocess.run([sys.executable, "-c", "import library, sys; print(sys.from_pth)"])`;
    for (const settings of [{ prestart: false }, { preload: ["library", "deep"] }]) {
      const { journal } = await runSpec({ code }, { environment: folder.path, settings });
      const output = bytesOf(journal, "stdout").toString();
      const rest = "42 7 True\nimported\nTrue\n";
      // Preloaded or not depends on whether the spec came first; what preloading prints is nobody's output.
      assert.ok(output === rest || output === `imported\n${rest}`, outline(journal));
      assert.equal(endOf(journal).exit_code, 0);
    }
  });
});

describe("output", together, () => {
  test("both streams arrive complete and in order, in frames of at most 1 MiB", async () => {
    const code = `
import os, threading
def write(fd, letter):
    for i in range(3000): os.write(fd, (letter * (i % 700) + str(i) + "\\n").encode())
threads = [threading.Thread(target=write, args=pair) for pair in ((1, "o"), (2, "e"))]
[thread.start() for thread in threads]; [thread.join() for thread in threads]`;
    const { journal } = await runSpec({ code });
    const expected = (letter: string) =>
      Array.from({ length: 3000 }, (_, i) => `${letter.repeat(i % 700)}${i}\n`).join("");
    assert.equal(bytesOf(journal, "stdout").toString(), expected("o"));
    assert.equal(bytesOf(journal, "stderr").toString(), expected("e"));
    assert.equal(endOf(journal).usage.stdout_bytes, expected("o").length);
  });

  test("a line is in the journal while the task waits, tiny ones after it too", async () => {
    await using container = await RunnerContainer.start();
    await container.send({ code: "print('a'); print('b'); print('c'); import time; time.sleep(60)" });
    await container.until((journal) => bytesOf(journal, "stdout").toString() === "a\nb\nc\n");
    container.signal("USR1");
    assert.equal(endOf((await container.finish()).journal).reason, "cancelled");
  });

  test("over the log budget: kept exactly up to it, then a gap, and the task is stopped", async () => {
    const code = "import os\nwhile True: os.write(1, b'0123456789' * 100); os.write(2, b'e')";
    const { journal } = await runSpec({ code, limits: { log_bytes: 100_001 } });
    const kept = bytesOf(journal, "stdout").length + bytesOf(journal, "stderr").length;
    assert.equal(kept, 100_001);
    const end = endOf(journal);
    assert.equal(end.reason, "output_limit");
    assert.deepEqual([end.limit, end.limit_value, end.killer, end.signal], ["log", 100_001, "runner", 9]);
    const dropped = gapBytes(journal);
    const { stdout_bytes = 0, stderr_bytes = 0 } = end.usage;
    assert.equal(kept + dropped, stdout_bytes + stderr_bytes);
  });

  test("exactly the log budget is no breach", async () => {
    const end = endOf((await runSpec({ code: "print('x' * 99)", limits: { log_bytes: 100 } })).journal);
    assert.deepEqual([end.reason, end.exit_code, end.limits_hit], ["exited", 0, []]);
  });

  test("the journal's own size limit leaves room for an end, and is not the task's limit", async () => {
    const code = "open('big', 'wb').write(b'x' * (2 << 20))\nimport os\nwhile True: os.write(1, b'y' * 4096)";
    const { journal } = await runSpec({ code }, { arguments: ["--ulimit", "fsize=1000000:100000000"] });
    assert.equal(endOf(journal).reason, "output_limit");
    assert.ok(bytesOf(journal, "stdout").length > 500_000);
  });
});
