/** How an attempt ends in a real container: by itself, by a limit, by a client, and what it leaves behind. */
import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { describe, test } from "node:test";
import { extract } from "tar-stream";
import { dockerMissing, RunnerContainer, runSpec } from "../support/runner-container.ts";
import { bytesOf, endOf, outline, recordsOf } from "../support/runner-journal.ts";

const skip = dockerMissing();
const together = { skip, concurrency: 2 };

describe("by itself", together, () => {
  test("exit codes and signals are told as they are", async () => {
    const failed = endOf((await runSpec({ code: "raise SystemExit(3)" })).journal);
    assert.deepEqual([failed.reason, failed.exit_code, failed.signal], ["exited", 3, null]);
    const code = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)";
    const killed = endOf((await runSpec({ code })).journal);
    assert.deepEqual([killed.reason, killed.exit_code, killed.signal], ["signaled", null, 11]);
    assert.match(killed.process ?? "", /^python3 \(pid \d+\)$/);
  });

  test("nothing outlives the main process: daemons, the deaf, the stopped, storms of forks", async () => {
    const code = `
import os, signal, time
def child(action):
    if os.fork() == 0:
        action()
        while True: time.sleep(1)
child(os.setsid)
child(lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))
child(lambda: os.kill(os.getpid(), signal.SIGSTOP))
def storm():
    while True:
        try:
            if os.fork(): os._exit(0)
        except OSError: pass
child(storm); child(storm)
print("out")`;
    const { status, journal } = await runSpec({ code }, { processes: 40 });
    assert.equal(status, 0);
    assert.deepEqual([endOf(journal).reason, endOf(journal).exit_code], ["exited", 0]);
    assert.equal(bytesOf(journal, "stdout").toString(), "out\n");
  });

  test("limits that were only touched by a task that ended well are told beside its end", async () => {
    const code = `
import subprocess, sys
print(subprocess.run([sys.executable, "-c", "x = bytearray(900 << 20)"]).returncode)`;
    const end = endOf((await runSpec({ code }, { memory: "64m" })).journal);
    assert.deepEqual([end.reason, end.exit_code, end.limits_hit, end.limit], ["exited", 0, ["ram"], null]);
  });
});

describe("by a limit", together, () => {
  test("run time: the whole tree, with what it had written", async () => {
    const code = "import os, time\nos.fork()\nos.write(1, b'begun\\n')\ntime.sleep(60)";
    const { journal } = await runSpec({ code, limits: { run_ms: 700 } });
    const end = endOf(journal);
    assert.deepEqual(
      [end.reason, end.limit, end.limit_value, end.killer],
      ["timed_out", "run_time", 700, "runner"],
    );
    assert.deepEqual([end.exit_code, end.signal, end.limits_hit], [null, 9, ["run_time"]]);
    assert.ok(end.observed_peak >= 700);
    assert.equal(bytesOf(journal, "stdout").toString(), "begun\nbegun\n");
  });

  test("total time, also when it has passed before the program starts", async () => {
    const passed = { deadline_unix_ms: Date.now() - 1000 };
    const { journal } = await runSpec({ code: "print('never')", limits: passed });
    assert.deepEqual([endOf(journal).reason, endOf(journal).limit], ["timed_out", "total_time"]);
    assert.equal(bytesOf(journal, "stdout").length, 0);
    const soon = { deadline_unix_ms: Date.now() + 2000 };
    const later = endOf((await runSpec({ code: "import time; time.sleep(60)", limits: soon })).journal);
    assert.deepEqual([later.reason, later.limit], ["timed_out", "total_time"]);
  });

  test("RAM: the kernel's kill is told with its victim", async () => {
    const end = endOf((await runSpec({ code: "x = bytearray(900 << 20)" }, { memory: "64m" })).journal);
    assert.deepEqual([end.reason, end.limit, end.killer, end.signal], ["out_of_memory", "ram", "kernel", 9]);
    assert.match(end.process ?? "", /^python3 \(pid \d+\)$/);
  });

  test("RAM: a victim below a shell counts when the shell fails for it", async () => {
    const command = ["sh", "-c", "python3 -c 'x = bytearray(900 << 20)'; exit $?"];
    const end = endOf((await runSpec({ program: { command } }, { memory: "64m" })).journal);
    assert.deepEqual([end.reason, end.exit_code, end.killer], ["out_of_memory", 137, "kernel"]);
    assert.match(end.process ?? "", /^python3 /);
  });

  test("storage, with what is left still collected", async () => {
    const code = "open('kept.txt', 'w').write('kept')\nopen('big', 'wb').write(b'x' * (64 << 20))";
    const { journal, artifacts } = await runSpec({ code, outputs: ["*.txt"] }, { storageMebibytes: 4 });
    assert.deepEqual([endOf(journal).reason, endOf(journal).limit], ["storage_full", "storage"]);
    assert.deepEqual(await entries(artifacts), { "kept.txt": "kept" });
  });

  test("processes", async () => {
    const code = "import os, time\nfor _ in range(100):\n    if os.fork() == 0: time.sleep(60)";
    const end = endOf((await runSpec({ code }, { processes: 20 })).journal);
    assert.deepEqual([end.reason, end.limit, end.limit_value], ["process_limit", "processes", 20]);
  });
});

