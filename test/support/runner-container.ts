/** A sandbox as an engine makes one, by the docker command alone: what the runner is tested in. */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { type FSWatcher, watch } from "node:fs";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { pack } from "tar-stream";
import { type Journal, readJournal } from "./runner-journal.ts";

export const image = process.env.LONGSHORE_EXECUTOR_IMAGE ?? "longshore/executor:dev";
export const taskUid = 70001;
const runner = fileURLToPath(new URL("../../executor-image/runner", import.meta.url));
const folders = ["/workspace", "/tmp", "/home/task"];
const giveUpAfterMillis = 60_000;

export interface Program {
  readonly script?: string;
  readonly module?: string;
  readonly function?: string;
  readonly command?: readonly string[];
}

export interface Spec {
  readonly program?: Program;
  readonly code?: string;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  readonly working_directory?: string;
  readonly outputs?: readonly string[];
  readonly stop_grace_ms?: number;
  readonly spans?: { readonly count: number; readonly bytes: number } | null;
  readonly limits?: Readonly<Record<string, number | null>>;
}

export interface Options {
  readonly files?: Readonly<Record<string, string>>;
  /** The canonical tar itself, for those that are not one. */
  readonly input?: Buffer;
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly environment?: string;
  readonly memory?: string;
  readonly processes?: number;
  readonly storageMebibytes?: number;
  readonly runtime?: string;
  readonly arguments?: readonly string[];
}

/** Why these tests cannot run here, or false. */
export function dockerMissing(runtime?: string): string | false {
  const found = spawnSync("docker", ["image", "inspect", "-f", "ok", image], { encoding: "utf8" });
  if (found.error !== undefined) return "no docker command";
  if (found.status !== 0) return `no Docker, or no image ${image} (scripts/build-image)`;
  if (runtime === undefined) return false;
  const runtimes = spawnSync("docker", ["info", "-f", "{{json .Runtimes}}"], { encoding: "utf8" }).stdout;
  return runtimes.includes(`"${runtime}"`) ? false : `Docker has no runtime ${runtime}`;
}

export class RunnerContainer implements AsyncDisposable {
  readonly folder: string;
  readonly #id: string;
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #ended: Promise<unknown>;
  #output = "";

