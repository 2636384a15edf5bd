import type { Duplex } from "node:stream";
import { SystemFault } from "../../domain/errors.ts";
import type { SandboxShape } from "../../domain/ports/engine.ts";
import { demultiplex } from "./multiplexed.ts";

/** PID 1 says something only when it breaks; a Python traceback fits. */
const KEPT_STDERR_BYTES = 4096;

/** A sandbox that this server started and whose stdin it holds. */
export class LiveSandbox {
  readonly id: string;
  readonly containerId: string;
  readonly shape: SandboxShape;
  readonly warm: boolean;
  readonly #stream: Duplex;
  readonly #stderr: Buffer[] = [];
  #stderrBytes = 0;
  #begun = false;

  constructor(id: string, containerId: string, shape: SandboxShape, warm: boolean, stream: Duplex) {
    this.id = id;
    this.containerId = containerId;
    this.shape = shape;
    this.warm = warm;
    this.#stream = stream;
    stream.on("data", (chunk: Buffer) => {
      if (this.#stderrBytes >= KEPT_STDERR_BYTES) return;
      this.#stderrBytes += chunk.length;
      this.#stderr.push(chunk.subarray(0, KEPT_STDERR_BYTES));
    });
    // A connection that breaks closes the stream: send() finds that out, and the end itself comes as an event.
    stream.on("error", () => stream.destroy());
  }

  /** The spec was sent, or may have been. */
  get begun(): boolean {
    return this.#begun;
  }

  /** Its runner still has a server: false once the container ended or the connection broke. */
  get waiting(): boolean {
    return !this.#begun && this.#stream.writable;
  }

  /** First words of PID 1 on its stderr. */
  get stderr(): string {
    return demultiplex(Buffer.concat(this.#stderr)).trim();
  }

  /** Tells once when the container ended or the connection broke. */
  onLost(tell: () => void): void {
    if (this.#stream.destroyed) tell();
    else this.#stream.once("close", tell);
  }

  /** Sends the one spec. Stdin stays open until hangUp: the runner waits with its exit until the end was passed on. */
  send(message: Buffer): Promise<void> {
    if (!this.waiting) {
      const reason = this.#begun
        ? "it has its spec already"
        : `its container ended${this.stderr === "" ? "" : `: ${this.stderr}`}`;
      return Promise.reject(new SystemFault(`sandbox ${this.id} takes no spec: ${reason}`));
    }
    this.#begun = true;
    return new Promise((resolve, reject) => {
      const broken = () => reject(new SystemFault(`sandbox ${this.id} was lost while its spec was sent`));
      this.#stream.once("close", broken);
      this.#stream.write(message, () => {
        this.#stream.off("close", broken);
        resolve();
      });
    });
  }

  /** The runner reads end of file: without a spec it ends by itself, after its attempt it waits no longer. */
  hangUp(): void {
    this.#stream.destroy();
  }
}
