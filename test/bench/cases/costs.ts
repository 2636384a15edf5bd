import { readdir, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { Longshore } from "@longshore/client";
import type { BenchCase, BenchContext } from "../bench-case.ts";
import { cpuMillis } from "../process-cpu.ts";
import { plainRow, type Row } from "../row.ts";
import { untilQuiet } from "../until-quiet.ts";

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

interface Bytes {
  /** On the disk. */
  readonly database: number;
  readonly files: number;
  /** In journals, whatever blocks they take. */
  readonly journal: number;
}

async function bytesOf(folder: string): Promise<Bytes> {
  const sums = { database: 0, files: 0, journal: 0 };
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    // Volumes are those of sandboxes that wait in the pool, for tasks to come.
    if (!entry.isFile() || entry.name === "volume.ext4") continue;
    // What the server takes away meanwhile is no cost that stays.
    const found = await unlessMissing(stat(join(entry.parentPath, entry.name)));
    if (found === undefined) continue;
    const { blocks, size } = found;
    sums[entry.name.startsWith("longshore.db") ? "database" : "files"] += blocks * 512;
    if (entry.name === "journal") sums.journal += size;
  }
  return sums;
}

async function unlessMissing<T>(looked: Promise<T>): Promise<T | undefined> {
  try {
    return await looked;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
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
  // A sandbox that is on its way in or out has a volume, which no ended task keeps.
  await untilQuiet(client, server);
  const [before, calls, cpu] = [
    await bytesOf(server.dataDirectory),
    await engineCalls(metrics),
    await cpuMillis(server.pid),
  ];
  let left = tasks;
  const work = async () => {
    while (left-- > 0) await runOne();
  };
  await Promise.all(Array.from({ length: PARALLEL }, work));
  await untilQuiet(client, server);
  const [after, callsAfter, cpuAfter] = [
    await bytesOf(server.dataDirectory),
    await engineCalls(metrics),
    await cpuMillis(server.pid),
  ];
  const kibibytes = (key: "database" | "files") => ((after[key] - before[key]) / tasks / 1024).toFixed(1);
  const parts = [
    `${kibibytes("database")} KiB of database`,
    `${kibibytes("files")} KiB of files`,
    `${((after.journal - before.journal) / tasks).toFixed(0)} bytes of journal`,
    `${((cpuAfter - cpu) / tasks).toFixed(1)} ms of the server's CPU`,
    `${((callsAfter - calls) / tasks).toFixed(1)} calls of the engine`,
  ];
  const note = `each: ${parts.join(", ")}`;
  const grown = (after.database - before.database + after.files - before.files) / MEBIBYTE;
  return [plainRow({ group: "j", name: `${tasks} ended snippets on the disk`, note }, "MiB", [grown])];
}

export const costs: BenchCase = {
  letter: "j",
  title: "what one task costs: bytes on the disk, CPU of the server and calls of the engine",
  run: async (context) => {
    const rows: Row[] = [];
    // Two sizes: what grows is told from what is there once.
    for (const tasks of context.quick ? [8, 16] : [100, 400]) rows.push(...(await ranRows(context, tasks)));
    return rows;
  },
};