describe("by a client", together, () => {
  const begun = (text: string) => (journal: Parameters<typeof bytesOf>[0]) =>
    bytesOf(journal, "stdout").toString().includes(text);

  test("SIGTERM reaches the task, which may end in its own way", async () => {
    await using container = await RunnerContainer.start();
    const code = `
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("bye"), sys.exit(5)))
print("begun"); time.sleep(60)`;
    await container.send({ code, stop_grace_ms: 20_000 });
    await container.until(begun("begun"));
    container.signal("TERM");
    const { journal } = await container.finish();
    const end = endOf(journal);
    assert.deepEqual([end.reason, end.exit_code, end.killer], ["cancelled", 5, null]);
    assert.match(bytesOf(journal, "stdout").toString(), /bye/);
  });

  test("SIGTERM, then SIGKILL for a task that does not listen", async () => {
    await using container = await RunnerContainer.start();
    const code = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('begun'); time.sleep(60)";
    await container.send({ code, stop_grace_ms: 200 });
    await container.until(begun("begun"));
    container.signal("TERM");
    const end = endOf((await container.finish()).journal);
    assert.deepEqual([end.reason, end.signal, end.killer], ["cancelled", 9, "client"]);
  });

  test("SIGUSR1 kills at once, also a task that stopped itself", async () => {
    await using container = await RunnerContainer.start();
    const code = "import os, signal\nprint('begun', flush=True); os.kill(os.getpid(), signal.SIGSTOP)";
    await container.send({ code, stop_grace_ms: 60_000 });
    await container.until(begun("begun"));
    container.signal("USR1");
    const end = endOf((await container.finish()).journal);
    assert.deepEqual([end.reason, end.signal, end.killer], ["cancelled", 9, "client"]);
  });

  test("while the project is unpacked: the program is never started", async () => {
    const files = Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`d/${i}`, "x"]));
    await using container = await RunnerContainer.start({
      files: { "main.py": "print('never')", ...files },
      storageMebibytes: 200,
      arguments: ["--cpus", "0.2"],
    });
    await container.send({}, { storageMebibytes: 200 });
    await container.until((journal) => recordsOf(journal, "stage").length > 0);
    container.signal("TERM");
    const { journal } = await container.finish();
    assert.deepEqual(
      [endOf(journal).reason, endOf(journal).exit_code],
      ["cancelled", null],
      outline(journal),
    );
    assert.equal(bytesOf(journal, "stdout").length, 0);
  });
});

