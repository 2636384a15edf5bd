import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { describe, test } from "node:test";
import { CollectBlobs } from "#server/application/collect-blobs.ts";
import { Removals } from "#server/application/removals.ts";
import { CollectingLog } from "../support/fakes/collecting-log.ts";
import { digestOf, Harbour, project, TENANT, TIME, UNUSED_MILLIS } from "../support/harbour.ts";
import { sampleTask } from "../support/sample-task.ts";

const DAY = 86_400_000;

class Yard implements AsyncDisposable {
  readonly harbour: Harbour;
  now = TIME;
  readonly collect: CollectBlobs;
  readonly removals = new Removals({ log: new CollectingLog(), clock: () => this.now });

  private constructor(harbour: Harbour) {
    this.harbour = harbour;
    const { index, blobs, archives } = harbour;
    const { removals } = this;
    const clock = () => this.now;
    this.collect = new CollectBlobs({ index, blobs, archives, removals, unusedMillis: UNUSED_MILLIS, clock });
  }

  static async open(): Promise<Yard> {
    return new Yard(await Harbour.open());
  }

  /** Files carry the time of the host, rows that of the test; `now` is later than both. */
  async later(millis: number): Promise<void> {
    this.now = new Date(Math.max(Date.now(), TIME.getTime()) + millis);
    await this.collect.run();
  }

  async files(): Promise<string[]> {
    const below = (...parts: string[]) =>
      readdir(this.harbour.folder.at(...parts), { recursive: true }).catch(() => []);
    const names = [...(await below("blobs", "sha256")), ...(await below("archives"))];
    return names.filter((name) => /[0-9a-f]{64}/.test(name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.harbour[Symbol.asyncDispose]();
  }
}

describe("what nothing names any more", () => {
  test("an upload that nobody used goes after its time, with the tar made of it, and can be sent again", async () => {
    await using yard = await Yard.open();
    const bytes = project();
    const sha256 = digestOf(bytes);
    await yard.harbour.send(bytes);
    await yard.collect.run();
    const { expireTime } = await yard.harbour.get.execute(TENANT, sha256);
    assert.equal(expireTime?.getTime(), TIME.getTime() + UNUSED_MILLIS);
    await yard.later(UNUSED_MILLIS + DAY);
    assert.equal((await yard.harbour.get.execute(TENANT, sha256)).state, "MISSING");
    assert.deepEqual(await yard.files(), []);
    assert.deepEqual(
      yard.removals.latest.map(({ kind, name }) => [kind, name]),
      [["BLOB", sha256]],
    );
    await yard.harbour.send(bytes);
    assert.equal((await yard.harbour.get.execute(TENANT, sha256)).state, "STORED");
  });

  test("a blob that a task names stays, however old, and goes after the task", async () => {
    await using yard = await Yard.open();
    const bytes = project();
    const sha256 = digestOf(bytes);
    await yard.harbour.send(bytes);
    const task = sampleTask(1, { archiveSha256: sha256, tenant: TENANT });
    await yard.harbour.database.tasks.insert(task);
    await yard.later(100 * DAY);
    assert.equal((await yard.harbour.get.execute(TENANT, sha256)).state, "STORED");
    await yard.harbour.database.tasks.remove(task.id);
    await yard.later(101 * DAY);
    assert.deepEqual(await yard.files(), []);
  });

  test("what another tenant sent too stays for that tenant alone", async () => {
    await using yard = await Yard.open();
    const bytes = project();
    const sha256 = digestOf(bytes);
    await yard.harbour.send(bytes);
    await yard.harbour.send(bytes, {}, { tenant: "other" });
    await yard.harbour.index.touch("other", sha256, new Date(TIME.getTime() + 1000 * DAY));
    await yard.later(UNUSED_MILLIS + DAY);
    assert.equal((await yard.harbour.get.execute(TENANT, sha256)).state, "MISSING");
    assert.equal((await yard.harbour.get.execute("other", sha256)).state, "STORED");
  });

  test("bytes without a name are left alone while they are young, and go when they are not", async () => {
    await using yard = await Yard.open();
    const { sha256 } = await yard.harbour.blobs.write(
      (async function* () {
        yield Buffer.from("half of an upload");
      })(),
    );
    await yard.later(0);
    assert.equal((await yard.files()).length, 1);
    await yard.collect.collect(sha256);
    assert.equal((await yard.files()).length, 1);
    await yard.later(DAY);
    assert.deepEqual(await yard.files(), []);
  });

  test("an upload while its equal is collected is stored or told of as missing, never half", async () => {
    await using yard = await Yard.open();
    const bytes = project();
    const sha256 = digestOf(bytes);
    for (let round = 0; round < 10; round++) {
      await yard.harbour.send(bytes);
      yard.now = new Date(Math.max(Date.now(), TIME.getTime()) + UNUSED_MILLIS + DAY);
      await Promise.all([yard.collect.run(), yard.harbour.send(bytes)]);
      const { state } = await yard.harbour.get.execute(TENANT, sha256);
      if (state === "STORED") assert.deepEqual(await yard.harbour.downloaded(sha256), bytes);
      else assert.equal(state, "MISSING");
    }
  });
});
