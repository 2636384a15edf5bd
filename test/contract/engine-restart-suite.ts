import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { JournalFrame } from "#server/domain/journal.ts";
import { JournalParser } from "#server/domain/journal-parser.ts";
import type { Engine, SandboxShape } from "#server/domain/ports/engine.ts";
import { MEBIBYTE } from "#server/domain/resources.ts";
import {
  acquire,
  type EngineUnderTest,
  follow,
  patience,
  sampleRunnerSpec,
  sampleShape,
  shell,
} from "./engine-under-test.ts";

const LINES = 40;
const COUNTING = `i=0; while [ $i -lt ${LINES} ]; do echo line $i; i=$((i+1)); sleep 0.1; done`;

/** What has to hold across the end of one server and the start of the next. */
export function engineRestartSuite(
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

    const remove = async (id: string) => {
      await engine.release(id);
      await engine.files.remove(id);
    };

    test("what runs goes on without a server, and the next one misses no byte of its log", async () => {
      const sandbox = await acquire(engine, shape);
      const spec = sampleRunnerSpec(shape, shell(COUNTING));
      await engine.begin(sandbox, spec);
      const parser = new JournalParser({ attemptId: spec.attemptId });
      const before: JournalFrame[] = [];
      const stop = new AbortController();
      const journal = engine.files.journal(sandbox.id);
      for await (const _ of journal.changes(AbortSignal.any([stop.signal, patience()]))) {
        before.push(...parser.push(await journal.read(parser.position, MEBIBYTE)));
        if (before.some(({ kind }) => kind === "log")) stop.abort();
      }
      engine = await under.reopen();
      assert.deepEqual(engine.removedAtOpen, []);
      assert.equal((await engine.list()).find(({ id }) => id === sandbox.id)?.running, true);
      const { stdout, ending, exit } = await follow(engine, sandbox.id, spec.attemptId);
      assert.equal(stdout, Array.from({ length: LINES }, (_, i) => `line ${i}\n`).join(""));
      assert.deepEqual([ending?.reason, ending?.exitCode], ["EXITED", 0]);
      assert.deepEqual([exit.exitCode, exit.lost], [0, false]);
      await remove(sandbox.id);
      assert.deepEqual(await under.leftovers(sandbox.id), []);
    });

    test("what ended while no server was there is told to the next one", async () => {
      const sandbox = await acquire(engine, shape);
      const spec = sampleRunnerSpec(shape, shell("echo done; exit 3"));
      await engine.begin(sandbox, spec);
      await engine.ended(sandbox.id, patience());
      engine = await under.reopen();
      const { stdout, ending, exit } = await follow(engine, sandbox.id, spec.attemptId);
      assert.deepEqual([stdout, ending?.exitCode], ["done\n", 3]);
      assert.equal(exit.lost, false);
      await remove(sandbox.id);
    });

    test("the next server stops what the last one started", async () => {
      const sandbox = await acquire(engine, shape);
      const spec = sampleRunnerSpec(shape, shell("echo ready; sleep 60"));
      await engine.begin(sandbox, spec);
      engine = await under.reopen();
      const { ending } = await follow(engine, sandbox.id, spec.attemptId, (frame) => {
        if (frame.kind === "log") void engine.stop(sandbox.id, "terminate");
      });
      assert.equal(ending?.reason, "CANCELLED");
      await remove(sandbox.id);
    });

    test("what nobody knows of is listed, and can be removed", async () => {
      const orphan = await acquire(engine, shape);
      await engine.begin(orphan, sampleRunnerSpec(shape, shell("sleep 60")));
      engine = await under.reopen();
      assert.ok((await engine.list()).some(({ id }) => id === orphan.id));
      await remove(orphan.id);
      assert.ok(!(await engine.list()).some(({ id }) => id === orphan.id));
      assert.deepEqual(await under.leftovers(orphan.id), []);
      assert.ok(!(await engine.files.list()).includes(orphan.id));
    });
  });
}
