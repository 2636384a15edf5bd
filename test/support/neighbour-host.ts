import { execFile } from "node:child_process";
import { randomBytes, randomInt } from "node:crypto";
import { promisify } from "node:util";

const run = promisify(execFile);

/** A machine beside this one, as far as networks go: a namespace with an address that this host and what it forwards reach. */
export class NeighbourHost implements AsyncDisposable {
  readonly address: string;
  readonly #namespace: string;
  readonly #cleanup: AsyncDisposableStack;

  private constructor(address: string, namespace: string, cleanup: AsyncDisposableStack) {
    this.address = address;
    this.#namespace = namespace;
    this.#cleanup = cleanup;
  }

  static async create(): Promise<NeighbourHost> {
    const id = randomBytes(4).toString("hex");
    const [namespace, outer, inner] = [`lsn-${id}`, `lsx-${id}`, `lsy-${id}`];
    const block = `10.99.${randomInt(256)}`;
    const first = randomInt(63) * 4;
    const [here, there] = [`${block}.${first + 1}`, `${block}.${first + 2}`];
    await using building = new AsyncDisposableStack();
    const ip = async (...args: string[]): Promise<void> => {
      await run("ip", args);
    };
    await ip("netns", "add", namespace);
    building.defer(() => ip("netns", "del", namespace));
    await ip("link", "add", outer, "type", "veth", "peer", "name", inner);
    building.defer(() => ip("link", "del", outer));
    await ip("link", "set", inner, "netns", namespace);
    await ip("addr", "add", `${here}/30`, "dev", outer);
    await ip("link", "set", outer, "up");
    await ip("-n", namespace, "addr", "add", `${there}/30`, "dev", inner);
    await ip("-n", namespace, "link", "set", "lo", "up");
    await ip("-n", namespace, "link", "set", inner, "up");
    await ip("-n", namespace, "route", "add", "default", "via", here);
    return new NeighbourHost(there, namespace, building.move());
  }

  /** The command line that runs a program there. */
  commandLine(program: string, args: readonly string[]): [program: string, args: string[]] {
    return ["ip", ["netns", "exec", this.#namespace, program, ...args]];
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#cleanup.disposeAsync();
  }
}