  private constructor(folder: string, id: string, child: ChildProcessWithoutNullStreams) {
    this.folder = folder;
    this.#id = id;
    this.#process = child;
    this.#ended = once(child, "close");
    // A runner that ends before it has read everything is what some tests want.
    child.stdin.on("error", () => child.stdin.destroy());
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        this.#output += text;
      });
    }
  }

  static async start(options: Options = {}): Promise<RunnerContainer> {
    const folder = await mkdtemp(join(tmpdir(), "longshore-runner-"));
    try {
      const input = options.input ?? (options.files ? await canonicalTar(options.files) : Buffer.alloc(0));
      await writeFile(join(folder, "input"), input, { mode: 0o600 });
      await writeFile(join(folder, "journal"), "", { mode: 0o600 });
      await writeFile(join(folder, "artifacts"), "", { mode: 0o600 });
      if (process.getuid?.() !== 0) {
        // The container's root has no right to override permissions; here its files are not root's own.
        for (const name of ["input", "journal", "artifacts"]) await chmod(join(folder, name), 0o666);
      }
      const created = spawnSync("docker", createArguments(folder, options), { encoding: "utf8" });
      if (created.status !== 0) throw new Error(`docker create failed: ${created.stderr}`);
      const id = created.stdout.trim();
      return new RunnerContainer(folder, id, spawn("docker", ["start", "-ai", id]));
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Sends the spec; `input_bytes` and everything not given take usual values. */
  async send(spec: Spec, options: Options = {}): Promise<void> {
    const inputBytes = (await readFile(join(this.folder, "input"))).length;
    this.sendText(JSON.stringify(completeSpec(spec, inputBytes, options)));
  }

  sendText(text: string): void {
    const body = Buffer.from(text, "utf8");
    const head = Buffer.alloc(4);
    head.writeUInt32BE(body.length);
    this.#process.stdin.write(Buffer.concat([head, body]));
  }

  /** Writes these bytes and ends stdin. */
  endStdin(bytes: Buffer = Buffer.alloc(0)): void {
    this.#process.stdin.end(bytes);
  }

  /** Does nothing while the container is not running. */
  signal(name: string): void {
    const sent = spawnSync("docker", ["kill", "-s", name, this.#id], { encoding: "utf8" });
    if (sent.status !== 0 && !sent.stderr.includes("is not running"))
      throw new Error(`docker kill failed: ${sent.stderr}`);
  }

  /** created, running or exited. */
  state(): string {
    return spawnSync("docker", ["inspect", "-f", "{{.State.Status}}", this.#id], {
      encoding: "utf8",
    }).stdout.trim();
  }

  async journal(): Promise<Journal> {
    return readJournal(await readFile(join(this.folder, "journal")));
  }

  /** Waits for the journal to satisfy `wanted`, woken by its writes. */
  async until(wanted: (journal: Journal) => boolean): Promise<Journal> {
    const signal = AbortSignal.timeout(giveUpAfterMillis);
    const watcher = watch(join(this.folder, "journal"));
    try {
      for (;;) {
        const changed = next(watcher, signal);
        const journal = await this.journal();
        if (wanted(journal)) return journal;
        await changed;
      }
    } finally {
      watcher.close();
    }
  }

  /** Waits for the container's end: its exit status, its journal, and what PID 1 itself wrote. */
  async finish(): Promise<{ status: number; journal: Journal; output: string }> {
    const timer = setTimeout(() => spawnSync("docker", ["kill", this.#id]), giveUpAfterMillis);
    await this.#ended;
    clearTimeout(timer);
    return { status: this.#process.exitCode ?? -1, journal: await this.journal(), output: this.#output };
  }

  async artifacts(): Promise<Buffer> {
    return await readFile(join(this.folder, "artifacts"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    spawnSync("docker", ["rm", "-fv", this.#id]);
    await this.#ended;
    await rm(this.folder, { recursive: true, force: true });
  }
}

function next(watcher: FSWatcher, signal: AbortSignal): Promise<unknown> {
  return once(watcher, "change", { signal });
}

/** Runs one spec in a container of its own. */
export async function runSpec(spec: Spec, options: Options = {}) {
  await using container = await RunnerContainer.start(options);
  await container.send(spec, options);
  const finished = await container.finish();
  return { ...finished, artifacts: await container.artifacts() };
}

/** One file made of `files` in the form the server writes: ustar with PAX headers, folders only where named. */
export async function canonicalTar(files: Readonly<Record<string, string>>): Promise<Buffer> {
  const tar = pack();
  for (const [name, content] of Object.entries(files)) {
    if (name.endsWith("/")) tar.entry({ name, type: "directory" });
    else tar.entry({ name }, content);
  }
  tar.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of tar) if (Buffer.isBuffer(chunk)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function createArguments(folder: string, options: Options): string[] {
  const memory = options.memory ?? "256m";
  const settings = {
    uid: taskUid,
    gid: taskUid,
    preload: [],
    environment: options.environment === undefined ? null : "/environment",
    prestart: true,
    ...options.settings,
  };
  const owner = `uid=${taskUid},gid=${taskUid},mode=0700,exec,size=${options.storageMebibytes ?? 32}m`;
  return [
    ...["create", "-i", "--read-only", "--network", "none", "--log-driver", "none", "-u", "0:0"],
    ...["--cap-drop", "ALL", "--cap-add", "SETUID", "--cap-add", "SETGID", "--cap-add", "KILL"],
    ...["--security-opt", "no-new-privileges", "--pids-limit", String(options.processes ?? 64)],
    ...["--memory", memory, "--memory-swap", memory],
    ...["-v", `${runner}:/longshore/runner:ro`, "-v", `${folder}/journal:/longshore/journal`],
    ...["-v", `${folder}/input:/longshore/input:ro`, "-v", `${folder}/artifacts:/longshore/artifacts`],
    ...folders.flatMap((path) => ["--tmpfs", `${path}:${owner}`]),
    ...(options.environment === undefined ? [] : ["-v", `${options.environment}:/environment:ro`]),
    ...(options.runtime === undefined ? [] : ["--runtime", options.runtime]),
    ...(options.arguments ?? []),
    ...[
      "--entrypoint",
      "python3",
      image,
      "-I",
      "-S",
      "-E",
      "-B",
      "/longshore/runner",
      JSON.stringify(settings),
    ],
  ];
}

function completeSpec(spec: Spec, inputBytes: number, options: Options) {
  return {
    version: 1,
    attempt_id: "01JTESTATTEMPT",
    args: [],
    env: {},
    working_directory: "",
    outputs: [],
    stop_grace_ms: 1000,
    ...spec,
    program: spec.program ?? { script: "main.py" },
    code: spec.code ?? null,
    stdin: Buffer.from(spec.stdin ?? "").toString("base64"),
    input_bytes: inputBytes,
    limits: {
      run_ms: 30_000,
      deadline_unix_ms: null,
      log_bytes: 64 << 20,
      artifact_bytes: 1 << 30,
      artifact_ms: 30_000,
      stage_in_ms: 30_000,
      open_files: 1024,
      processes: options.processes ?? 64,
      ram_bytes: 256 << 20,
      storage_bytes: 3 * (options.storageMebibytes ?? 32) * (1 << 20),
      ...spec.limits,
    },
  };
}
