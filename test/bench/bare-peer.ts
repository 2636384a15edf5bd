import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

/** A grpc-js server with nothing behind it, as a process of its own. */
export class BareServer implements AsyncDisposable {
  readonly address: string;
  readonly #child: ChildProcess;

  static async start(): Promise<BareServer> {
    const child = fork(join(import.meta.dirname, "bare-server.ts"));
    const [message]: unknown[] = await once(child, "message");
    if (typeof message !== "object" || message === null || !("port" in message))
      throw new Error("the bare server told no port");
    return new BareServer(child, `127.0.0.1:${String(message.port)}`);
  }

  private constructor(child: ChildProcess, address: string) {
    this.#child = child;
    this.address = address;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.disconnect();
    await once(this.#child, "exit");
  }
}
