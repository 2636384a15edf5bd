import assert from "node:assert/strict";
import { test } from "node:test";
import { EarlySync } from "#server/domain/early-sync.ts";

test("syncs part after part, one at a time, and is settled when none is under way", async () => {
  const syncs: PromiseWithResolvers<void>[] = [];
  const early = new EarlySync(() => {
    const sync = Promise.withResolvers<void>();
    syncs.push(sync);
    return sync.promise;
  }, 100);
  early.wrote(99);
  assert.equal(syncs.length, 0);
  early.wrote(1);
  early.wrote(500);
  assert.equal(syncs.length, 1);
  let settled = false;
  const settling = early.settled().then(() => {
    settled = true;
  });
  await Promise.resolve();
  assert.equal(settled, false);
  syncs[0]?.resolve();
  await settling;
  early.wrote(1);
  assert.equal(syncs.length, 2);
  syncs[1]?.resolve();
  await early.settled();
});

test("an error of any part is not forgotten", async () => {
  let calls = 0;
  const early = new EarlySync(async () => {
    if (calls++ === 0) throw new Error("no space left");
  }, 1);
  early.wrote(1);
  await assert.rejects(early.settled(), /no space left/);
  early.wrote(1);
  await assert.rejects(early.settled(), /no space left/);
});
