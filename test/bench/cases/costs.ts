import { readdir, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { Longshore } from "@longshore/client";
import type { BenchCase, BenchContext } from "../bench-case.ts";
import { plainRow, type Row } from "../row.ts";

const PARALLEL = 8;
const MEBIBYTE = 2 ** 20;

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port was given");
  return address.port;
}

/** Bytes that the folder's files take on the disk, the database's apart. */
async function bytesOf(folder: string): Promise<{ database: number; files: number }> {
  const sums = { database: 0, files: 0 };
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const { blocks } = await stat(join(entry.parentPath, entry.name));
    sums[entry.name.startsWith("longshore.db") ? "database" : "files"] += blocks * 512;
  }
  return sums;
}

async function engineCalls(metrics: string): Promise<number> {
  const text = await (await fetch(`http://${metrics}/metrics`)).text();
  const counts = [...text.matchAll(/^longshore_engine_call_duration_seconds_count\{[^}]*\} (\d+)/gm)];
  return counts.reduce((sum, [, count]) => sum + Number(count), 0);
}

/** Bare snippets, one after another's end: what each leaves in the data folder, and how often the engine was called for it. */
async function ranRows(context: BenchContext, tasks: number): Promise<Row[]> {
  const metrics = `127.0.0.1:${await freePort()}`;
  await using server = await context.startServer({ LONGSHORE_METRICS_ADDRESS: metrics });
  await using client = new Longshore(server.address);
  const runOne = async () => {
    await (await client.submit({ code: "print('hi')" })).result();
  };
  // The first tasks make tables' first pages, the pool and the write-ahead log.
  for (let warmUp = 0; warmUp < PARALLEL; warmUp++) await runOne();
  const [before, calls] = [await bytesOf(server.dataDirectory), await engineCalls(metrics)];
  let left = tasks;
  const work = async () => {
    while (left-- > 0) await runOne();
  };
  await Promise.all(Array.from({ length: PARALLEL }, work));
  const [after, callsAfter] = [await bytesOf(server.dataDirectory), await engineCalls(metrics)];
  const kibibytes = (key: "database" | "files") => ((after[key] - before[key]) / tasks / 1024).toFixed(1);
  const note = `each: ${kibibytes("database")} KiB of database, ${kibibytes("files")} KiB of files, ${((callsAfter - calls) / tasks).toFixed(1)} calls of the engine`;
  const grown = (after.database - before.database + after.files - before.files) / MEBIBYTE;
  return [plainRow({ group: "j", name: `${tasks} ended snippets on the disk`, note }, "MiB", [grown])];
}

export const costs: BenchCase = {
  letter: "j",
  title: "what one task costs: bytes on the disk and calls of the engine",
  run: (context) => ranRows(context, context.quick ? 16 : 400),
};
