import { once } from "node:events";
import { createConnection, createServer, type Server, type Socket } from "node:net";

/** A place in the talk between server and daemon. */
export interface TrapPoint {
  /** Matched with the request line, such as "POST /v1.41/containers/create?name=x HTTP/1.1". */
  readonly request: RegExp;
  /** "upgraded" is the first byte that the server sends on a connection after the daemon agreed to it: the spec of a sandbox. */
  readonly at: "request" | "answer" | "upgraded";
  /** Whether what sprang the trap still reaches the daemon. */
  readonly pass: boolean;
}

/** Stands between a server and its Docker daemon, and tells when their talk reaches a point. The server opens a connection per request. */
export class DockerTrap implements AsyncDisposable {
  readonly path: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #armed: { readonly point: TrapPoint; readonly spring: () => void } | undefined;

  private constructor(path: string, target: string) {
    this.path = path;
    this.#server = createServer({ allowHalfOpen: true }, (near) => this.#accept(near, target));
  }

  static async open(path: string, target: string): Promise<DockerTrap> {
    const trap = new DockerTrap(path, target);
    trap.#server.listen(path);
    await once(trap.#server, "listening");
    return trap;
  }

  /** Calls `spring` once, synchronously, when the point is reached; disarms on abort. */
  arm(point: TrapPoint, spring: () => void, signal: AbortSignal): void {
    this.#armed = { point, spring };
    signal.addEventListener("abort", () => {
      if (this.#armed?.spring === spring) this.#armed = undefined;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #accept(near: Socket, target: string): void {
    const far = createConnection({ path: target, allowHalfOpen: true });
    let line: string | undefined;
    let answered = false;
    near.on("data", (bytes: Buffer) => {
      const first = line === undefined;
      line ??= bytes.toString("latin1").split("\r\n", 1)[0] ?? "";
      const at = first ? "request" : answered ? "upgraded" : undefined;
      if (!this.#springs(line, at) && !far.write(bytes)) near.pause();
    });
    far.on("data", (bytes: Buffer) => {
      const at = answered ? undefined : "answer";
      answered = true;
      if (!this.#springs(line ?? "", at) && !near.write(bytes)) far.pause();
    });
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(socket);
      socket.on("drain", () => other.resume());
      socket.on("end", () => other.end());
      socket.on("error", () => other.destroy());
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
  }

  /** True when these bytes must not go on. */
  #springs(line: string, at: TrapPoint["at"] | undefined): boolean {
    const armed = this.#armed;
    if (armed === undefined || at !== armed.point.at || !armed.point.request.test(line)) return false;
    this.#armed = undefined;
    armed.spring();
    return !armed.point.pass;
  }
}
