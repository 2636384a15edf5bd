import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Client, credentials } from "@grpc/grpc-js";
import { Longshore } from "@longshore/client";
import { sampleTask } from "../../support/sample-task.ts";
import { openTemporaryDatabase } from "../../support/temporary-database.ts";
import { TemporaryFolder } from "../../support/temporary-folder.ts";
import { BareServer } from "../bare-peer.ts";
import { BARE_ECHO_PATH } from "../bare-server.ts";
import type { BenchCase, BenchContext } from "../bench-case.ts";
import { occupy } from "../occupy.ts";
import { atLeast, type Goal, type Row, ratioRow } from "../row.ts";
import { median, timed } from "../statistics.ts";

const CLIENTS = 32;
/** About what a task's own row holds. */
const ROW_BYTES = 600;

/** Runs `work` for every number below `count`, so many at a time; answers how many were done per millisecond. */
async function rate(
  count: number,
  workers: number,
  work: (number: number, worker: number) => Promise<unknown>,
): Promise<number> {
  let next = 0;
  const loop = async (worker: number) => {
    while (next < count) await work(next++, worker);
  };
  const millis = await timed(() => Promise.all(Array.from({ length: workers }, (_, worker) => loop(worker))));
  return count / millis;
}

/** Inserts into one table with the pragmas of our own database, `perCommit` rows to a transaction. */
async function bareLoop(count: number, perCommit: number): Promise<number> {
  await using folder = await TemporaryFolder.create();
  const database = new DatabaseSync(join(folder.path, "bare.db"));
  try {
    database.exec("pragma journal_mode = WAL; pragma synchronous = FULL; pragma foreign_keys = ON");
    database.exec("create table task (id text primary key, body text not null) without rowid");
    const insert = database.prepare("insert into task (id, body) values (?, ?)");
    const body = "x".repeat(ROW_BYTES);
    const millis = await timed(async () => {
      for (let at = 0; at < count; at += perCommit) {
        database.exec("begin immediate");
        for (let row = at; row < Math.min(count, at + perCommit); row++)
          insert.run(String(row).padStart(26, "0"), body);
        database.exec("commit");
      }
    });
    return count / millis;
  } finally {
    database.close();
  }
}

/** The same rows in the same tables as CreateTask writes, without the server: 32 at a time, committed as the store does. */
async function storeLoop(count: number): Promise<number> {
  await using database = await openTemporaryDatabase();
  return await rate(count, CLIENTS, (number) => database.tasks.insert(sampleTask(number)));
}

/** As many bytes each way as CreateTask has, to a server that only gives them back: what gRPC alone takes. */
async function echoLoop(count: number): Promise<number> {
  await using bare = await BareServer.start();
  const clients = Array.from(
    { length: CLIENTS },
    () => new Client(bare.address, credentials.createInsecure()),
  );
  const message = Buffer.alloc(ROW_BYTES);
  const same = (bytes: Buffer) => bytes;
  const echo = (worker: number) =>
    new Promise<void>((resolve, reject) => {
      clients[worker]?.makeUnaryRequest(BARE_ECHO_PATH, same, same, message, (error: Error | null) =>
        error === null ? resolve() : reject(error),
      );
    });
  try {
    await rate(CLIENTS * 2, CLIENTS, (_, worker) => echo(worker));
    return await rate(count, CLIENTS, (_, worker) => echo(worker));
  } finally {
    for (const client of clients) client.close();
  }
}

interface Loop {
  readonly name: string;
  readonly goal?: Goal;
  readonly run: (count: number) => Promise<number>;
}

const LOOPS: readonly Loop[] = [
  {
    name: "one table, 32 rows a commit",
    goal: atLeast(0.5),
    run: (count: number) => bareLoop(count, CLIENTS),
  },
  { name: "one table, a row a commit", goal: atLeast(0.5), run: (count: number) => bareLoop(count, 1) },
  { name: "our tables, 32 at a time", goal: atLeast(0.5), run: storeLoop },
  { name: "bare gRPC echo/s, nothing stored", run: echoLoop },
];

async function measure(context: BenchContext): Promise<Row[]> {
  const count = context.quick ? 64 : 3000;
  const rounds = Math.min(context.rounds, context.quick ? 1 : 5);
  await using server = await context.startServer({ LONGSHORE_MAX_QUEUED: "1000000" });
  await using stack = new AsyncDisposableStack();
  const clients = Array.from({ length: CLIENTS }, () => stack.use(new Longshore(server.address)));
  const [first] = clients;
  if (first === undefined) throw new Error("no client");
  await occupy(first);
  const create = (_: number, worker: number) => (clients[worker] ?? first).submit({ code: "print('hi')" });
  await rate(CLIENTS * 2, CLIENTS, create);
  const ours: number[][] = [];
  const theirs: number[][][] = LOOPS.map(() => []);
  for (let round = 0; round < rounds; round++) {
    context.say(`    round ${round + 1} of ${rounds}`);
    ours.push([await rate(count, CLIENTS, create)]);
    for (const [index, loop] of LOOPS.entries()) theirs[index]?.push([await loop.run(count)]);
  }
  return LOOPS.map(({ name, goal }, index) =>
    ratioRow(
      { group: "d", name: `CreateTask/s, 32 clients / ${name}`, ...(goal === undefined ? {} : { goal }) },
      { ours, theirs: theirs[index] ?? [] },
      median,
    ),
  );
}

export const createRate: BenchCase = {
  letter: "d",
  title: "durable CreateTask per second with 32 clients, against bare SQLite insert loops",
  run: measure,
};
