import { once } from "node:events";
import { createConnection, createServer, type Server, type Socket } from "node:net";

/** A Unix socket before another, which can be taken away and brought back. */
export class UnixProxy {
  readonly path: string;
  readonly #target: string;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;

  constructor(path: string, target: string) {
    this.path = path;
    this.#target = target;
  }

  async open(): Promise<void> {
    if (this.#server !== undefined) return;
    this.#server = createServer({ allowHalfOpen: true }, (near) => {
      const far = createConnection({ path: this.#target, allowHalfOpen: true });
      for (const [socket, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(socket);
        socket.on("error", () => other.destroy());
        socket.on("close", () => {
          this.#sockets.delete(socket);
          other.destroy();
        });
      }
      near.pipe(far);
      far.pipe(near);
    });
    this.#server.listen(this.path);
    await once(this.#server, "listening");
  }

  /** Every connection breaks, and new ones are refused. */
  async cut(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = once(server, "close");
    server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}
