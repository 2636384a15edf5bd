import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

/** Stands between a client and a server and cuts the connection in the middle of whatever is on it. */
export class CuttingProxy implements AsyncDisposable {
  /** For each connection, in order: bytes from the server after which it is cut; endless when used up. */
  readonly cutAfter: number[] = [];
  /** The same for bytes from the client. */
  readonly cutAfterSent: number[] = [];
  /** Bytes that came from clients. */
  sentBytes = 0;
  cuts = 0;
  /** Connections that come are cut at once, as where nobody listens. */
  refuses = false;
  /** Bytes that clients sent. */
  bytesIn = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #target: string;

  private constructor(target: string, server: Server) {
    this.#target = target;
    this.#server = server;
  }

  static async start(target: string): Promise<CuttingProxy> {
    const server = createServer();
    const proxy = new CuttingProxy(target, server);
    server.on("connection", (socket) => proxy.#carry(socket));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return proxy;
  }

  get address(): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the proxy does not listen");
    return `127.0.0.1:${address.port}`;
  }

  cutAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cutAll();
    this.#server.close();
    await once(this.#server, "close");
  }

  #carry(client: Socket): void {
    if (this.refuses) return void client.destroy();
    const [host, port] = this.#target.split(":");
    const server = connect(Number(port), host);
    const end = () => {
      client.destroy();
      server.destroy();
      this.#sockets.delete(client);
    };
    this.#sockets.add(client);
    for (const socket of [client, server]) socket.on("error", end).on("close", end);
    client.on("data", (bytes) => {
      this.bytesIn += bytes.length;
    });
    this.#pass(client, server, this.cutAfterSent.shift(), end, (bytes) => {
      this.sentBytes += bytes;
    });
    this.#pass(server, client, this.cutAfter.shift(), end);
  }

  #pass(
    from: Socket,
    to: Socket,
    cutAfter: number | undefined,
    end: () => void,
    count: (bytes: number) => void = () => undefined,
  ): void {
    let budget = cutAfter ?? Number.POSITIVE_INFINITY;
    from.on("data", (bytes) => {
      const passed = bytes.subarray(0, budget);
      budget -= passed.length;
      count(passed.length);
      if (budget > 0) {
        if (to.write(passed)) return;
        from.pause();
        to.once("drain", () => from.resume());
        return;
      }
      this.cuts += 1;
      to.write(passed, end);
    });
  }
}
