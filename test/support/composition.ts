import { execFile } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { SERVER_IMAGE, serverImageMissing } from "./server-image.ts";
import { TemporaryFolder } from "./temporary-folder.ts";

const run = promisify(execFile);
const FILE = join(import.meta.dirname, "../../deploy/compose/compose.yaml");
const SERVICE = "server-dev";
/** Below what systems give out by themselves, so that it is free after a restart, too. */
const PORT = 25_051;

/** Why Docker Compose cannot start a server here; false where it can. */
export async function compositionMissing(): Promise<string | false> {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return "the server needs root on Linux";
  try {
    await run("docker-compose", ["version"]);
  } catch {
    return "docker-compose does not run (scripts/test compose builds it)";
  }
  return await serverImageMissing();
}

/** The server of deploy/compose in profile dev, as `docker compose up` starts it: in a container, beside the host's Docker. */
export class Composition implements AsyncDisposable {
  readonly address = `127.0.0.1:${PORT}`;
  readonly #folder: TemporaryFolder;
  readonly #project = `longshore-test-${process.pid}`;

  private constructor(folder: TemporaryFolder) {
    this.#folder = folder;
  }

  static async up(): Promise<Composition> {
    const folder = await TemporaryFolder.create();
    // As systemd has the root of a host: what the server mounts in its container is to be seen on the host, and so by Docker.
    await run("mount", ["--bind", folder.path, folder.path]);
    await run("mount", ["--make-shared", folder.path]);
    const composition = new Composition(folder);
    try {
      await composition.#up();
      return composition;
    } catch (error) {
      await composition[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #up(): Promise<void> {
    // Nobody collects its traces; other servers on the machine keep their port for figures, and their containers count for nothing.
    const environment = {
      LONGSHORE_METRICS_ADDRESS: "",
      OTEL_EXPORTER_OTLP_ENDPOINT: "",
      LONGSHORE_COUNT_OTHERS: "false",
      LONGSHORE_WARM_COUNT: "0",
    };
    await mkdir(this.#folder.at("data"), { mode: 0o700 });
    await writeFile(
      this.#folder.at("override.json"),
      JSON.stringify({ services: { [SERVICE]: { environment } } }),
    );
    await this.#compose("up", "--detach", SERVICE);
  }

  /** SIGKILL to the server itself: Docker is to start it again. */
  async kill(): Promise<void> {
    process.kill(Number(await this.#inspect("{{.State.Pid}}")), "SIGKILL");
  }

  async restarts(): Promise<number> {
    return Number(await this.#inspect("{{.RestartCount}}"));
  }

  /** In words what tasks have left on the host, once the composition is down. */
  async leftovers(): Promise<string[]> {
    const mounts = await readFile("/proc/self/mountinfo", "utf8");
    const installation = (await readFile(this.#folder.at("data/installation"), "utf8")).trim();
    const label = `label=longshore.installation=${installation}`;
    const { stdout } = await run("docker", ["ps", "-aq", "--filter", label]);
    return [
      ...stdout.split("\n").filter((id) => id !== ""),
      ...mounts.split("\n").filter((line) => line.includes(this.#folder.at("data"))),
    ];
  }

  async down(): Promise<void> {
    await this.#compose("down", "--volumes");
  }

  async #inspect(format: string): Promise<string> {
    const id = (await this.#compose("ps", "--quiet", SERVICE)).trim();
    return (await run("docker", ["inspect", "--format", format, id])).stdout.trim();
  }

  async #compose(...args: string[]): Promise<string> {
    const files = ["--file", FILE, "--file", this.#folder.at("override.json")];
    const { PATH = "", HOME = "" } = process.env;
    const { stdout } = await run(
      "docker-compose",
      ["--project-name", this.#project, ...files, "--profile", "dev", ...args],
      {
        env: {
          ...{ PATH, HOME, LONGSHORE_DATA: this.#folder.at("data"), LONGSHORE_PORT: String(PORT) },
          LONGSHORE_SERVER_IMAGE: SERVER_IMAGE,
        },
      },
    );
    return stdout;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.down();
    } finally {
      await run("umount", ["--recursive", this.#folder.path]);
      await this.#folder[Symbol.asyncDispose]();
    }
  }
}
