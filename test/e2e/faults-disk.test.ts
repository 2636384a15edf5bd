import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { credentials, status } from "@grpc/grpc-js";
import { Longshore, LongshoreError } from "@longshore/client";
import { BlobServiceClient, UploadBlobRequest } from "@longshore/proto/longshore/v1/blob_service.ts";
import { Wait_Kind } from "@longshore/proto/longshore/v1/task.ts";
import { failureOf, uploadOf } from "../support/grpc-calls.ts";
import { startServer, whyNoServer } from "../support/running-server.ts";
import { SmallDisk } from "../support/small-disk.ts";

const SETTINGS = {
  LONGSHORE_DEFAULT_STORAGE: "8MB",
  LONGSHORE_RESERVE_STORAGE: "0MB",
  LONGSHORE_LEAST_FREE_DISK: "32MB",
  LONGSHORE_WARM_COUNT: "0",
};

function isRefusedForRoom(error: unknown): boolean {
  assert.ok(error instanceof LongshoreError);
  assert.equal(error.code, "UNAVAILABLE");
  assert.match(error.message, /disk is nearly full/);
  return true;
}

test("a full data disk stops admission with a sentence, harms nothing, and is over when there is room", {
  skip: (await whyNoServer()) ?? false,
}, async () => {
  await using disk = await SmallDisk.create(200 * 2 ** 20);
  await using server = await startServer(SETTINGS, join(disk.path, "data"));
  await using client = new Longshore(server.address);
  const cpus = Number((await client.capacity()).total?.cpuMillis ?? 0n) / 1000;
  const first = await client.submit({ code: "print('first')" });
  await first.result();
  const running = await client.submit(
    { code: "import time; print('up', flush=True); time.sleep(3600)" },
    { cpu: cpus, timeout: "2h" },
  );
  for await (const event of running.watch()) if (event.kind === "log") break;
  const queued = await client.submit({ code: "print('queued')" }, { cpu: cpus });

  await disk.fill();
  await server.logged(/the data disk is nearly full/);
  await assert.rejects(client.submit({ code: "print('refused')" }), isRefusedForRoom);
  // By hand: the client's own upload would go on trying for a minute.
  const blobs = new BlobServiceClient(server.address, credentials.createInsecure());
  const failure = await failureOf(
    uploadOf(
      (done) => blobs.uploadBlob(done),
      [UploadBlobRequest.fromPartial({ part: { $case: "header", value: { sha256: "0".repeat(64) } } })],
    ),
  );
  blobs.close();
  assert.equal(failure.code, status.UNAVAILABLE);
  for await (const event of queued.watch()) {
    if (event.kind !== "task" || event.task.wait?.kind !== Wait_Kind.PAUSED) continue;
    assert.match(event.task.wait.message, /disk is nearly full/);
    break;
  }
  // What is there can still be read, and a cancellation that cannot be stored says so instead of being forgotten.
  assert.equal((await first.get()).result?.stdoutTail, "first\n");
  await running.cancel({ grace: "0s" }).catch((error: unknown) => {
    assert.ok(error instanceof LongshoreError);
    assert.equal(error.code, "UNAVAILABLE");
  });

  await disk.makeRoom();
  await server.logged(/the data disk has room again/);
  await running.cancel({ grace: "0s" });
  const ended = await running.result({ reject: false });
  // Where the disk stays full for long the runner gives up on its journal: a fault of the system, and told as one.
  assert.ok(["CANCELLED", "SYSTEM_ERROR"].includes(ended.reason), ended.reason);
  await queued.result();
  assert.equal((await queued.get()).result?.stdoutTail, "queued\n");
  const last = await client.submit({ code: "print('last')" });
  await last.result();

  assert.equal(await server.stop(), 0);
  const database = new DatabaseSync(join(server.dataDirectory, "longshore.db"), { readOnly: true });
  assert.equal(database.prepare("pragma integrity_check").get()?.integrity_check, "ok");
  database.close();
});
