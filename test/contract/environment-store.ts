import assert from "node:assert/strict";
import { buffer } from "node:stream/consumers";
import { describe, test } from "node:test";
import { type Pack, pack } from "tar-stream";
import type { EnvironmentStore } from "#server/domain/ports/environment-store.ts";

export interface EnvironmentStoreBench extends AsyncDisposable {
  readonly store: EnvironmentStore;
}

export const idOf = (digit: string): string => digit.repeat(64);

/** Ends the tar and yields its bytes. */
export async function* bytesOf(tar: Pack): AsyncGenerator<Uint8Array> {
  tar.finalize();
  yield await buffer(tar);
}

/** A tar as the runner of a build leaves it. */
export function environmentTar(files: Readonly<Record<string, string>>): AsyncIterable<Uint8Array> {
  const tar = pack();
  for (const [name, content] of Object.entries(files))
    tar.entry({ name: `environment/${name}`, mode: name.startsWith("bin/") ? 0o755 : 0o644 }, content);
  return bytesOf(tar);
}

const signal = AbortSignal.timeout(60_000);

export function environmentStoreContract(name: string, open: () => Promise<EnvironmentStoreBench>): void {
  describe(`environment store: ${name}`, () => {
    test("holds what was kept, until it is removed", async () => {
      await using bench = await open();
      const { store } = bench;
      assert.deepEqual([store.has(idOf("a")), store.list()], [false, []]);
      const kept = await store.keep(idOf("a"), environmentTar({ "six.py": "x = 1\n" }), signal);
      assert.equal(kept.id, idOf("a"));
      assert.ok(kept.sizeBytes > 0);
      assert.ok(store.has(idOf("a")));
      assert.deepEqual(
        store.list().map(({ id }) => id),
        [idOf("a")],
      );
      assert.match(store.folder(idOf("a")), /environments\/a{64}\/content$/);
      await store.remove(idOf("a"));
      await store.remove(idOf("a"));
      assert.deepEqual([store.has(idOf("a")), store.list()], [false, []]);
    });

    test("remembers when each was used last", async () => {
      await using bench = await open();
      const { store } = bench;
      await store.keep(idOf("a"), environmentTar({ "a.py": "" }), signal);
      const time = new Date("2030-01-02T03:04:05Z");
      await store.touch(idOf("a"), time);
      assert.deepEqual(store.list()[0]?.useTime, time);
    });

    test("keeps nothing of what was broken off", async () => {
      await using bench = await open();
      const { store } = bench;
      const stop = new AbortController();
      async function* endless() {
        yield* environmentTar({ "a.py": "x" });
        stop.abort(new Error("enough"));
        yield new Uint8Array(512);
      }
      await assert.rejects(store.keep(idOf("a"), endless(), stop.signal), /enough/);
      assert.ok(!store.has(idOf("a")));
    });
  });
}
