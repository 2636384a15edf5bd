/** When a journal in a file is looked at: at once where the kernel tells of growth, and seldom besides; often where it does not. */
import assert from "node:assert/strict";
import { appendFile, open } from "node:fs/promises";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { FileJournalSource } from "#server/adapters/sandbox/journal-source.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

/** A journal whose looks are counted; `watched` is the file that the kernel is asked about. */
async function openJournal(t: TestContext, watched: "itself" | "another file") {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const folder = await TemporaryFolder.create();
  t.after(() => folder[Symbol.asyncDispose]());
  const path = join(folder.path, "journal");
  const other = join(folder.path, "other");
  await appendFile(path, "header");
  await appendFile(other, "");
  const file = await open(path);
  t.after(() => file.close());
  const looks = { count: 0, done: Promise.resolve() };
  const source = new FileJournalSource(watched === "itself" ? path : other, async (use) => {
    looks.count++;
    const used = use(file);
    looks.done = used.then(() => undefined);
    return await used;
  });
  const stop = new AbortController();
  const changes = source.changes(stop.signal)[Symbol.asyncIterator]();
  t.after(async () => {
    stop.abort();
    await changes.return?.(undefined);
  });
  await changes.next();
  /** Lets so much time pass, in steps, each look done before the next. */
  const pass = async (millis: number) => {
    for (let passed = 0; passed < millis; passed += 100) {
      t.mock.timers.tick(100);
      await looks.done;
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return { path, changes, looks, pass };
}

describe("a journal in a file", () => {
  test("that the kernel tells of is looked at seldom while nothing comes", async (t) => {
    const { path, changes, looks, pass } = await openJournal(t, "itself");
    const next = changes.next();
    await appendFile(path, "more");
    await next;
    await pass(60_000);
    assert.ok(looks.count <= 13, `${looks.count} looks in a minute of silence`);
  });

  test("that the kernel does not tell of is found to have grown within half a second, again and again", async (t) => {
    const { path, changes, pass } = await openJournal(t, "another file");
    await pass(1000);
    for (let round = 0; round < 3; round++) {
      let told = false;
      const next = changes.next().then(() => {
        told = true;
      });
      // The first look of all tells as well, for nobody knows what was there before.
      if (round === 0) await next;
      else {
        await appendFile(path, "more");
        await pass(600);
        assert.ok(told, `growth number ${round} was not told`);
      }
    }
  });
});
