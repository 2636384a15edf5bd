import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { pipeline } from "node:stream/promises";

/** In place of kube-proxy, which the lab has not: one address in front of whatever serves at the moment, asked anew for each connection. */
export class ServiceProxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(
    resolve: () => Promise<string>,
    at: { readonly host: string; readonly port: number } = { host: "127.0.0.1", port: 0 },
  ): Promise<ServiceProxy> {
    const server = createServer();
    const proxy = new ServiceProxy(server);
    server.on("connection", (client) => void proxy.#carry(client, resolve));
    server.listen(at);
    await once(server, "listening");
    return proxy;
  }

  get address(): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the proxy does not listen");
    return `${address.address}:${address.port}`;
  }

  async #carry(client: Socket, resolve: () => Promise<string>): Promise<void> {
    this.#keep(client);
    try {
      const [host, port] = (await resolve()).split(":");
      const server = this.#keep(connect(Number(port), host));
      await Promise.all([pipeline(client, server), pipeline(server, client)]);
    } catch {
      // Nobody serves, or either end broke off: the client sees its connection end, and tries again.
      client.destroy();
    }
  }

  #keep(socket: Socket): Socket {
    this.#sockets.add(socket);
    return socket.on("close", () => this.#sockets.delete(socket));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}
