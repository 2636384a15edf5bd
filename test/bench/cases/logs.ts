import { createHash } from "node:crypto";
import { Longshore } from "@longshore/client";
import type { BenchCase, BenchContext } from "../bench-case.ts";
import { dockerRunThroughPipe } from "../docker-run.ts";
import { atLeast, type Row, ratioRow } from "../row.ts";
import { median, timed } from "../statistics.ts";

const IMAGE = "longshore/executor:dev";
const LINE_BYTES = 100;
const LINES_PER_BLOCK = 1000;
const DRIVERS = ["none", "local", "json-file"] as const;

/** Numbered blocks of lines, so that a block lost, repeated or out of place changes the hash. */
function program(blocks: number): string {
  return `
import sys
line = b"x" * ${LINE_BYTES - 1} + b"\\n"
rest = line * ${LINES_PER_BLOCK - 1}
out = sys.stdout.buffer
for number in range(${blocks}):
    out.write(b"%0${LINE_BYTES - 1}d\\n" % number)
    out.write(rest)
out.flush()
`;
}

function expectedDigest(blocks: number): string {
  const hash = createHash("sha256");
  const rest = `${"x".repeat(LINE_BYTES - 1)}\n`.repeat(LINES_PER_BLOCK - 1);
  for (let number = 0; number < blocks; number++) {
    hash.update(`${String(number).padStart(LINE_BYTES - 1, "0")}\n`);
    hash.update(rest);
  }
  return hash.digest("hex");
}

/** From the submission to the last byte at the client, every byte hashed on its way. */
async function throughLongshore(client: Longshore, blocks: number): Promise<void> {
  const hash = createHash("sha256");
  const maxLogBytes = blocks * LINES_PER_BLOCK * LINE_BYTES + 2 ** 20;
  const task = await client.submit({ code: program(blocks) }, { maxLogBytes, timeout: "10m" });
  for await (const event of task.logs()) hash.update(event.data);
  if (hash.digest("hex") !== expectedDigest(blocks))
    throw new Error("the client got other bytes than were written");
}

async function throughDocker(logDriver: (typeof DRIVERS)[number], blocks: number): Promise<void> {
  const bytes = await dockerRunThroughPipe({ image: IMAGE, code: program(blocks), logDriver });
  const expected = blocks * LINES_PER_BLOCK * LINE_BYTES;
  if (bytes !== expected) throw new Error(`docker run gave ${bytes} of ${expected} bytes`);
}

async function measure(context: BenchContext): Promise<Row[]> {
  const megabytes = context.quick ? 3 : 300;
  const blocks = (megabytes * 1_000_000) / (LINE_BYTES * LINES_PER_BLOCK);
  await using server = await context.startServer();
  await using client = new Longshore(server.address);
  const rates = new Map<string, number[][]>(["ours", ...DRIVERS].map((name) => [name, []]));
  const add = async (name: string, work: () => Promise<void>) =>
    rates.get(name)?.push([(megabytes * 1000) / (await timed(work))]);
  if (!context.quick) await throughLongshore(client, 10);
  const rounds = Math.min(context.rounds, 3);
  for (let round = 0; round < rounds; round++) {
    context.say(`    round ${round + 1} of ${rounds}`);
    await add("ours", () => throughLongshore(client, blocks));
    for (const driver of DRIVERS) await add(driver, () => throughDocker(driver, blocks));
  }
  return DRIVERS.map((driver) =>
    ratioRow(
      {
        group: "b",
        name: `${megabytes} MB of log, MB/s / docker run | cat, ${driver}`,
        note: "sha256 at the client: no byte lost",
        ...(driver === "none" ? { goal: atLeast(2) } : {}),
      },
      { ours: rates.get("ours") ?? [], theirs: rates.get(driver) ?? [] },
      median,
    ),
  );
}

export const logs: BenchCase = {
  letter: "b",
  title: "300 MB of 100-byte lines to a client, against docker run | cat with each log driver",
  run: measure,
};
