import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { BlobRecord } from "#server/domain/blob.ts";
import type { BlobIndex } from "#server/domain/ports/blob-store.ts";
import { SAMPLE_TIME, sampleId, sampleTask } from "../support/sample-task.ts";
import type { TaskStores } from "./task-store.ts";

interface Stores extends TaskStores {
  readonly blobs: BlobIndex;
}

const DIGEST = "ab".repeat(32);
const OTHER = "cd".repeat(32);

const stored: BlobRecord = {
  tenant: "tenant",
  sha256: DIGEST,
  sizeBytes: 5 * 2 ** 40,
  format: "TAR_GZ",
  state: "STORED",
  refusal: "",
  validatorVersion: 1,
  createTime: SAMPLE_TIME,
  useTime: SAMPLE_TIME,
  manifest: {
    fileCount: 2,
    folderCount: 1,
    contentBytes: 100,
    tarBytes: 2048,
    topLevelScripts: ["main.py", "ünï.py"],
    hasRequirements: true,
  },
};

const refused: BlobRecord = {
  ...stored,
  state: "REFUSED",
  refusal: 'entry "../x" leaves the project',
  validatorVersion: 2,
  manifest: null,
};

const input = (sha256: string, path = "data") => ({ path, sha256, sizeBytes: 1 });

