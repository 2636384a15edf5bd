import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, test } from "node:test";
import { Unavailable } from "#server/domain/errors.ts";
import {
  acquire,
  attempt,
  follow,
  patience,
  sampleRunnerSpec,
  sampleShape,
  shell,
} from "../contract/engine-under-test.ts";
import { DockerBench, docker, dockerMissing, EXECUTOR_IMAGE } from "../support/docker-engine.ts";

const CHILD = join(import.meta.dirname, "../support/docker-engine-child.ts");
const LINES = 100;
const COUNTING = `i=0; while [ $i -lt ${LINES} ]; do echo line $i; i=$((i+1)); sleep 0.01; done`;

const ALL_LINES = Array.from({ length: LINES }, (_, i) => `line ${i}\n`).join("");

interface Report {
  readonly error?: string;
  readonly attemptId: string;
  readonly running: string;
  readonly waiting: string;
  readonly warm: readonly string[];
  readonly storage?: { readonly level: string; readonly mechanism: string; readonly advice: string };
}

interface Started {
  readonly child: ChildProcess;
  readonly report: Report;
  /** What it says after its report. */
  readonly lines: AsyncIterator<string>;
}

/** A server in its own process; `before` is shell that runs in a mount namespace of its own first. */
async function startServer(bench: DockerBench, before?: string): Promise<Started> {
  const command = [
    process.execPath,
    "--conditions=longshore-source",
    CHILD,
    bench.path,
    bench.installationId,
    COUNTING,
  ];
  const [file = "", ...args] =
    before === undefined ? command : ["unshare", "-m", "sh", "-c", `${before}; exec "$@"`, "sh", ...command];
  const child = spawn(file, args, { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const first = await lines.next();
  if (first.done === true) throw new Error("the server ended without a word");
  return { child, report: JSON.parse(first.value), lines };
}

describe("DockerEngine after a fall", { skip: await dockerMissing() }, () => {
  test("a killed server's attempt goes on, and the next server takes over", async () => {
    await using bench = await DockerBench.create();
    const { child, report } = await startServer(bench);
    assert.equal(report.error, undefined);
    assert.ok(report.warm.length > 0);
    const died = once(child, "exit");
    child.kill("SIGKILL");
    await died;

    const engine = await bench.open();
    const listed = await engine.list();
    for (const id of report.warm) {
      // What no attempt ever had is gone with its server, files and all.
      assert.ok(!listed.some((sandbox) => sandbox.id === id));
      assert.deepEqual(await bench.leftovers(id), []);
      assert.ok(!(await engine.files.list()).includes(id));
    }
    // One that an attempt had, but which got no spec, has read end of file and ended without running anything.
    assert.equal((await engine.ended(report.waiting, patience())).exitCode, 0);
    assert.equal(await engine.files.journal(report.waiting).size(), 0);

    const { stdout, ending, exit } = await follow(engine, report.running, report.attemptId);
    assert.equal(stdout, ALL_LINES);
    assert.equal(ending?.reason, "EXITED");
    assert.deepEqual([exit.exitCode, exit.lost], [0, false]);
    const uids = await docker(
      "ps",
      "-a",
      "--filter",
      `label=longshore.installation=${bench.installationId}`,
      "--format",
      '{{.Label "longshore.uid"}}',
    );
    const fresh = await acquire(engine, sampleShape((await engine.resolveImage(EXECUTOR_IMAGE)).digest));
    const uid = await docker(
      "inspect",
      fresh.containerId,
      "--format",
      '{{index .Config.Labels "longshore.uid"}}',
    );
    assert.ok(!uids.split("\n").includes(uid));
    for (const id of [report.running, report.waiting, fresh.id]) {
      await engine.release(id);
      assert.deepEqual(await bench.leftovers(id), []);
    }
  });

  test("an end that comes while the daemon is away is told when it is back", async () => {
    await using bench = await DockerBench.create();
    const proxy = await bench.proxy();
    const engine = await bench.open({ connection: { socketPath: proxy.path } });
    const shape = sampleShape((await engine.resolveImage(EXECUTOR_IMAGE)).digest);
    const sandbox = await acquire(engine, shape);
    const spec = sampleRunnerSpec(shape, shell("echo one; sleep 0.3; echo two"));
    await engine.begin(sandbox, spec);
    const started = Promise.withResolvers<void>();
    const outcome = follow(
      engine,
      sandbox.id,
      spec.attemptId,
      (frame) => frame.kind === "log" && started.resolve(),
    );
    await started.promise;
    await proxy.cut();
    await assert.rejects(engine.list(), Unavailable);
    // By the daemon's own word, past the proxy.
    await docker("wait", sandbox.containerId);
    await proxy.open();
    const { stdout, exit } = await outcome;
    assert.equal(stdout, "one\ntwo\n");
    assert.deepEqual([exit.exitCode, exit.lost], [0, false]);
    await engine.release(sandbox.id);
    assert.deepEqual(await bench.leftovers(sandbox.id), []);
  });

  test("a sandbox whose connection broke before its spec takes none, and has run nothing", async () => {
    await using bench = await DockerBench.create();
    const proxy = await bench.proxy();
    const engine = await bench.open({ connection: { socketPath: proxy.path } });
    const shape = sampleShape((await engine.resolveImage(EXECUTOR_IMAGE)).digest);
    const sandbox = await acquire(engine, shape);
    await proxy.cut();
    await proxy.open();
    assert.equal((await engine.ended(sandbox.id, patience())).exitCode, 0);
    await assert.rejects(engine.begin(sandbox, sampleRunnerSpec(shape)));
    assert.equal(await engine.files.journal(sandbox.id).size(), 0);
    await engine.release(sandbox.id);
  });

  test("many at once, each with a uid and a volume of its own, and nothing left", async () => {
    await using bench = await DockerBench.create();
    const engine = await bench.open();
    const shape = sampleShape((await engine.resolveImage(EXECUTOR_IMAGE)).digest, { cpuMillis: 200 });
    const ids = await Promise.all(
      Array.from({ length: 12 }, async (_, i) => {
        const sandbox = engine.takeWarm(shape) ?? (await acquire(engine, shape));
        const { stdout } = await attempt(
          engine,
          sandbox,
          sampleRunnerSpec(shape, shell(`echo ${i} > mine; ls; id -u`)),
        );
        await engine.release(sandbox.id);
        const [file, uid] = stdout.trim().split("\n");
        assert.equal(file, "mine");
        return { id: sandbox.id, uid };
      }),
    );
    assert.equal(new Set(ids.map(({ uid }) => uid)).size, ids.length);
    await engine.close();
    for (const { id } of ids) assert.deepEqual(await bench.leftovers(id), []);
  });
});

describe("DockerEngine on hosts that are not what they seem", { skip: await dockerMissing() }, () => {
  test("refuses a daemon that does not see its files, and says what to do", async () => {
    await using bench = await DockerBench.create();
    const { child, report } = await startServer(bench, `mount -t tmpfs none ${bench.path}`);
    await (child.exitCode === null ? once(child, "exit") : undefined);
    assert.match(
      report.error ?? "",
      /does not see the files of .* mount its data folder from the host under the same path/s,
    );
  });

  test("falls back to storage by Docker where its mounts do not reach the daemon, and says so", async () => {
    await using bench = await DockerBench.create();
    const { child, report, lines } = await startServer(bench, "true");
    assert.equal(report.error, undefined);
    assert.equal(report.storage?.level, "ADVISORY");
    assert.match(report.storage?.advice ?? "", /shared propagation/);
    const ended = once(child, "exit");
    child.stdin?.end();
    const outcome = await lines.next();
    assert.deepEqual(JSON.parse(outcome.value ?? "{}"), { stdout: ALL_LINES, reason: "EXITED" });
    assert.deepEqual(await ended, [0, null]);
    for (const id of [report.running, report.waiting, ...report.warm])
      assert.deepEqual(await bench.leftovers(id), []);
  });
});
