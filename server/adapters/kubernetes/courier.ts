import { z } from "zod";
import { SystemFault } from "../../domain/errors.ts";
import type { Cluster } from "./cluster.ts";
import type { ExecChannel } from "./exec-channel.ts";
import { COURIER, PROGRAMS, PYTHON, RUNNER } from "./job-manifest.ts";

const PIECE_BYTES = 256 * 1024;
const MOST_ANSWER_BYTES = 64 * 1024;
const COMMAND = [...PYTHON, `${PROGRAMS}/courier.py`, "serve"];
/** PID 1 of the runner's container is the runner; only a process beside it may signal it. It says so first: the runner may kill it, too. */
const SIGNAL = [...PYTHON, "-c", "import os, sys; os.write(1, b'.'); os.kill(1, int(sys.argv[1]))"];

const answer = z
  .object({ error: z.string().optional(), bytes: z.number().int().nonnegative().default(0) })
  .loose();

/** A volume of the pod's that the runner's container sees read-only. */
export type BroughtFolder = "environment" | "tools";

export interface BroughtFile {
  /** Below the volume. */
  readonly path: string;
  readonly executable: boolean;
  readonly content: AsyncIterable<Uint8Array>;
}

/** The courier answered that it will not, so that its pod did nothing of it. */
export class CourierRefused extends SystemFault {}

/** One connection to the second container of a pod; executor-image/pod/courier.py is its other end. One request at a time. */
export class Courier {
  readonly #channel: ExecChannel;

  private constructor(channel: ExecChannel) {
    this.#channel = channel;
  }

  static async connect(cluster: Cluster, pod: string): Promise<Courier> {
    return new Courier(await cluster.exec(pod, COURIER, COMMAND));
  }

  /** Fills the input file. Answers its length. */
  async sendInput(content: AsyncIterable<Uint8Array>): Promise<number> {
    await this.#request({ op: "input" });
    for await (const chunk of content) await this.#pieces(chunk);
    await this.#channel.write(length(0));
    const { input_bytes: bytes } = await this.#answer(
      z.object({ input_bytes: z.number().int().nonnegative() }),
    );
    return bytes;
  }

  /** Before the spec: the task must not be there yet. */
  async unpack(folder: BroughtFolder, files: AsyncIterable<BroughtFile>): Promise<void> {
    await this.#request({ op: "unpack", folder });
    for await (const batch of inBatches(encoded(files))) await this.#channel.write(batch);
    await this.#answer(z.object({ files: z.number().int() }));
  }

  /** Hands the spec to the runner. Throws CourierRefused where it cannot have got any of it. */
  async begin(message: Uint8Array): Promise<void> {
    await this.#request({ op: "begin" });
    await this.#pieces(message);
    await this.#channel.write(length(0));
    await this.#answer(z.object({}));
  }

  /** True when a runner without a spec was told to end. */
  async hangUp(): Promise<boolean> {
    await this.#request({ op: "stop" });
    return (await this.#answer(z.object({ hung_up: z.boolean() }))).hung_up;
  }

  /** At most `most` bytes from `offset`; empty where there are none, also after waiting. */
  async read(file: "journal" | "artifacts", offset: number, most: number, waitMillis = 0): Promise<Buffer> {
    await this.#request({ op: "read", file, offset, length: most, wait_ms: waitMillis });
    const { bytes } = await this.#answer(z.object({ bytes: z.number().int().nonnegative().max(most) }));
    return await this.#channel.read(bytes);
  }

  close(): void {
    this.#channel.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #request(value: object): Promise<void> {
    const json = Buffer.from(JSON.stringify(value));
    await this.#channel.write(Buffer.concat([length(json.length), json]));
  }

  async #pieces(data: Uint8Array): Promise<void> {
    for (let at = 0; at < data.length; at += PIECE_BYTES) {
      const piece = data.subarray(at, at + PIECE_BYTES);
      await this.#channel.write(length(piece.length));
      await this.#channel.write(piece);
    }
  }

  async #answer<T>(shape: z.ZodType<T>): Promise<T> {
    const size = (await this.#channel.read(4)).readUInt32BE(0);
    if (size > MOST_ANSWER_BYTES) throw new SystemFault(`a pod's courier answered ${size} bytes of JSON`);
    const value: unknown = JSON.parse((await this.#channel.read(size)).toString());
    const { error } = answer.parse(value);
    if (error !== undefined) throw new CourierRefused(`the pod's courier refused: ${error}`);
    return shape.parse(value);
  }
}

/** Signals PID 1 of the runner's container. */
export async function signalRunner(cluster: Cluster, pod: string, signal: number): Promise<void> {
  using channel = await cluster.exec(pod, RUNNER, [...SIGNAL, String(signal)]);
  await channel.read(1);
  try {
    await channel.untilEnded();
  } catch (error) {
    // A runner that ends kills everything beside it before this could say that it was heard; what went wrong has words.
    if (channel.stderr !== "") throw error;
  }
}

/** As the courier reads them: header and pieces of each, and a length of 0 after each and after all. */
async function* encoded(files: AsyncIterable<BroughtFile>): AsyncGenerator<Uint8Array> {
  for await (const { path, executable, content } of files) {
    const header = Buffer.from(JSON.stringify({ path, executable }));
    yield Buffer.concat([length(header.length), header]);
    for await (const chunk of content) {
      if (chunk.length === 0) continue;
      yield length(chunk.length);
      yield chunk;
    }
    yield length(0);
  }
  yield length(0);
}

/** An environment has thousands of small files: one message each would take longer than their bytes. */
async function* inBatches(parts: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let batch: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of parts) {
    batch.push(part);
    bytes += part.length;
    if (bytes < PIECE_BYTES) continue;
    yield Buffer.concat(batch);
    [batch, bytes] = [[], 0];
  }
  yield Buffer.concat(batch);
}

function length(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
