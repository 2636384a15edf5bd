import { z } from "zod";
import { SystemFault, Unavailable } from "../../domain/errors.ts";

/** Channels of Kubernetes' remote command protocol. */
const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const STATUS = 3;
/** Larger messages only wait in more places at once. */
const MESSAGE_BYTES = 32 * 1024;
const KEPT_STDERR_BYTES = 4096;
/** A program that says nothing at all for so long, although it was asked, is out of reach. */
const SILENCE_MILLIS = 60_000;

const execStatus = z.object({ status: z.string(), message: z.string().default("") });

/** As much of a WebSocket as this needs. */
interface Socket {
  send(data: Uint8Array, done: (error?: Error) => void): void;
  close(): void;
  terminate(): void;
  on(event: "close" | "error", listener: (reason: unknown) => void): unknown;
}

/** stdin and stdout of a program in a pod. What it sends is kept until it is asked for, so its protocol must bound that. */
export class ExecChannel {
  #socket: Socket | undefined;
  #chunks: Buffer[] = [];
  #length = 0;
  #stderr = "";
  #ended: Error | undefined;
  #succeeded = false;
  #wake: (() => void) | undefined;

  open(socket: Socket): void {
    this.#socket = socket;
    socket.on("close", () => this.#end("the connection ended"));
    socket.on("error", (error) => this.#end(String(error)));
    if (this.#ended !== undefined) socket.terminate();
  }

  /** A message of the cluster; false ends the connection. */
  take(channel: number, data: Buffer): boolean {
    if (channel === STDOUT) {
      this.#chunks.push(data);
      this.#length += data.length;
    } else if (channel === STDERR) {
      this.#stderr = (this.#stderr + data.toString()).slice(0, KEPT_STDERR_BYTES);
    } else if (channel === STATUS) {
      this.#end(statusText(data));
    }
    this.#wake?.();
    return true;
  }

  get stderr(): string {
    return this.#stderr.trim();
  }

  /** Resolves when the cluster's end has taken it: a slow one is not run over. */
  async write(data: Uint8Array): Promise<void> {
    for (let at = 0; at < data.length; at += MESSAGE_BYTES) {
      const part = data.subarray(at, at + MESSAGE_BYTES);
      const message = Buffer.allocUnsafe(part.length + 1);
      message[0] = STDIN;
      message.set(part, 1);
      await this.#send(message);
    }
  }

  /** Exactly so many bytes of stdout. */
  async read(length: number): Promise<Buffer> {
    using silence = this.#silence();
    while (this.#length < length) {
      if (this.#ended !== undefined) throw this.#ended;
      await this.#news();
      silence.timer.refresh();
    }
    const all =
      this.#chunks.length === 1 && this.#chunks[0] !== undefined
        ? this.#chunks[0]
        : Buffer.concat(this.#chunks);
    const rest = all.subarray(length);
    this.#chunks = rest.length === 0 ? [] : [rest];
    this.#length = rest.length;
    return all.subarray(0, length);
  }

  /** The program has ended; throws what it said where that was not well. */
  async untilEnded(): Promise<void> {
    using _ = this.#silence();
    while (this.#ended === undefined) await this.#news();
    if (!this.#succeeded) throw this.#ended;
  }

  close(): void {
    this.#end("the server hung up");
    this.#socket?.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #news(): Promise<void> {
    return new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }

  /** Whoever waits for the other end waits so long and no longer: a connection may be gone without a word. */
  #silence(): Disposable & { readonly timer: NodeJS.Timeout } {
    const timer = setTimeout(
      () => this.#end(`it said nothing for ${SILENCE_MILLIS / 1000} s`),
      SILENCE_MILLIS,
    );
    return { timer, [Symbol.dispose]: () => clearTimeout(timer) };
  }

  #end(reason: string | undefined): void {
    if (this.#ended !== undefined) return;
    this.#succeeded = reason === undefined;
    const told = [reason ?? "the program ended", this.stderr].filter((part) => part !== "").join(": ");
    this.#ended = new Unavailable(`a program in a pod is out of reach: ${told}`);
    this.#wake?.();
    // Without this a socket whose other end is gone would wait for a goodbye.
    this.#socket?.terminate();
  }

  async #send(message: Buffer): Promise<void> {
    const socket = this.#socket;
    if (socket === undefined) throw new SystemFault("a channel is used before it is open");
    if (this.#ended !== undefined) throw this.#ended;
    const sent = Promise.withResolvers<void>();
    using _ = this.#silence();
    socket.send(message, (error) => (error ? sent.reject(this.#ended ?? error) : sent.resolve()));
    await sent.promise;
  }
}

/** Undefined for a program that ended well. */
function statusText(data: Buffer): string | undefined {
  try {
    const { status, message } = execStatus.parse(JSON.parse(data.toString()));
    return status === "Success" ? undefined : message;
  } catch {
    // An older cluster's plain text.
    return data.toString().slice(0, 1000);
  }
}
