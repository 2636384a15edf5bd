import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { removeRules } from "#server/adapters/docker/egress-rules.ts";

const run = promisify(execFile);
const SERVER = join(import.meta.dirname, "../../server");
/** As scripts/serve starts it. */
const COMMAND = [
  ...readFileSync(join(SERVER, "node-options"), "utf8")
    .split("\n")
    .filter((line) => line.startsWith("--")),
  join(SERVER, "main.ts"),
];

export interface RunningServer extends AsyncDisposable {
  /** host:port; the same after a restart. */
  readonly address: string;
  readonly dataDirectory: string;
  readonly pid: number;
  /** Lines of the server's log so far. */
  readonly log: readonly string[];
  /** Resolves with the first line of the log, past or to come, that matches. */
  logged(pattern: RegExp): Promise<string>;
  /** SIGTERM and wait for the end; answers the exit code. */
  stop(): Promise<number | null>;
  /** SIGKILL: no chance to tidy up. */
  kill(): Promise<void>;
  /** Starts it again on the same data and address. */
  start(): Promise<void>;
  /** What is left of this server on the host: containers, mounts, loop devices. */
  leftovers(): Promise<string[]>;
}

/** Why no server can be started here; undefined where one can. */
export async function whyNoServer(): Promise<string | undefined> {
  if (process.platform !== "linux") return "the server needs Linux";
  if (process.getuid?.() !== 0) return "the server's Docker engine needs root";
  try {
    await run("docker", ["version"], { timeout: 20_000 });
    return undefined;
  } catch {
    return "no Docker daemon answers";
  }
}

/** The real server as its own process, on a data folder of its own (or an empty one) and a free port; disposal leaves nothing behind. */
export async function startServer(env: Record<string, string> = {}, folder?: string): Promise<RunningServer> {
  const dataDirectory = folder ?? (await mkdtemp(join(tmpdir(), "longshore-e2e-")));
  const server = new ServerProcess(dataDirectory, env);
  try {
    await server.start();
    return server;
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}

class ServerProcess implements RunningServer {
  readonly dataDirectory: string;
  readonly log: string[] = [];
  readonly #env: Record<string, string>;
  readonly #readers = new Set<(line: string) => void>();
  #address = "127.0.0.1:0";
  #child: ChildProcess | undefined;

  constructor(dataDirectory: string, env: Record<string, string>) {
    this.dataDirectory = dataDirectory;
    this.#env = env;
  }

  get address(): string {
    return this.#address;
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error("the server is not running");
    return pid;
  }

  async start(): Promise<void> {
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("LONGSHORE_"));
    const kept = ["LONGSHORE_EXECUTOR_IMAGE", "LONGSHORE_UV"].flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value] as const];
    });
    const child = spawn(process.execPath, COMMAND, {
      env: {
        ...Object.fromEntries(inherited),
        ...Object.fromEntries(kept),
        LONGSHORE_LOG_LEVEL: "debug",
        LONGSHORE_LISTEN: this.#address,
        LONGSHORE_DATA_DIR: this.dataDirectory,
        // Whatever else runs on a developer's machine must not decide what a test sees.
        LONGSHORE_COUNT_OTHERS: "false",
        ...this.#env,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    this.#address = await this.#listening(child);
  }

  /** The log line that says where it listens. */
  #listening(child: ChildProcess): Promise<string> {
    const { stdout, stderr } = child;
    if (stdout === null || stderr === null) throw new Error("the server's output is not piped");
    const tail: string[] = [];
    return new Promise((resolve, reject) => {
      const read = (line: string) => {
        this.log.push(line);
        for (const reader of this.#readers) reader(line);
        tail.push(line);
        const address = /"address":"([^"]+)"/.exec(line)?.[1];
        if (address !== undefined && line.includes("listening")) resolve(address);
      };
      createInterface({ input: stdout }).on("line", read);
      createInterface({ input: stderr }).on("line", read);
      child.once("exit", (code, signal) =>
        reject(
          new Error(
            `the server ended with ${code ?? signal} before it listened:\n${tail.slice(-20).join("\n")}`,
          ),
        ),
      );
    });
  }

  logged(pattern: RegExp): Promise<string> {
    const past = this.log.find((line) => pattern.test(line));
    if (past !== undefined) return Promise.resolve(past);
    return new Promise((resolve) => {
      const reader = (line: string) => {
        if (!pattern.test(line)) return;
        this.#readers.delete(reader);
        resolve(line);
      };
      this.#readers.add(reader);
    });
  }

  async stop(): Promise<number | null> {
    return await this.#end("SIGTERM");
  }

  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  async #end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null)
      return child?.exitCode ?? null;
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
    return child.exitCode;
  }

  async leftovers(): Promise<string[]> {
    const installation = (await readFile(join(this.dataDirectory, "installation"), "utf8")).trim();
    const label = `label=longshore.installation=${installation}`;
    const { stdout } = await run("docker", ["ps", "-aq", "--no-trunc", "--filter", label]);
    const mounts = (await readFile("/proc/self/mountinfo", "utf8"))
      .split("\n")
      .filter((line) => line.includes(this.dataDirectory));
    const loops = (await run("losetup", ["-l", "-n", "-O", "BACK-FILE"])).stdout
      .split("\n")
      .filter((line) => line.includes(this.dataDirectory));
    return [
      ...stdout
        .split("\n")
        .filter((id) => id !== "")
        .map((id) => `container ${id}`),
      ...mounts.map((mount) => `mount ${mount}`),
      ...loops.map((loop) => `loop device of ${loop}`),
    ];
  }

  /** A server leaves its networks and their packet rules to the next on the same data, which never comes. */
  async #removeNetworks(): Promise<void> {
    const installation = await readFile(join(this.dataDirectory, "installation"), "utf8").catch(() => "");
    if (installation === "") return;
    const label = `label=longshore.installation=${installation.trim()}`;
    const { stdout } = await run("docker", ["network", "ls", "--filter", label, "--format", "{{.Name}}"]);
    for (const network of stdout.split("\n").filter((name) => name !== "")) {
      await run("docker", ["network", "rm", network]);
      await removeRules(network.replace("longshore-egress-", ""), "iptables");
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    for (const left of await this.leftovers().catch(() => [])) {
      const container = /^container (\S+)/.exec(left)?.[1];
      if (container !== undefined) await run("docker", ["rm", "-fv", container]);
    }
    await this.#removeNetworks();
    await unmountBelow(this.dataDirectory);
    await rm(this.dataDirectory, { recursive: true, force: true });
  }
}

async function unmountBelow(directory: string): Promise<void> {
  const mounts = (await readFile("/proc/self/mountinfo", "utf8"))
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((point) => point.startsWith(directory));
  for (const point of mounts.reverse()) await run("umount", [point]);
}
