import { once } from "node:events";
import { Client, credentials } from "@grpc/grpc-js";
import { Longshore } from "@longshore/client";
import { TAR_END, tarHeader, tarPadding } from "../../../clients/typescript/src/tar-header.ts";
import { BareServer } from "../bare-peer.ts";
import { BARE_UPLOAD_PATH } from "../bare-server.ts";
import type { BenchCase, BenchContext } from "../bench-case.ts";
import { peakWhile, residentMebibytes } from "../process-memory.ts";
import { pseudoRandom } from "../pseudo-random.ts";
import { atLeast, atMost, plainRow, type Row, ratioRow } from "../row.ts";
import { median, timed } from "../statistics.ts";

const CHUNK_BYTES = 2 ** 20;

/** A program and one large file as the clients pack a folder, made as it is sent. */
function* archive(dataBytes: number): Generator<Uint8Array> {
  const program = Buffer.from("print('hi')\n");
  const plain = { isFolder: false, executable: false };
  yield tarHeader({ ...plain, path: "data.bin", size: dataBytes });
  yield* pseudoRandom(dataBytes, CHUNK_BYTES);
  yield tarHeader({ ...plain, path: "main.py", size: program.length });
  yield program;
  yield tarPadding(program.length);
  yield TAR_END;
}

async function* asAsync<T>(items: Iterable<T>): AsyncGenerator<T> {
  yield* items;
}

/** The same bytes in the same chunks, sent as grpc-js alone sends them. */
async function sendBare(address: string, dataBytes: number): Promise<void> {
  const client = new Client(address, credentials.createInsecure());
  const same = (bytes: Buffer) => bytes;
  try {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const call = client.makeClientStreamRequest(BARE_UPLOAD_PATH, same, same, (error: Error | null) =>
      error === null ? resolve() : reject(error),
    );
    for (const chunk of archive(dataBytes)) {
      if (!call.write(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)))
        await once(call, "drain");
    }
    call.end();
    await promise;
  } finally {
    client.close();
  }
}

/** Until the task is there: its project stored, checked and made canonical. Then everything of it is removed. */
async function sendOurs(client: Longshore, dataBytes: number): Promise<number> {
  const start = performance.now();
  const task = await client.submitStream(asAsync(archive(dataBytes)), { storage: "4GB", format: "tar" });
  const millis = performance.now() - start;
  await task.cancel({ grace: "0s" });
  await task.result({ reject: false });
  await task.delete();
  return millis;
}

async function measure(context: BenchContext): Promise<Row[]> {
  const dataBytes = context.quick ? 4 * 2 ** 20 : 2 * 2 ** 30 - 2 ** 20;
  const megabytes = dataBytes / 1e6;
  await using server = await context.startServer({ LONGSHORE_MAX_UPLOAD: "3GB" });
  await using client = new Longshore(server.address);
  await using bare = await BareServer.start();
  await sendOurs(client, 2 ** 20);
  await sendBare(bare.address, 2 ** 20);
  const rates = { ours: [] as number[][], theirs: [] as number[][] };
  const growth: number[] = [];
  const rounds = Math.min(context.rounds, 3);
  for (let round = 0; round < rounds; round++) {
    context.say(`    round ${round + 1} of ${rounds}`);
    rates.theirs.push([megabytes / (await timed(() => sendBare(bare.address, dataBytes)))]);
    const before = await residentMebibytes(server.pid);
    const peak = await peakWhile(server.pid, async () => {
      rates.ours.push([megabytes / (await sendOurs(client, dataBytes))]);
    });
    growth.push(peak - before);
  }
  const size = context.quick ? "4 MiB" : "2 GiB";
  return [
    ratioRow(
      {
        group: "c",
        name: `${size} upload, MB/s / raw grpc-js stream`,
        goal: atLeast(0.8),
        note: "ours also writes it to disk, checks it as a tar and creates the task",
      },
      rates,
      median,
    ),
    plainRow({ group: "c", name: `${size} upload, growth of the server`, goal: atMost(64) }, "MiB", growth),
  ];
}

export const upload: BenchCase = {
  letter: "c",
  title: "a 2 GiB project in one stream, against a raw grpc-js stream that is hashed and thrown away",
  run: measure,
};
