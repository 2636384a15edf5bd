import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Why no outside can be made here; false where it can. */
export async function outsideMissing(): Promise<string | false> {
  for (const [tool, ...args] of [
    ["ip", "netns", "list"],
    ["iptables", "-S", "DOCKER-USER"],
  ] as const) {
    try {
      await run(tool, [...args]);
    } catch (error) {
      return `needs ${tool} (packages iproute2 and iptables) and the right to use it: ${String(error).split("\n")[0]}`;
    }
  }
  return false;
}

/**
 * An internet of our own, as one bridge sees it: whatever comes from the bridge and is not for this host goes into a network namespace
 * that has the given addresses. The host's own routes stay as they are.
 */
export class OutsideNetwork implements AsyncDisposable {
  readonly #id = randomBytes(4).toString("hex");
  readonly #cleanup = new AsyncDisposableStack();

  static async create(addresses: readonly string[], nameservers: readonly string[]): Promise<OutsideNetwork> {
    const outside = new OutsideNetwork();
    try {
      await outside.#open([...addresses, ...nameservers], nameservers);
      return outside;
    } catch (error) {
      await outside[Symbol.asyncDispose]();
      throw error;
    }
  }

  get #namespace(): string {
    return `lso-${this.#id}`;
  }

  get #host(): string {
    return `lsv-${this.#id}`;
  }

  async #open(addresses: readonly string[], nameservers: readonly string[]): Promise<void> {
    const inside = `lsw-${this.#id}`;
    await run("ip", ["netns", "add", this.#namespace]);
    this.#cleanup.defer(() => this.#ip("netns", "del", this.#namespace));
    await this.#ip("link", "add", this.#host, "type", "veth", "peer", "name", inside);
    this.#cleanup.defer(() => this.#ip("link", "del", this.#host));
    await this.#ip("link", "set", inside, "netns", this.#namespace);
    // Loose: this host has no routes of its own to these addresses.
    await writeFile(`/proc/sys/net/ipv4/conf/${this.#host}/rp_filter`, "2");
    await this.#ip("link", "set", this.#host, "up");
    await this.#inside("link", "set", "lo", "up");
    await this.#inside("link", "set", inside, "up");
    for (const address of addresses) await this.#inside("addr", "add", `${address}/32`, "dev", inside);
    await this.#inside("route", "add", "default", "dev", inside);
    await this.#serve(nameservers);
  }

  async #serve(nameservers: readonly string[]): Promise<void> {
    const script = join(import.meta.dirname, "outside-server.ts");
    const args = ["netns", "exec", this.#namespace, process.execPath, script, ...nameservers];
    const server: ChildProcess = spawn("ip", args, { stdio: ["pipe", "pipe", "inherit"] });
    const ended = once(server, "exit");
    this.#cleanup.defer(async () => {
      server.stdin?.end();
      await ended;
    });
    if (server.stdout === null) throw new Error("the outside server's output is not piped");
    const ready = once(createInterface({ input: server.stdout }), "line");
    const [first] = await Promise.race([ready, ended]);
    if (first !== "ready") throw new Error(`the outside server did not start: ${first}`);
  }

  /** Makes this the outside of a bridge, or of several. */
  async attach(bridge: string): Promise<void> {
    const table = String(20_000 + Number.parseInt(this.#id.slice(0, 4), 16));
    await this.#ip("route", "replace", "default", "dev", this.#host, "table", table);
    const rule = ["iif", bridge, "lookup", table];
    await this.#ip("rule", "add", ...rule);
    this.#cleanup.defer(() => this.#ip("rule", "del", ...rule));
  }

  async #ip(...args: string[]): Promise<void> {
    await run("ip", args);
  }

  #inside(...args: string[]): Promise<void> {
    return this.#ip("-n", this.#namespace, ...args);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#cleanup.disposeAsync();
  }
}
