import { Longshore } from "@longshore/client";
import type { BenchCase, BenchContext } from "../bench-case.ts";
import { dockerRunThroughPipe } from "../docker-run.ts";
import { atLeast, type Row, ratioRow } from "../row.ts";
import { median, timed } from "../statistics.ts";

const IMAGE = "longshore/executor:dev";
const LINE_BYTES = 100;
const LINES_PER_BLOCK = 1000;
const DRIVERS = ["none", "local", "json-file"] as const;

/** Numbered blocks of lines, so that one lost, repeated or out of place is seen. */
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

/** Compares what comes with what was written, byte by byte: it costs less than a digest, which docker run's side does without. */
class Expectation {
  readonly #block: Buffer;
  readonly #blocks: number;
  #number = 0;
  #place = 0;

  constructor(blocks: number) {
    this.#blocks = blocks;
    this.#block = Buffer.from(`${"x".repeat(LINE_BYTES - 1)}\n`.repeat(LINES_PER_BLOCK));
    this.#begin(0);
  }

  take(data: Uint8Array): void {
    for (let from = 0; from < data.length; ) {
      const length = Math.min(data.length - from, this.#block.length - this.#place);
      const place = this.#place;
      if (this.#block.compare(data, from, from + length, place, place + length) !== 0)
        throw new Error(`the client got other bytes than were written, in block ${this.#number}`);
      from += length;
      this.#place += length;
      if (this.#place === this.#block.length) this.#begin(this.#number + 1);
    }
  }

  end(): void {
    if (this.#number !== this.#blocks || this.#place !== 0)
      throw new Error(`the client got ${this.#number} of ${this.#blocks} blocks`);
  }

  #begin(number: number): void {
    this.#number = number;
    this.#place = 0;
    this.#block.write(String(number).padStart(LINE_BYTES - 1, "0"));
  }
}

/** From the submission to the last byte at the client. */
async function throughLongshore(client: Longshore, blocks: number): Promise<void> {
  const expected = new Expectation(blocks);
  const maxLogBytes = blocks * LINES_PER_BLOCK * LINE_BYTES + 2 ** 20;
  const task = await client.submit({ code: program(blocks) }, { maxLogBytes, timeout: "10m" });
  for await (const event of task.logs()) expected.take(event.data);
  expected.end();
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
        note: "compared at the client: no byte lost",
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
