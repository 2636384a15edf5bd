import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

const run = promisify(execFile);
const IMAGE = process.env.LONGSHORE_EXECUTOR_IMAGE ?? "longshore/executor:dev";

/** A Docker daemon of the test's own, to be killed: with its own data, socket and network namespace, so that no other notices. */
export class OwnDockerd implements AsyncDisposable {
  readonly folder: string;
  readonly #liveRestore: boolean;
  #child: ChildProcess | undefined;
  /** As systemd would start it: one that dockerd starts by itself dies with it now and then. */
  #containerd: ChildProcess | undefined;

  private constructor(folder: string, liveRestore: boolean) {
    this.folder = folder;
    this.#liveRestore = liveRestore;
  }

  /** Started, with the executor image. */
  static async start({ liveRestore }: { liveRestore: boolean }): Promise<OwnDockerd> {
    const dockerd = new OwnDockerd(await mkdtemp(join(tmpdir(), "longshore-dockerd-")), liveRestore);
    try {
      await writeFile(join(dockerd.folder, "daemon.json"), "{}");
      await dockerd.#startContainerd();
      await dockerd.start();
      await dockerd.#loadImage();
      return dockerd;
    } catch (error) {
      await dockerd[Symbol.asyncDispose]();
      throw error;
    }
  }

  get address(): string {
    return `unix://${this.folder}/docker.sock`;
  }

  async start(): Promise<void> {
    const options = [
      `--host=${this.address}`,
      `--data-root=${this.folder}/data`,
      `--exec-root=${this.folder}/exec`,
      `--pidfile=${this.folder}/docker.pid`,
      `--config-file=${this.folder}/daemon.json`,
      `--containerd=${this.folder}/containerd.sock`,
      "--bridge=none",
      "--iptables=false",
      `--live-restore=${this.#liveRestore}`,
    ];
    // Without a network namespace of its own it would take the other daemon's bridge away.
    const child = spawn("unshare", ["-n", "dockerd", ...options], { stdio: ["ignore", "ignore", "pipe"] });
    this.#child = child;
    await untilSays(child, "API listen on");
  }

  /** SIGKILL: `unshare` has become dockerd. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  async docker(...args: string[]): Promise<string> {
    return (await run("docker", ["-H", this.address, ...args])).stdout.trim();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child?.exitCode === null) {
      const ids = (await this.docker("ps", "-aq")).split("\n").filter((id) => id !== "");
      if (ids.length > 0) await this.docker("rm", "-fv", ...ids);
    }
    await this.#end("SIGTERM");
    await endProcess(this.#containerd, "SIGTERM");
    const mounts = (await readFile("/proc/self/mountinfo", "utf8"))
      .split("\n")
      .map((line) => line.split(" ")[4] ?? "")
      .filter((point) => point.startsWith(this.folder));
    for (const point of mounts.reverse()) await run("umount", [point]);
    await rm(this.folder, { recursive: true, force: true });
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    await endProcess(child, signal);
  }

  async #startContainerd(): Promise<void> {
    const config = join(this.folder, "containerd.toml");
    await writeFile(
      config,
      [
        "version = 2",
        `root = "${this.folder}/containerd"`,
        `state = "${this.folder}/containerd-state"`,
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
        "[grpc]",
        `address = "${this.folder}/containerd.sock"`,
      ].join("\n"),
    );
    const child = spawn("containerd", ["--config", config], { stdio: ["ignore", "ignore", "pipe"] });
    this.#containerd = child;
    await untilSays(child, "containerd successfully booted");
  }

  async #loadImage(): Promise<void> {
    const save = spawn("docker", ["save", IMAGE], { stdio: ["ignore", "pipe", "inherit"] });
    const load = spawn("docker", ["-H", this.address, "load"], { stdio: ["pipe", "ignore", "inherit"] });
    save.stdout.pipe(load.stdin);
    const [code] = await once(load, "exit");
    if (code !== 0) throw new Error(`docker load ended with ${code}`);
  }
}

/** Resolves at a line of its stderr with this text. */
async function untilSays(child: ChildProcess, text: string): Promise<void> {
  const { stderr } = child;
  if (stderr === null) throw new Error("its stderr is not piped");
  const tail: string[] = [];
  await new Promise<void>((resolve, reject) => {
    createInterface({ input: stderr }).on("line", (line) => {
      tail.push(line);
      if (line.includes(text)) resolve();
    });
    child.once("error", reject);
    child.once("exit", (code, signal) =>
      reject(
        new Error(
          `${child.spawnfile} ended with ${code ?? signal} before it said "${text}":\n${tail.slice(-20).join("\n")}`,
        ),
      ),
    );
  });
}

async function endProcess(child: ChildProcess | undefined, signal: NodeJS.Signals): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill(signal);
  await ended;
}