describe("artifacts", together, () => {
  test("regular files that match, and nothing that only looks like one", async () => {
    const code = `
import os
os.makedirs("out/deep/er"); os.makedirs("model/x"); os.makedirs("no")
for name in ("out/a", "out/deep/er/b.txt", "model/w.bin", "model/x/w.bin", "model/w.txt", "no/c", ".hidden", "L" * 120 + ".bin"):
    open(name, "w").write(name)
os.symlink("/etc/passwd", "out/link"); os.symlink("/", "out/root"); os.mkfifo("out/fifo"); os.mkfifo("model/f.bin")
open(b"out/\\xff", "w").close()`;
    const outputs = ["out/**", "model/*.bin", "*.bin", "missing/**"];
    const { journal, artifacts } = await runSpec({ code, outputs });
    const names = ["out/a", "out/deep/er/b.txt", "model/w.bin", `${"L".repeat(120)}.bin`];
    assert.deepEqual(await entries(artifacts), Object.fromEntries(names.map((name) => [name, name])));
    const end = endOf(journal);
    assert.deepEqual([end.reason, end.artifacts.count], ["exited", 4]);
    assert.match(end.artifacts.error ?? "", /1 files? .*left out/);
  });

  test("a folder that is named stands for what is below it", async () => {
    const code = "import os\nos.makedirs('out/a')\nopen('out/a/b', 'w').write('1')\nopen('c', 'w')";
    const { artifacts } = await runSpec({ code, outputs: ["out"] });
    assert.deepEqual(await entries(artifacts), { "out/a/b": "1" });
  });

  test("what exceeds the byte cap is left out, and never changes the reason", async () => {
    const code = "open('a', 'w').write('small')\nopen('b', 'w').truncate(1 << 40)";
    const { journal, artifacts } = await runSpec({ code, outputs: ["*"], limits: { artifact_bytes: 1000 } });
    const end = endOf(journal);
    assert.deepEqual([end.reason, end.exit_code, end.artifacts.count], ["exited", 0, 1]);
    assert.match(end.artifacts.error ?? "", /exceed 1000 bytes/);
    assert.deepEqual(await entries(artifacts), { a: "small" });
  });

  test("what takes too long is left out whole", async () => {
    const code = "open('a', 'w').write('small')\nopen('b', 'w').truncate(1 << 36)";
    const limits = { artifact_bytes: 1 << 40, artifact_ms: 500 };
    const { journal, artifacts } = await runSpec({
      code,
      outputs: ["*"],
      limits: { ...limits, artifact_bytes: 2 ** 40 },
    });
    const end = endOf(journal);
    assert.match(end.artifacts.error ?? "", /longer than 500 ms/);
    assert.deepEqual([end.reason, end.artifacts.count], ["exited", 1]);
    assert.deepEqual(await entries(artifacts), { a: "small" });
  });

  test("they are kept after a timeout too", async () => {
    const code = "open('a.txt', 'w').write('1')\nimport time; time.sleep(60)";
    const { journal, artifacts } = await runSpec({ code, outputs: ["*.txt"], limits: { run_ms: 500 } });
    assert.deepEqual([endOf(journal).reason, endOf(journal).artifacts.count], ["timed_out", 1]);
    assert.deepEqual(await entries(artifacts), { "a.txt": "1" });
  });
});

describe("under gVisor", { skip: skip || dockerMissing("runsc"), concurrency: 1 }, () => {
  const runtime = "runsc";

  test("a snippet and a project run, with log order and artifacts", async () => {
    const code = "import os\nfor i in range(2000): print(i)\nopen('a', 'w').write(str(os.getuid()))";
    const { journal, artifacts } = await runSpec(
      { program: { script: "x.py" }, outputs: ["a"] },
      { runtime, files: { "x.py": code } },
    );
    const lines = Array.from({ length: 2000 }, (_, i) => `${i}\n`).join("");
    assert.equal(bytesOf(journal, "stdout").toString(), lines);
    assert.deepEqual(await entries(artifacts), { a: "70001" });
    assert.equal(endOf(journal).reason, "exited");
  });

  test("the deadline holds, and nothing outlives the main process", async () => {
    const code = "import os, time\nif os.fork() == 0: os.setsid()\nprint('x', flush=True); time.sleep(60)";
    const { status, journal } = await runSpec({ code, limits: { run_ms: 1500 } }, { runtime });
    assert.equal(status, 0);
    assert.deepEqual([endOf(journal).reason, endOf(journal).killer], ["timed_out", "runner"]);
    assert.ok((endOf(journal).usage.peak_ram_bytes ?? 0) > 1 << 20);
  });
});

async function entries(tar: Buffer): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for await (const entry of Readable.from([tar]).pipe(extract())) {
    const chunks: Buffer[] = [];
    for await (const chunk of entry) if (Buffer.isBuffer(chunk)) chunks.push(chunk);
    found[entry.header.name] = Buffer.concat(chunks).toString("utf8");
  }
  return found;
}
