import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { type ImageDaemon, ImageNames } from "#server/adapters/docker/image-names.ts";
import { CollectingLog } from "../support/fakes/collecting-log.ts";

/** A daemon whose images the test renames, and that counts what it is asked. */
class FakeDaemon implements ImageDaemon {
  readonly images = new Map<string, string>();
  readonly events = new PassThrough();
  readonly listened = Promise.withResolvers<void>();
  asked = 0;

  async image(name: string): Promise<{ Id: string } | undefined> {
    this.asked++;
    const id = this.images.get(name);
    return id === undefined ? undefined : { Id: id };
  }

  async imageEvents(signal: AbortSignal): Promise<NodeJS.ReadableStream> {
    signal.addEventListener("abort", () => this.events.end());
    this.listened.resolve();
    return this.events;
  }

  tell(): void {
    this.events.write('{"Type":"image","Action":"tag"}\n');
  }
}

async function started(): Promise<{ daemon: FakeDaemon; names: ImageNames } & AsyncDisposable> {
  const daemon = new FakeDaemon();
  daemon.images.set("image", "sha256:1");
  const names = new ImageNames(daemon, new CollectingLog());
  names.start();
  await daemon.listened.promise;
  await new Promise((resolve) => setImmediate(resolve));
  return { daemon, names, [Symbol.asyncDispose]: () => names.close() };
}

test("asks for a name once, and again after the daemon told of a change", async () => {
  await using setting = await started();
  const { daemon, names } = setting;
  assert.equal(await names.idOf("image"), "sha256:1");
  assert.equal(await names.idOf("image"), "sha256:1");
  assert.equal(daemon.asked, 1);
  daemon.images.set("image", "sha256:2");
  daemon.tell();
  // The line goes through a stream and an iterator, some turns of the event loop.
  for (let turn = 0; turn < 100 && (await names.idOf("image")) !== "sha256:2"; turn++)
    await new Promise((resolve) => setImmediate(resolve));
  assert.equal(await names.idOf("image"), "sha256:2");
});

test("remembers no name that stands for nothing", async () => {
  await using setting = await started();
  const { daemon, names } = setting;
  assert.equal(await names.idOf("missing"), undefined);
  daemon.images.set("missing", "sha256:3");
  assert.equal(await names.idOf("missing"), "sha256:3");
});

test("remembers nothing while no events come in", async () => {
  const daemon = new FakeDaemon();
  daemon.images.set("image", "sha256:1");
  const names = new ImageNames(daemon, new CollectingLog());
  await names.idOf("image");
  daemon.images.set("image", "sha256:2");
  assert.equal(await names.idOf("image"), "sha256:2");
});
