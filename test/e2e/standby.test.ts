import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import { Longshore } from "@longshore/client";
import { startServer, whyNoServer } from "../support/running-server.ts";
import { TemporaryPostgres, whyNoPostgres } from "../support/temporary-postgres.ts";

const LINES = 300;
const CODE = `
import time
for n in range(${LINES}):
    print("line", n, flush=True)
    time.sleep(0.05)
`;

/** A port that was free a moment ago, for a server whose address clients know before it listens. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

test("a standby adopts what runs when the active server is killed, and no watcher loses a byte", {
  skip: (await whyNoServer()) ?? whyNoPostgres ?? false,
}, async () => {
  await using postgres = await TemporaryPostgres.create();
  const settings = { LONGSHORE_DATABASE_URL: postgres.url() };
  await using active = await startServer(settings);
  const other = `127.0.0.1:${await freePort()}`;
  const standby = startServer(
    { ...settings, LONGSHORE_STANDBY: "true", LONGSHORE_LISTEN: other },
    active.dataDirectory,
  );
  await using client = new Longshore(`ipv4:${active.address},${other}`);
  const task = await client.submit({ code: CODE }, { timeout: "5m" });
  let output = "";
  let reconnects = 0;
  for await (const event of task.watch({ onReconnect: () => reconnects++ })) {
    if (event.kind !== "log") continue;
    if (output === "") await active.kill();
    output += Buffer.from(event.data).toString();
  }
  assert.equal(output, Array.from({ length: LINES }, (_, n) => `line ${n}\n`).join(""));
  assert.ok(reconnects > 0, "the watch went from one server to the other");
  await using taken = await standby;
  assert.equal(taken.address, other);
  const record = await task.get();
  assert.equal(record.attempts.length, 1, "the takeover cost no attempt");
  assert.equal(record.result?.exitCode, 0);
  assert.equal(await taken.stop(), 0);
  assert.deepEqual(await taken.leftovers(), []);
});

test("a server with another data folder is refused: the output of the tasks would be missing", {
  skip: (await whyNoServer()) ?? whyNoPostgres ?? false,
}, async () => {
  await using postgres = await TemporaryPostgres.create();
  const settings = { LONGSHORE_DATABASE_URL: postgres.url() };
  {
    await using first = await startServer(settings);
    await using client = new Longshore(first.address);
    assert.equal((await client.run({ code: "print(1)" })).succeeded, true);
  }
  await assert.rejects(startServer(settings), /belongs to a server with another data folder/);
});
