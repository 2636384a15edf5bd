import { join } from "node:path";
import { Longshore } from "@longshore/client";
import { ulid } from "ulid";
import { openDatabase } from "#server/adapters/database/database.ts";
import { SAMPLE_RESULT, sampleAttempt, sampleTask } from "../../support/sample-task.ts";
import { TemporaryFolder } from "../../support/temporary-folder.ts";
import type { BenchCase, BenchContext } from "../bench-case.ts";
import { atMost, type Row, ratioRow } from "../row.ts";
import { median, timed } from "../statistics.ts";

/** As the server calls everybody while there are no tokens. */
const TENANT = "default";
const INSERTS_AT_ONCE = 256;
const PAGE = 50;

/** A database with so many finished tasks, written through the store itself. */
async function fill(path: string, count: number): Promise<string[]> {
  const url = `sqlite://${path}`;
  await using database = await openDatabase({ url });
  const start = Date.now() - count;
  const time = new Date(start);
  const expireTime = new Date(Date.now() + 7 * 86_400_000);
  const ids: string[] = [];
  for (let at = 0; at < count; at += INSERTS_AT_ONCE) {
    const part = Array.from({ length: Math.min(INSERTS_AT_ONCE, count - at) }, (_, index) =>
      ulid(start + at + index),
    );
    ids.push(...part);
    await Promise.all(
      part.map((id, index) =>
        database.tasks.insert(
          sampleTask(at + index, {
            id,
            tenant: TENANT,
            state: "SUCCEEDED",
            result: SAMPLE_RESULT,
            attempts: [sampleAttempt(1, { endTime: time, result: SAMPLE_RESULT, released: true })],
            createTime: time,
            endTime: time,
            expireTime,
          }),
        ),
      ),
    );
  }
  return ids;
}

class Filled implements AsyncDisposable {
  readonly client: Longshore;
  readonly #ids: readonly string[];
  readonly #stack: AsyncDisposableStack;
  #asked = 0;

  static async open(context: BenchContext, folder: TemporaryFolder, count: number): Promise<Filled> {
    await using stack = new AsyncDisposableStack();
    const path = join(folder.path, `${count}.db`);
    const ids = await fill(path, count);
    const server = stack.use(
      await context.startServer({ LONGSHORE_DATABASE_URL: `sqlite://${path}`, LONGSHORE_WARM_COUNT: "0" }),
    );
    const client = stack.use(new Longshore(server.address));
    return new Filled(client, ids, stack.move());
  }

  private constructor(client: Longshore, ids: readonly string[], stack: AsyncDisposableStack) {
    this.client = client;
    this.#ids = ids;
    this.#stack = stack;
  }

  async get(): Promise<void> {
    // Strides all over the table: never the same few pages.
    const id = this.#ids[(this.#asked++ * 7919) % this.#ids.length] ?? "";
    await this.client.task(id).get();
  }

  /** The newest page, and one that comes after many others. */
  async list(): Promise<void> {
    let seen = 0;
    for await (const _ of this.client.list({ pageSize: PAGE })) if (++seen === PAGE) return;
    throw new Error(`a page of ${PAGE} had ${seen} tasks`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack[Symbol.asyncDispose]();
  }
}

async function measure(context: BenchContext): Promise<Row[]> {
  const [few, many] = context.quick ? [60, 600] : [100, 100_000];
  await using folder = await TemporaryFolder.create();
  context.say(`    writing ${many} records`);
  await using large = await Filled.open(context, folder, many);
  await using small = await Filled.open(context, folder, few);
  const samples = context.quick ? 3 : 60;
  const calls = ["get", "list"] as const;
  const rounds = new Map(calls.map((call) => [call, { ours: [] as number[][], theirs: [] as number[][] }]));
  for (let warming = 0; warming < samples; warming++)
    for (const call of calls) for (const side of [large, small]) await side[call]();
  for (let round = 0; round < context.rounds; round++) {
    for (const call of calls) {
      const ours: number[] = [];
      const theirs: number[] = [];
      for (let sample = 0; sample < samples; sample++) {
        ours.push(await timed(() => large[call]()));
        theirs.push(await timed(() => small[call]()));
      }
      rounds.get(call)?.ours.push(ours);
      rounds.get(call)?.theirs.push(theirs);
    }
  }
  return calls.map((call) =>
    ratioRow(
      { group: "f", name: `${call} at ${many} records / at ${few}`, goal: atMost(1.5) },
      rounds.get(call) ?? { ours: [], theirs: [] },
      median,
    ),
  );
}

export const records: BenchCase = {
  letter: "f",
  title: "get and list at 100,000 records, against the same at 100",
  run: measure,
};
