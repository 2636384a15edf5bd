import { execFile } from "node:child_process";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { ulid } from "ulid";
import { type DockerEngine, openDockerEngine } from "#server/adapters/docker/docker-engine.ts";
import { containerName } from "#server/adapters/docker/naming.ts";
import {
  DEFAULT_POOL,
  DEFAULT_RUNTIMES,
  DEFAULT_UIDS,
  type DockerEngineOptions,
} from "#server/adapters/docker/options.ts";
import { CollectingLog } from "./fakes/collecting-log.ts";
import { TemporaryFolder } from "./temporary-folder.ts";
import { UnixProxy } from "./unix-proxy.ts";

const run = promisify(execFile);

export const EXECUTOR_IMAGE = process.env.LONGSHORE_TEST_IMAGE ?? "longshore/executor:dev";
const RUNNER_DIRECTORY = join(import.meta.dirname, "../../executor-image/runner");

/** Runs the docker command line, the tests' own way to the daemon beside the engine's. */
export async function docker(...args: string[]): Promise<string> {
  return (await run("docker", args)).stdout.trim();
}

/** Why tests against Docker cannot run here; false when they can. */
export async function dockerMissing(): Promise<string | false> {
  if (process.getuid?.() !== 0) return "needs root, as the server does";
  try {
    await docker("image", "inspect", EXECUTOR_IMAGE);
    return false;
  } catch (error) {
    return `needs Docker and the image ${EXECUTOR_IMAGE} (scripts/quickstart brings both): ${String(error).split("\n")[0]}`;
  }
}

/** The same for sandboxes in gVisor. */
export async function gvisorMissing(): Promise<string | false> {
  const missing = await dockerMissing();
  if (missing !== false) return missing;
  const runtimes = await docker("info", "--format", "{{json .Runtimes}}");
  return runtimes.includes('"runsc"') ? false : "the Docker daemon knows no runtime runsc (gVisor)";
}

/** A data folder and an installation of its own on the machine's daemon; servers on it may come and go. */
export class DockerBench implements AsyncDisposable {
  readonly path: string;
  readonly installationId: string;
  readonly log = new CollectingLog();
  readonly #folder: TemporaryFolder | undefined;
  readonly #engines = new Set<DockerEngine>();
  readonly #proxies = new Set<UnixProxy>();

  private constructor(path: string, installationId: string, folder: TemporaryFolder | undefined) {
    this.path = path;
    this.installationId = installationId;
    this.#folder = folder;
  }

  static async create(): Promise<DockerBench> {
    const folder = await TemporaryFolder.create();
    return new DockerBench(folder.path, ulid(), folder);
  }

  /** On a data folder that belongs to another bench. */
  static at(path: string, installationId: string): DockerBench {
    return new DockerBench(path, installationId, undefined);
  }

  async open(changes: Partial<DockerEngineOptions> = {}): Promise<DockerEngine> {
    const engine = await openDockerEngine({
      name: "docker",
      dataDirectory: this.path,
      installationId: this.installationId,
      runnerDirectory: RUNNER_DIRECTORY,
      defaultImage: EXECUTOR_IMAGE,
      allowedImages: ["longshore/*:*"],
      uids: DEFAULT_UIDS,
      runtimes: DEFAULT_RUNTIMES,
      pool: DEFAULT_POOL,
      parallelCalls: 3,
      log: this.log,
      ...changes,
    });
    this.#engines.add(engine);
    return engine;
  }

  /** A way to the daemon that a test can cut. */
  async proxy(): Promise<UnixProxy> {
    const proxy = new UnixProxy(join(this.path, `docker-${this.#proxies.size}.sock`), "/var/run/docker.sock");
    this.#proxies.add(proxy);
    await proxy.open();
    return proxy;
  }

  containerName(sandboxId: string): string {
    return containerName(this.installationId, sandboxId);
  }

  sandboxFolder(sandboxId: string): string {
    return join(this.path, "sandboxes", sandboxId);
  }

  /** Container, mount, loop device and volume of a sandbox that are still there, in words. */
  async leftovers(sandboxId: string): Promise<string[]> {
    const found: string[] = [];
    const containers = await docker(
      "ps",
      "-aq",
      "--no-trunc",
      "--filter",
      `name=${this.containerName(sandboxId)}`,
    );
    if (containers !== "") found.push(`container ${containers}`);
    const folder = this.sandboxFolder(sandboxId);
    if ((await readFile("/proc/self/mountinfo", "utf8")).includes(folder))
      found.push(`mount below ${folder}`);
    if ((await run("losetup", ["-a"])).stdout.includes(folder)) found.push(`loop device of ${folder}`);
    const paths = ["volume", "volume.ext4", "input"].map((name) => join(folder, name));
    const cgroups = ["memory", "cpu", "pids"].map(
      (controller) => `/sys/fs/cgroup/${controller}/longshore/${sandboxId}`,
    );
    for (const path of [...paths, ...cgroups]) {
      const there = await stat(path).then(
        () => true,
        () => false,
      );
      if (there) found.push(path);
    }
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const proxy of this.#proxies) await proxy.open();
    for (const engine of this.#engines) {
      for (const { id } of await engine.list()) await engine.release(id);
      await engine.close();
    }
    for (const proxy of this.#proxies) await proxy.cut();
    await this.#folder?.[Symbol.asyncDispose]();
  }
}