/** What every BlobIndex must do; `open` answers an empty one beside empty stores of tasks and artifacts. */
export function blobIndexContract(name: string, open: () => Promise<Stores>): void {
  describe(`BlobIndex: ${name}`, () => {
    test("each tenant sees its own verdict only", async () => {
      await using stores = await open();
      await stores.blobs.put(stored);
      await stores.blobs.put({ ...refused, tenant: "other" });
      assert.deepEqual(await stores.blobs.find("tenant", DIGEST), stored);
      assert.deepEqual(await stores.blobs.find("other", DIGEST), { ...refused, tenant: "other" });
      assert.equal(await stores.blobs.find("nobody", DIGEST), undefined);
      assert.equal(await stores.blobs.find("tenant", OTHER), undefined);
    });

    test("what a tenant stores is its accepted blobs and its tasks' artifacts", async () => {
      await using stores = await open();
      assert.equal(await stores.blobs.storedBytes("tenant"), 0);
      await stores.blobs.put({ ...stored, sizeBytes: 100 });
      await stores.blobs.put({ ...refused, sha256: OTHER, sizeBytes: 1000 });
      await stores.blobs.put({ ...stored, tenant: "other", sizeBytes: 10_000 });
      const task = sampleTask(1);
      await stores.tasks.insert(task);
      await stores.artifacts.replace(task.id, task.tenant, [
        { path: "a", sizeBytes: 7, sha256: DIGEST },
        { path: "b", sizeBytes: 8, sha256: OTHER },
      ]);
      assert.equal(await stores.blobs.storedBytes("tenant"), 115);
      assert.equal(await stores.blobs.storedBytes("other"), 10_000);
    });

    test("a later verdict replaces the earlier", async () => {
      await using stores = await open();
      await stores.blobs.put(refused);
      await stores.blobs.put(stored);
      assert.deepEqual(await stores.blobs.find("tenant", DIGEST), stored);
    });

    test("many verdicts on one digest at once leave one", async () => {
      await using stores = await open();
      await Promise.all(
        [1, 2, 3].map((validatorVersion) => stores.blobs.put({ ...refused, validatorVersion })),
      );
      assert.deepEqual(await stores.blobs.find("tenant", DIGEST), { ...refused, validatorVersion: 3 });
      assert.equal(await stores.blobs.remove("tenant", DIGEST), true);
      assert.equal(await stores.blobs.remove("tenant", DIGEST), false);
      assert.equal(await stores.blobs.find("tenant", DIGEST), undefined);
    });

    test("a row that nobody used for long goes, unless a task of its tenant names it", async () => {
      await using stores = await open();
      const later = new Date(SAMPLE_TIME.getTime() + 1000);
      const before = new Date(SAMPLE_TIME.getTime() + 1);
      const THIRD = "ef".repeat(32);
      await stores.blobs.put(stored);
      await stores.blobs.put({ ...stored, sha256: OTHER });
      await stores.blobs.put({ ...stored, sha256: THIRD });
      await stores.tasks.insert(sampleTask(1, { archiveSha256: OTHER }));
      await stores.tasks.insert(sampleTask(2, { tenant: "other", archiveSha256: DIGEST }));
      await stores.tasks.insert(sampleTask(3, { tenant: "other", inputs: [input(DIGEST)] }));
      assert.equal(await stores.blobs.touch("tenant", THIRD, later), true);
      assert.equal(await stores.blobs.touch("tenant", THIRD, SAMPLE_TIME), true);
      assert.equal((await stores.blobs.find("tenant", THIRD))?.useTime.getTime(), later.getTime());
      assert.deepEqual(await stores.blobs.removeUnused(SAMPLE_TIME, 10), []);
      assert.deepEqual(await stores.blobs.removeUnused(before, 10), [DIGEST]);
      assert.equal(await stores.blobs.touch("tenant", DIGEST, later), false);
      assert.notEqual(await stores.blobs.find("tenant", OTHER), undefined);
      await stores.tasks.remove(sampleId(1));
      assert.deepEqual(await stores.blobs.removeUnused(before, 10), [OTHER]);
    });

    test("an input of a task keeps its bytes and its tenant's row", async () => {
      await using stores = await open();
      const before = new Date(SAMPLE_TIME.getTime() + 1);
      await stores.blobs.put(stored);
      await stores.tasks.insert(sampleTask(1, { inputs: [input(DIGEST), input(DIGEST, "b"), input("")] }));
      await stores.tasks.insert(sampleTask(2, { inputs: [input(OTHER)] }));
      assert.deepEqual(await stores.blobs.removeUnused(before, 10), []);
      assert.equal(await stores.blobs.isReferenced(OTHER), true);
      await stores.tasks.remove(sampleId(1));
      assert.deepEqual(await stores.blobs.removeUnused(before, 10), [DIGEST]);
      assert.equal(await stores.blobs.isReferenced(OTHER), true);
      await stores.tasks.remove(sampleId(2));
      assert.equal(await stores.blobs.isReferenced(OTHER), false);
    });

    test("no more rows go at once than asked for, the longest unused first", async () => {
      await using stores = await open();
      const at = (millis: number) => new Date(SAMPLE_TIME.getTime() + millis);
      for (const [index, sha256] of [DIGEST, OTHER].entries())
        await stores.blobs.put({ ...stored, sha256, useTime: at(10 - index) });
      assert.deepEqual(await stores.blobs.removeUnused(at(100), 1), [OTHER]);
      assert.deepEqual(await stores.blobs.removeUnused(at(100), 1), [DIGEST]);
    });

    test("a digest is referenced while a blob row of any tenant names it", async () => {
      await using stores = await open();
      assert.equal(await stores.blobs.isReferenced(DIGEST), false);
      await stores.blobs.put(stored);
      await stores.blobs.put({ ...stored, tenant: "other" });
      await stores.blobs.remove("tenant", DIGEST);
      assert.equal(await stores.blobs.isReferenced(DIGEST), true);
      await stores.blobs.remove("other", DIGEST);
      assert.equal(await stores.blobs.isReferenced(DIGEST), false);
    });

    test("a digest is referenced while a task or an artifact names it", async () => {
      await using stores = await open();
      await stores.tasks.insert(sampleTask(1, { archiveSha256: DIGEST }));
      await stores.artifacts.replace(sampleId(1), "tenant", [{ path: "a", sizeBytes: 1, sha256: OTHER }]);
      assert.equal(await stores.blobs.isReferenced(DIGEST), true);
      assert.equal(await stores.blobs.isReferenced(OTHER), true);
      await stores.tasks.remove(sampleId(1));
      assert.equal(await stores.blobs.isReferenced(DIGEST), false);
      assert.equal(await stores.blobs.isReferenced(OTHER), false);
    });
  });
}
