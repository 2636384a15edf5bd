import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { credentials } from "@grpc/grpc-js";
import { Longshore } from "@longshore/client";
import {
  LogChunk_Stream,
  type TaskEvent,
  TaskServiceClient,
} from "@longshore/proto/longshore/v1/task_service.ts";
import { type RunningServer, startServer, whyNoServer } from "../support/running-server.ts";

const CUTS = 50;
const RESTARTS_AFTER_CUTS = [15, 35];

/** 100,000 lines on both streams, multi-byte characters among them, slow enough to be cut while they are written. */
const CODE = `
import sys, time
for block in range(50):
    for line in range(1000):
        n = block * 1000 + line
        sys.stdout.write(f"out {n} äöü€ 😀\\n")
        sys.stderr.write(f"err {n} ✓\\n")
    sys.stdout.flush()
    time.sleep(0.15)
`;

class Received {
  readonly #hashes = { out: createHash("sha256"), err: createHash("sha256") };
  readonly #next = { out: 0n, err: 0n };
  cursor = "";
  ended = false;

  take(event: TaskEvent): void {
    const { event: kind } = event;
    if (kind?.$case === "gap") assert.fail("a gap");
    if (kind?.$case === "log") {
      const chunk = kind.value;
      const stream = chunk.stream === LogChunk_Stream.STDOUT ? "out" : "err";
      const bytes = chunk.text === "" ? chunk.data : Buffer.from(chunk.text);
      assert.equal(chunk.offsetBytes, this.#next[stream], `${stream} goes on at the exact byte`);
      this.#next[stream] += BigInt(bytes.length);
      this.#hashes[stream].update(bytes);
    }
    if (kind?.$case === "task" && kind.value.state >= 6) this.ended = true;
    this.cursor = event.cursor;
  }

  digest(): { out: string; err: string; outBytes: bigint; errBytes: bigint } {
    const { out, err } = this.#hashes;
    return {
      out: out.digest("hex"),
      err: err.digest("hex"),
      outBytes: this.#next.out,
      errBytes: this.#next.err,
    };
  }
}

/** Watches from the cursor until so many events came or the end; answers whether the end came. */
async function watchSome(
  address: string,
  id: string,
  received: Received,
  most: number,
  text: boolean,
): Promise<void> {
  const client = new TaskServiceClient(address, credentials.createInsecure());
  try {
    const call = client.watchTask({
      id,
      cursor: received.cursor,
      noFollow: false,
      tailBytes: 0n,
      text,
      noLogs: false,
    });
    let count = 0;
    try {
      for await (const answer of call) {
        if (answer.event === undefined) assert.fail("an answer without an event");
        received.take(answer.event);
        if (++count >= most) break;
      }
    } finally {
      call.cancel();
    }
  } finally {
    client.close();
  }
}

test("a watch cut at 50 points, two server restarts among them, gives the bytes of an unbroken one", {
  skip: (await whyNoServer()) ?? false,
}, async () => {
  await using server: RunningServer = await startServer();
  await using client = new Longshore(server.address);
  const task = await client.submit({ code: CODE }, { timeout: "5m" });

  const cut = new Received();
  for (let index = 0; index < CUTS && !cut.ended; index++) {
    // Whole multiples of the text and bytes forms alternate, so that cursors inside a frame are used by both.
    await watchSome(server.address, task.id, cut, 2 + ((index * 7919) % 11), index % 3 !== 0);
    if (RESTARTS_AFTER_CUTS.includes(index)) {
      await (index === RESTARTS_AFTER_CUTS[0] ? server.kill() : server.stop());
      await server.start();
    }
  }
  await watchSome(server.address, task.id, cut, Number.POSITIVE_INFINITY, true);
  assert.ok(cut.ended, "the terminal snapshot came last");

  const whole = new Received();
  await watchSome(server.address, task.id, whole, Number.POSITIVE_INFINITY, false);
  const expected = whole.digest();
  assert.deepEqual(cut.digest(), expected);
  const text = Array.from({ length: 50_000 }, (_, n) => `out ${n} äöü€ 😀\n`).join("");
  assert.equal(expected.out, createHash("sha256").update(text).digest("hex"));
  assert.equal(
    expected.err,
    createHash("sha256")
      .update(Array.from({ length: 50_000 }, (_, n) => `err ${n} ✓\n`).join(""))
      .digest("hex"),
  );

  const record = await task.get();
  assert.equal(record.attempts.length, 1, "the restarts cost no attempt");
  assert.equal(record.result?.stdoutBytes, expected.outBytes);
  await server.stop();
  assert.deepEqual(await server.leftovers(), []);
});
