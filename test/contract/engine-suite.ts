import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { Readable } from "node:stream";
import { after, before, describe, test } from "node:test";
import { extract } from "tar-stream";
import { ulid } from "ulid";
import { packReadOnly } from "#server/adapters/archive/canonical-tar.ts";
import { ImageRefused } from "#server/domain/errors.ts";
import type { JournalFrame } from "#server/domain/journal.ts";
import { JournalParser } from "#server/domain/journal-parser.ts";
import {
  type Engine,
  NotSent,
  type RunnerSpec,
  type Sandbox,
  type SandboxShape,
} from "#server/domain/ports/engine.ts";
import { MEBIBYTE } from "#server/domain/resources.ts";
import { file, folder as folderEntry, tar } from "../fixtures/archives/raw-tar.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";
import {
  acquire,
  attempt,
  type EngineUnderTest,
  follow,
  patience,
  sampleRunnerSpec,
  sampleShape,
  shell,
} from "./engine-under-test.ts";

/** What every engine must do, however it does it. */
export function engineSuite(
  name: string,
  open: () => Promise<EngineUnderTest>,
  options: { skip?: string | false } = {},
): void {
  describe(`Engine: ${name}`, { skip: options.skip ?? false }, () => {
    let under: EngineUnderTest;
    let engine: Engine;
    let shape: SandboxShape;
    before(async () => {
      under = await open();
      engine = under.engine;
      shape = {
        ...sampleShape((await engine.resolveImage(under.image)).digest),
        isolation: under.isolation ?? "CONTAINER",
      };
    });
    after(() => under?.close());

    const run = async (
      changes: Partial<RunnerSpec>,
      onFrame?: (frame: JournalFrame, sandbox: Sandbox) => void,
    ) => {
      const sandbox = await acquire(engine, shape);
      try {
        const spec = sampleRunnerSpec(shape, changes);
        const outcome = await attempt(engine, sandbox, spec, (frame) => onFrame?.(frame, sandbox));
        const artifacts: Buffer[] = [];
        for await (const chunk of engine.files.artifacts(sandbox.id)) artifacts.push(Buffer.from(chunk));
        return { ...outcome, artifacts: Buffer.concat(artifacts) };
      } finally {
        await engine.release(sandbox.id);
        await engine.files.remove(sandbox.id);
      }
    };

    test("runs a program and keeps its output, in order and complete", async () => {
      const script = "i=0; while [ $i -lt 2000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done";
      const { frames, stdout, stderr, ending, exit } = await run(shell(script));
      const lines = (word: string) => Array.from({ length: 2000 }, (_, i) => `${word} ${i}\n`).join("");
      assert.equal(stdout, lines("out"));
      assert.equal(stderr, lines("err"));
      assert.equal(ending.reason, "EXITED");
      assert.equal(ending.exitCode, 0);
      assert.equal(ending.stdoutBytes, stdout.length);
      assert.equal(ending.stderrBytes, stderr.length);
      assert.deepEqual([exit.exitCode, exit.lost], [0, false]);
      assert.equal(frames[0]?.kind, "accepted");
      const stages = frames.flatMap((frame) =>
        frame.kind === "stage" ? [`${frame.stage} ${frame.event}`] : [],
      );
      assert.ok(stages.indexOf("run start") < stages.indexOf("run end"));
    });

    test("hands code, arguments, environment and stdin over", async () => {
      const { stdout } = await run({
        program: { kind: "script", script: "main.py" },
        code: "import os, sys\nprint(sys.argv[1:], os.environ['GREETING'], sys.stdin.read())",
        args: ["a b", "ü"],
        env: { GREETING: "hello" },
        stdin: Buffer.from("from stdin").toString("base64"),
      });
      assert.equal(stdout, "['a b', 'ü'] hello from stdin\n");
    });

    test("brings inputs in beside a project, read-only, and reads them once", async () => {
      await using folder = await TemporaryFolder.create();
      const projectTar = folder.at("project.tar");
      await writeFile(projectTar, tar(file("main.sh", "from the project\n"), folderEntry("data")));
      let readings = 0;
      const content = async function* () {
        readings++;
        yield Buffer.alloc(700_000, "x");
        yield Buffer.from("end\n");
      };
      const inputTar = packReadOnly([
        { path: "data/deep/in.txt", sizeBytes: 700_004, content: content() },
        { path: "empty", sizeBytes: 0, content: Readable.from([]) },
      ]);
      // Not by stat or ls: their system call is one that Debian's gVisor does not know.
      const code = `
import os
for path in ("main.sh", "data/deep/in.txt", "empty"):
    with open(path) as file: print(path, len(file.read()), oct(os.stat(path).st_mode))
`;
      const { stdout, stderr } = await run({
        program: { kind: "script", script: "main.py" },
        code,
        projectTar,
        inputTar,
      });
      assert.equal(
        stdout,
        "main.sh 17 0o100644\ndata/deep/in.txt 700004 0o100444\nempty 0 0o100444\n",
        stderr,
      );
      assert.equal(readings, 1);
    });

    test("an input that does not come whole is told before anything was sent", async () => {
      const sandbox = await acquire(engine, shape);
      const reason = new Error("the store is gone");
      const broken = async function* () {
        yield Buffer.alloc(100_000);
        throw reason;
      };
      const spec = sampleRunnerSpec(shape, {
        inputTar: packReadOnly([{ path: "in", sizeBytes: 200_000, content: broken() }]),
      });
      await assert.rejects(
        engine.begin(sandbox, spec),
        (error) => error instanceof NotSent && error.cause === reason,
      );
      assert.equal(await engine.files.journal(sandbox.id).size(), 0);
      await engine.release(sandbox.id);
      assert.deepEqual(await under.leftovers(sandbox.id), []);
      await engine.files.remove(sandbox.id);
    });

    test("tells a non-zero exit code", async () => {
      const { ending } = await run(shell("exit 3"));
      assert.deepEqual([ending.reason, ending.exitCode], ["EXITED", 3]);
    });

    test("tells the signal that ended a program", async () => {
      const { ending } = await run(shell("kill -SEGV $$"));
      assert.deepEqual([ending.reason, ending.signal], ["SIGNALED", 11]);
    });

    test("ends a program at its time limit", async () => {
      const { ending } = await run({ ...shell("sleep 60"), limits: { ...shape.limits, runMillis: 200 } });
      assert.equal(ending.reason, "TIMED_OUT");
      assert.equal(ending.limit, "RUN_TIME");
    });

    test("terminate lets the program end in its own way", async () => {
      const { ending, stdout } = await run(
        shell("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done"),
        (frame, sandbox) => {
          if (saysReady(frame)) void engine.stop(sandbox.id, "terminate");
        },
      );
      assert.equal(ending.reason, "CANCELLED");
      assert.equal(stdout, "ready\nbye\n");
    });

    test("terminate ends a program that ignores it after its grace", async () => {
      const deaf = {
        ...shell("trap '' TERM; echo ready; while :; do sleep 0.05; done"),
        stopGraceMillis: 200,
      };
      const { ending } = await run(deaf, (frame, sandbox) => {
        if (saysReady(frame)) void engine.stop(sandbox.id, "terminate");
      });
      assert.equal(ending.reason, "CANCELLED");
      assert.equal(ending.signal, 9);
    });

    test("kill ends a program at once, and the journal still gets its end", async () => {
      const { ending } = await run(shell("trap '' TERM; echo ready; sleep 60"), (frame, sandbox) => {
        if (saysReady(frame)) void engine.stop(sandbox.id, "kill");
      });
      assert.equal(ending.reason, "CANCELLED");
    });

    test("stop of a sandbox that has no spec yet ends it", async () => {
      const sandbox = await acquire(engine, shape);
      await engine.stop(sandbox.id, "terminate");
      const exit = await engine.ended(sandbox.id, patience());
      assert.equal(exit.lost, false);
      assert.equal(await engine.files.journal(sandbox.id).size(), 0);
      await engine.release(sandbox.id);
      await engine.files.remove(sandbox.id);
    });

    test("keeps the files that were asked for, byte for byte", async () => {
      const script =
        "mkdir -p out; printf one > out/a.bin; printf '\\000\\377' > out/b.bin; echo no > other.txt";
      const { artifacts, ending } = await run({ ...shell(script), outputs: ["out/*.bin"] });
      assert.deepEqual([ending.artifactCount, ending.artifactBytes], [2, 5]);
      assert.deepEqual(await unpacked(artifacts), { "out/a.bin": "6f6e65", "out/b.bin": "00ff" });
    });

    test("the journal can be read after the release, and release can be repeated", async () => {
      const sandbox = await acquire(engine, shape);
      const spec = sampleRunnerSpec(shape, shell("echo kept"));
      const { stdout } = await attempt(engine, sandbox, spec);
      await Promise.all([engine.release(sandbox.id), engine.release(sandbox.id)]);
      await engine.release(sandbox.id);
      assert.equal(stdout, "kept\n");
      assert.deepEqual(await under.leftovers(sandbox.id), []);
      const parser = new JournalParser({ attemptId: spec.attemptId });
      const frames = parser.push(await engine.files.journal(sandbox.id).read(0, MEBIBYTE));
      assert.equal(frames.at(-1)?.kind, "end");
      assert.ok((await engine.files.list()).includes(sandbox.id));
      await engine.files.remove(sandbox.id);
      await engine.files.remove(sandbox.id);
      assert.ok(!(await engine.files.list()).includes(sandbox.id));
      await assert.rejects(engine.files.journal(sandbox.id).size());
    });

    test("release ends what still runs", async () => {
      const sandbox = await acquire(engine, shape);
      await engine.begin(sandbox, sampleRunnerSpec(shape, shell("sleep 60")));
      const ended = engine.ended(sandbox.id, patience());
      await engine.release(sandbox.id);
      assert.equal((await ended).lost, false);
      assert.deepEqual(await under.leftovers(sandbox.id), []);
      await engine.files.remove(sandbox.id);
    });

    test("lists sandboxes while they are there", async () => {
      const sandbox = await acquire(engine, shape);
      const listed = async () => (await engine.list()).find(({ id }) => id === sandbox.id);
      assert.deepEqual(await listed(), {
        id: sandbox.id,
        containerId: sandbox.containerId,
        running: true,
        warm: false,
      });
      await engine.release(sandbox.id);
      assert.equal(await listed(), undefined);
      await engine.files.remove(sandbox.id);
    });

    test("a sandbox removed from outside is lost", async () => {
      const sandbox = await acquire(engine, shape);
      const spec = sampleRunnerSpec(shape, shell("echo started; sleep 60"));
      await engine.begin(sandbox, spec);
      const { exit, ending } = await follow(engine, sandbox.id, spec.attemptId, (frame) => {
        if (frame.kind === "log") void under.removeFromOutside(sandbox.id, sandbox.containerId);
      });
      assert.equal(exit.lost, true);
      assert.equal(ending, undefined);
      // Somebody asks again, as a server does after a restart.
      assert.equal((await engine.ended(sandbox.id, patience())).lost, true);
      await engine.release(sandbox.id);
      assert.deepEqual(await under.leftovers(sandbox.id), []);
      await engine.files.remove(sandbox.id);
    });

    test("a dead sandbox takes no spec", async () => {
      const sandbox = await acquire(engine, shape);
      await under.removeFromOutside(sandbox.id, sandbox.containerId);
      await engine.ended(sandbox.id, patience());
      await assert.rejects(engine.begin(sandbox, sampleRunnerSpec(shape)));
      await engine.release(sandbox.id);
      await engine.files.remove(sandbox.id);
    });

    test("a second spec is refused", async () => {
      const sandbox = await acquire(engine, shape);
      const spec = sampleRunnerSpec(shape, shell("sleep 60"));
      await engine.begin(sandbox, spec);
      await assert.rejects(engine.begin(sandbox, sampleRunnerSpec(shape)));
      assert.ok((await engine.list()).some(({ id }) => id === sandbox.id));
      await engine.release(sandbox.id);
      await engine.files.remove(sandbox.id);
    });

    test("an aborted create leaves nothing", async () => {
      for (const delay of [undefined, 0, 20, 100]) {
        const order = { sandboxId: ulid(), taskId: ulid(), attempt: 1, shape };
        const signal = delay === undefined ? AbortSignal.abort() : AbortSignal.timeout(delay);
        const made = await engine.create(order, signal).then(
          () => true,
          () => false,
        );
        // It may be through before the abort comes: then it is the caller's to release.
        if (made) await engine.release(order.sandboxId);
        if (made) await engine.files.remove(order.sandboxId);
        assert.deepEqual(await under.leftovers(order.sandboxId), []);
        assert.ok(!(await engine.files.list()).includes(order.sandboxId));
      }
    });

    test("an aborted wait for the end rejects and leaves the sandbox alone", async () => {
      const sandbox = await acquire(engine, shape);
      const stop = new AbortController();
      const ended = engine.ended(sandbox.id, stop.signal);
      stop.abort(new Error("enough"));
      await assert.rejects(ended, { message: "enough" });
      await assert.rejects(engine.ended(sandbox.id, AbortSignal.abort()));
      assert.equal((await engine.list()).find(({ id }) => id === sandbox.id)?.running, true);
      await engine.release(sandbox.id);
      await engine.files.remove(sandbox.id);
    });

    test("a warm sandbox is handed out once, runs, and is no attempt's before", async (t) => {
      const own = { ...shape, limits: { ...shape.limits, processes: 65 } };
      if (under.warmUp === undefined) {
        assert.equal(engine.takeWarm(own), undefined);
        return t.skip("the engine keeps no warm sandboxes");
      }
      await under.warmUp(own);
      assert.ok(engine.warmCount() > 0);
      const idle = (await engine.list()).filter(({ warm }) => warm).map(({ id }) => id);
      const files = await engine.files.list();
      assert.ok(idle.every((id) => !files.includes(id)));
      const taken: Sandbox[] = [];
      for (let sandbox = engine.takeWarm(own); sandbox !== undefined; sandbox = engine.takeWarm(own))
        taken.push(sandbox);
      assert.equal(new Set(taken.map(({ id }) => id)).size, taken.length);
      assert.equal(engine.takeWarm(sampleShape(shape.imageDigest, { processes: 66 })), undefined);
      const [sandbox] = taken;
      assert.ok(sandbox?.warm);
      const { stdout } = await attempt(engine, sandbox, sampleRunnerSpec(own, shell("echo warm")));
      assert.equal(stdout, "warm\n");
      for (const { id } of taken) {
        await engine.release(id);
        assert.deepEqual(await under.leftovers(id), []);
        assert.ok((await engine.files.list()).includes(id));
        await engine.files.remove(id);
      }
    });

    test("refuses an image that is not there", async () => {
      await assert.rejects(engine.resolveImage("longshore/no-such-image:1"), ImageRefused);
    });

    test("tells each limit of each tier once", async () => {
      const { tiers, total } = await engine.capabilities();
      assert.ok(tiers.length > 0 && total.cpuMillis > 0 && total.ramBytes > 0);
      for (const { limits } of tiers) {
        assert.equal(new Set(limits.map(({ limit }) => limit)).size, limits.length);
        for (const limit of limits)
          assert.ok(limit.level === "ENFORCED" || limit.advice !== "", JSON.stringify(limit));
      }
    });
  });
}

function saysReady(frame: JournalFrame): boolean {
  return frame.kind === "log" && Buffer.from(frame.data).toString() === "ready\n";
}

/** Path to content in hex. */
async function unpacked(tar: Buffer): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  const entries = extract();
  entries.end(tar);
  for await (const entry of entries) {
    const chunks: Buffer[] = [];
    for await (const chunk of entry) if (chunk instanceof Buffer) chunks.push(chunk);
    if (entry.header.type === "file") files[entry.header.name] = Buffer.concat(chunks).toString("hex");
  }
  return files;
}
