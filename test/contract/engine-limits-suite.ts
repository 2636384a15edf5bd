import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { after, before, describe, type TestContext, test } from "node:test";
import type { RunnerEnd } from "#server/domain/journal.ts";
import type { Limit } from "#server/domain/limits.ts";
import type { Engine, EngineTier, RunnerSpec, SandboxShape } from "#server/domain/ports/engine.ts";
import { MEBIBYTE } from "#server/domain/resources.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";
import {
  acquire,
  attempt,
  type EngineUnderTest,
  follow as followJournal,
  sampleRunnerSpec,
  sampleShape,
  shell,
} from "./engine-under-test.ts";

/** Far over the limit of 64 MiB, far below what any machine has. */
const GREEDY = "data = bytearray(600 * 2**20)\nprint(len(data))";
const FILL = "dd if=/dev/zero of=/workspace/fill bs=1M count=200 2>/dev/null || exit 9";
const MANY = "i=0; while [ $i -lt 100 ]; do sleep 5 & i=$((i+1)); done; wait; exit 0";

/** What an engine says that it enforces, it has to enforce; what it calls advisory or unsupported, it need not. */
export function engineLimitsSuite(
  name: string,
  open: () => Promise<EngineUnderTest>,
  options: { skip?: string | false } = {},
): void {
  describe(`Engine: ${name}`, { skip: options.skip ?? false }, () => {
    let under: EngineUnderTest;
    let engine: Engine;
    let shape: SandboxShape;
    let tier: EngineTier | undefined;
    before(async () => {
      under = await open();
      engine = under.engine;
      const isolation = under.isolation ?? "CONTAINER";
      shape = { ...sampleShape((await engine.resolveImage(under.image)).digest), isolation };
      tier = (await engine.capabilities()).tiers.find((candidate) => candidate.isolation === isolation);
    });
    after(() => under?.close());

    /** Skips the test, with the engine's own words, where it does not promise to hold the limit. */
    const promises = (t: TestContext, limit: Limit): boolean => {
      const support = tier?.limits.find((candidate) => candidate.limit === limit);
      if (support?.level === "ENFORCED") return true;
      t.skip(`${support?.level.toLowerCase() ?? "unsupported"}: ${support?.mechanism ?? "not listed"}`);
      return false;
    };

    const follow = async (limits: Partial<SandboxShape["limits"]>, changes: Partial<RunnerSpec>) => {
      const own = { ...shape, limits: { ...shape.limits, ...limits } };
      const sandbox = await acquire(engine, own);
      try {
        const spec = sampleRunnerSpec(own, changes);
        await engine.begin(sandbox, spec);
        return await followJournal(engine, sandbox.id, spec.attemptId);
      } finally {
        await engine.release(sandbox.id);
        await engine.files.remove(sandbox.id);
      }
    };
    const run = async (limits: Partial<SandboxShape["limits"]>, changes: Partial<RunnerSpec>) => {
      const { ending, ...rest } = await follow(limits, changes);
      assert.ok(ending !== undefined, `no end frame; the sandbox ended: ${JSON.stringify(rest.exit)}`);
      return { ...rest, ending };
    };
    const snippet = (code: string): Partial<RunnerSpec> => ({
      program: { kind: "script", script: "main.py" },
      code,
    });
    const told = ({ reason, limit }: RunnerEnd) => [reason, limit];

    test("memory beyond the limit ends the task, and the record says so", async (t) => {
      if (!promises(t, "RAM")) return;
      const { ending, stdout, exit } = await follow({ ramBytes: 64 * MEBIBYTE }, snippet(GREEDY));
      assert.equal(stdout, "");
      // Where the kernel takes the runner, too, it is the engine that tells.
      if (ending === undefined) assert.ok(exit.oomKilled, JSON.stringify(exit));
      else assert.deepEqual(told(ending), ["OUT_OF_MEMORY", "RAM"]);
    });

    test("storage beyond the limit cannot be written", async (t) => {
      if (!promises(t, "STORAGE")) return;
      const { ending } = await run({ storageBytes: 32 * MEBIBYTE }, shell(FILL));
      assert.deepEqual(told(ending), ["STORAGE_FULL", "STORAGE"]);
    });

    test("processes beyond the limit are refused", async (t) => {
      if (!promises(t, "PROCESSES")) return;
      const { ending } = await run({ processes: 16 }, shell(MANY));
      assert.deepEqual(told(ending), ["PROCESS_LIMIT", "PROCESSES"]);
    });

    test("open files beyond the limit are refused", async (t) => {
      if (!promises(t, "OPEN_FILES")) return;
      const code = "import os\nkept = []\nwhile True: kept.append(os.open('/dev/null', os.O_RDONLY))";
      const { ending, stderr } = await run({ openFiles: 40 }, snippet(code));
      assert.deepEqual([ending.reason, ending.exitCode], ["EXITED", 1]);
      assert.match(stderr, /Too many open files/);
    });

    test("output beyond the log budget ends the task", async (t) => {
      if (!promises(t, "LOG")) return;
      const { ending, stdout } = await run({ logBytes: 2 ** 20 }, shell("yes"));
      assert.equal(ending.reason, "OUTPUT_LIMIT");
      assert.ok(stdout.length <= 2 ** 20);
    });

    test("CPU beyond the limit is not given", async (t) => {
      if (!promises(t, "CPU")) return;
      if (under.ownCpuClock === true)
        return t.skip("its kernel's own clock also counts what a task waits for the host's CPU");
      // Two processes that would each take a whole CPU for a second, held to half of one together.
      const code = `
import multiprocessing, time
def spin():
    start = time.monotonic()
    while time.monotonic() - start < 1: pass
begun = time.monotonic()
many = [multiprocessing.Process(target=spin) for _ in range(2)]
for one in many: one.start()
for one in many: one.join()
print(time.monotonic() - begun)
`;
      const { ending, stdout } = await run({ cpuMillis: 500 }, snippet(code));
      assert.equal(ending.exitCode, 0);
      // Half of one, with room for what a quota lets through at its edges.
      assert.ok(
        ending.cpuMicros <= Number(stdout) * 1e6 * 0.75,
        `${ending.cpuMicros} µs of CPU in ${stdout.trim()} s`,
      );
    });

    test("without a network nothing but loopback is there", async (t) => {
      if (!promises(t, "NETWORK")) return;
      const { stdout } = await run({}, shell("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '"));
      assert.equal(stdout, "lo\n");
    });

    test("an environment's packages are there, and cannot be changed", async (t) => {
      if ((await engine.capabilities()).environments !== true || under.playsEnvironments === false)
        return t.skip("the engine gives sandboxes no environments");
      await using folder = await TemporaryFolder.create();
      const id = "e".repeat(64);
      const content = folder.at(`environments/${id}/content`);
      await mkdir(content, { recursive: true });
      await writeFile(`${content}/brought.py`, "word = 'from the environment'\n");
      const own = { ...shape, environment: { id, folder: content, preload: [] } };
      const sandbox = await acquire(engine, own);
      try {
        const code = "import brought\nprint(brought.word)\nopen('/environment/x', 'w')";
        const { stdout, stderr } = await attempt(engine, sandbox, sampleRunnerSpec(own, snippet(code)));
        assert.equal(stdout, "from the environment\n", stderr);
        assert.match(stderr, /Read-only file system|Permission denied/);
      } finally {
        await engine.release(sandbox.id);
        await engine.files.remove(sandbox.id);
      }
    });
  });
}
