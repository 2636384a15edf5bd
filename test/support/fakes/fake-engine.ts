import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ForeignLoad, type Gpu, NO_RESOURCES } from "#server/domain/capacity.ts";
import { ImageRefused, NotFound, SystemFault } from "#server/domain/errors.ts";
import {
  type Engine,
  type EngineCapabilities,
  type ImageInfo,
  type JournalSource,
  NotSent,
  type RunnerSpec,
  type Sandbox,
  type SandboxExit,
  type SandboxFiles,
  type SandboxOrder,
  type SandboxShape,
  type SandboxStatus,
} from "#server/domain/ports/engine.ts";
import { GIBIBYTE, type Resources } from "#server/domain/resources.ts";
import { FakeRunner } from "./fake-runner.ts";
import { MemoryJournal } from "./memory-journal.ts";

export const FAKE_IMAGE = "longshore/executor:dev";
const FAKE_DIGEST = `sha256:${"f".repeat(64)}`;

interface FakeSandbox {
  readonly containerId: string;
  readonly folder: string;
  readonly runner: FakeRunner;
  begun: boolean;
  exit: SandboxExit | undefined;
  readonly followers: Set<(exit: SandboxExit) => void>;
}

interface KeptFiles {
  readonly journal: MemoryJournal;
  artifacts: Buffer;
}

export interface FakeEngineOptions {
  readonly name?: string;
  readonly total?: Resources;
  readonly gpus?: readonly Gpu[];
  /** Tracking servers that it reaches, or why not. */
  readonly trackers?: ReadonlyMap<string, string>;
  /** Keeps so many sandboxes of the last shapes asked for. */
  readonly warm?: number;
}

/**
 * An engine of local processes for tests: no isolation, no limits but time and log, everything else as the port says.
 * It outlives a server built on it, so restarts can be played; `vanish`, `unreachable` and `failNext` play what goes wrong.
 */
export class FakeEngine implements Engine {
  readonly kind = "fake";
  readonly removedAtOpen: readonly string[] = [];
  readonly name: string;
  readonly files: SandboxFiles;
  readonly #options: FakeEngineOptions;
  readonly #sandboxes = new Map<string, FakeSandbox>();
  readonly #kept = new Map<string, KeptFiles>();
  readonly #idle: { readonly key: string; readonly id: string }[] = [];
  readonly #failures = { create: [] as Error[], begin: [] as Error[], release: [] as Error[] };
  readonly #foreignFollowers = new Set<() => void>();
  #foreign: ForeignLoad = { resources: NO_RESOURCES, gpuIds: [] };
  /** The latest word on what idle sandboxes may hold. */
  warmRoomBytes = Number.POSITIVE_INFINITY;
  #warmed = 0;

  constructor(options: FakeEngineOptions = {}) {
    this.#options = options;
    this.name = options.name ?? "fake";
    this.files = this.#fileView();
  }

  /** The next call of this kind rejects with `error`. */
  failNext(call: "create" | "begin" | "release", error: Error): void {
    this.#failures[call].push(error);
  }

  /** Somebody removes the container behind the engine's back. */
  async vanish(sandboxId: string): Promise<void> {
    const sandbox = this.#sandboxes.get(sandboxId);
    if (sandbox === undefined) return;
    sandbox.runner.die();
    this.#exit(sandbox, {
      exitCode: null,
      oomKilled: false,
      lost: true,
      message: "the container was removed from outside",
    });
    this.#sandboxes.delete(sandboxId);
    await rm(sandbox.folder, { recursive: true, force: true });
  }

  /** For tests of damage: the raw journal. */
  journalOf(sandboxId: string): MemoryJournal {
    return this.#filesOf(sandboxId).journal;
  }

  async capabilities(): Promise<EngineCapabilities> {
    const total = this.#options.total ?? {
      cpuMillis: 4000,
      ramBytes: 8 * GIBIBYTE,
      storageBytes: 100 * GIBIBYTE,
      gpuCount: 0,
    };
    const advice = "use a real engine";
    return {
      version: "fake 1",
      tiers: [
        {
          isolation: "CONTAINER",
          runtime: "none",
          networks: [
            "NONE",
            "EGRESS",
            ...(this.#options.trackers === undefined ? [] : (["TRACKING"] as const)),
          ],
          limits: [
            { limit: "RUN_TIME", level: "ENFORCED", mechanism: "a timer", advice: "" },
            { limit: "LOG", level: "ENFORCED", mechanism: "counted", advice: "" },
            { limit: "RAM", level: "ADVISORY", mechanism: "none", advice },
            { limit: "CPU", level: "ADVISORY", mechanism: "none", advice },
            { limit: "STORAGE", level: "UNSUPPORTED", mechanism: "none", advice },
            ...(this.#options.gpus === undefined
              ? []
              : [{ limit: "GPU", level: "ENFORCED", mechanism: "pretended", advice: "" } as const]),
          ],
        },
      ],
      total,
      gpus: this.#options.gpus ?? [],
      environments: true,
      ...(this.#options.trackers !== undefined && { trackers: this.#options.trackers }),
    };
  }

  /** Others on the same host take so much from now on. */
  setForeign(load: ForeignLoad): void {
    this.#foreign = load;
    for (const tell of this.#foreignFollowers) tell();
  }

  async *foreignLoad(signal: AbortSignal): AsyncGenerator<ForeignLoad> {
    while (!signal.aborted) {
      const told = this.#foreign;
      yield told;
      await new Promise<void>((resolve) => {
        const done = () => {
          this.#foreignFollowers.delete(done);
          signal.removeEventListener("abort", done);
          resolve();
        };
        if (signal.aborted || this.#foreign !== told) return resolve();
        this.#foreignFollowers.add(done);
        signal.addEventListener("abort", done);
      });
    }
  }

  async resolveImage(name: string): Promise<ImageInfo> {
    if (name !== FAKE_IMAGE) throw new ImageRefused(name, "missing", `image ${name} is not on this host`);
    return { name, digest: FAKE_DIGEST };
  }

  takeWarm(shape: SandboxShape): Sandbox | undefined {
    const key = JSON.stringify(shape);
    const at = this.#idle.findIndex((idle) => idle.key === key);
    if (at < 0) return undefined;
    const [idle] = this.#idle.splice(at, 1);
    const sandbox = idle === undefined ? undefined : this.#sandboxes.get(idle.id);
    if (idle === undefined || sandbox === undefined) return undefined;
    return { id: idle.id, containerId: sandbox.containerId, warm: true };
  }

  /** Fills the pool by hand, so that tests decide what is warm. */
  async warmUp(shape: SandboxShape): Promise<string> {
    // A ULID's alphabet, so that ids look like those of real engines.
    const id = `01FAKEWARM${String(this.#warmed++).padStart(16, "0")}`;
    await this.#add(id);
    this.#idle.push({ key: JSON.stringify(shape), id });
    return id;
  }

  warmCount(): number {
    return this.#idle.length;
  }

  limitWarm(ramBytes: number): void {
    this.warmRoomBytes = ramBytes;
  }

  async create(order: SandboxOrder, signal: AbortSignal): Promise<Sandbox> {
    signal.throwIfAborted();
    const failure = this.#failures.create.shift();
    if (failure !== undefined) throw failure;
    const sandbox = await this.#add(order.sandboxId);
    if (signal.aborted) {
      await this.release(order.sandboxId);
      await this.files.remove(order.sandboxId);
      throw signal.reason;
    }
    return { id: order.sandboxId, containerId: sandbox.containerId, warm: false };
  }

  async begin(sandbox: Sandbox, spec: RunnerSpec): Promise<void> {
    const failure = this.#failures.begin.shift();
    if (failure !== undefined) throw failure;
    const live = this.#sandboxes.get(sandbox.id);
    if (live === undefined || live.begun || live.exit !== undefined) {
      throw new SystemFault(`sandbox ${sandbox.id} takes no spec: it has one, or has ended`);
    }
    const input = await bytesOf(spec.inputTar).catch((error: unknown) => {
      throw new NotSent(error);
    });
    live.begun = true;
    live.runner.run(spec, input).then(
      () => this.#exit(live, { exitCode: 0, oomKilled: false, lost: false, message: "" }),
      (error: unknown) =>
        this.#exit(live, { exitCode: 1, oomKilled: false, lost: false, message: String(error) }),
    );
  }

  async stop(sandboxId: string, how: "terminate" | "kill"): Promise<void> {
    const sandbox = this.#sandboxes.get(sandboxId);
    if (sandbox === undefined) return;
    if (!sandbox.begun) this.#exit(sandbox, { exitCode: 0, oomKilled: false, lost: false, message: "" });
    else if (how === "terminate") sandbox.runner.terminate();
    else sandbox.runner.kill();
  }

  ended(sandboxId: string, signal: AbortSignal): Promise<SandboxExit> {
    return new Promise((resolve, reject) => {
      const sandbox = this.#sandboxes.get(sandboxId);
      if (signal.aborted) return reject(signal.reason);
      if (sandbox === undefined)
        return resolve({ exitCode: null, oomKilled: false, lost: true, message: "no such container" });
      if (sandbox.exit !== undefined) return resolve(sandbox.exit);
      const abort = () => {
        sandbox.followers.delete(tell);
        reject(signal.reason);
      };
      const tell = (exit: SandboxExit) => {
        signal.removeEventListener("abort", abort);
        resolve(exit);
      };
      sandbox.followers.add(tell);
      signal.addEventListener("abort", abort, { once: true });
    });
  }

  async release(sandboxId: string): Promise<void> {
    const failure = this.#failures.release.shift();
    if (failure !== undefined) throw failure;
    const sandbox = this.#sandboxes.get(sandboxId);
    if (sandbox === undefined) return;
    sandbox.runner.die();
    this.#exit(sandbox, { exitCode: null, oomKilled: false, lost: false, message: "removed by this server" });
    this.#sandboxes.delete(sandboxId);
    const at = this.#idle.findIndex(({ id }) => id === sandboxId);
    if (at >= 0) this.#idle.splice(at, 1);
    await rm(sandbox.folder, { recursive: true, force: true });
  }

  async list(): Promise<SandboxStatus[]> {
    return [...this.#sandboxes].map(([id, sandbox]) => ({
      id,
      containerId: sandbox.containerId,
      running: sandbox.exit === undefined,
      warm: this.#idle.some((idle) => idle.id === id),
    }));
  }

  async close(): Promise<void> {
    for (const { id } of [...this.#idle]) {
      await this.release(id);
      await this.files.remove(id);
    }
  }

  /** Ends everything: for the end of a test. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
    for (const id of [...this.#sandboxes.keys()]) await this.vanish(id);
  }

  async #add(id: string): Promise<FakeSandbox> {
    if (this.#kept.has(id)) throw new SystemFault(`sandbox ${id} is there already`);
    const kept: KeptFiles = { journal: new MemoryJournal(), artifacts: Buffer.alloc(0) };
    this.#kept.set(id, kept);
    const folder = await mkdtemp(join(tmpdir(), "longshore-fake-"));
    const runner = new FakeRunner(folder, kept.journal, (tar) => {
      kept.artifacts = tar;
    });
    const sandbox: FakeSandbox = {
      containerId: `fake-${id.toLowerCase()}`,
      folder,
      runner,
      begun: false,
      exit: undefined,
      followers: new Set(),
    };
    this.#sandboxes.set(id, sandbox);
    return sandbox;
  }

  #exit(sandbox: FakeSandbox, exit: SandboxExit): void {
    if (sandbox.exit !== undefined) return;
    sandbox.exit = exit;
    for (const tell of sandbox.followers) tell(exit);
    sandbox.followers.clear();
  }

  #filesOf(id: string): KeptFiles {
    const kept = this.#kept.get(id);
    if (kept === undefined) throw new NotFound("journal of sandbox", id);
    return kept;
  }

  #fileView(): SandboxFiles {
    const kept = this.#kept;
    const idle = this.#idle;
    const filesOf = (id: string) => this.#filesOf(id);
    const journal = (id: string): JournalSource => ({
      size: async () => filesOf(id).journal.size(),
      read: async (offset, length) => filesOf(id).journal.read(offset, length),
      changes: (signal) => filesOf(id).journal.changes(signal),
    });
    return {
      journal,
      async *artifacts(id) {
        const { artifacts } = filesOf(id);
        if (artifacts.length > 0) yield Uint8Array.from(artifacts);
      },
      async removeArtifacts(id) {
        const files = kept.get(id);
        if (files !== undefined) files.artifacts = Buffer.alloc(0);
      },
      async remove(id) {
        kept.delete(id);
      },
      async list() {
        return [...kept.keys()].filter((id) => !idle.some((sandbox) => sandbox.id === id));
      },
    };
  }
}

async function bytesOf(tar: AsyncIterable<Uint8Array> | null): Promise<Buffer> {
  return tar === null ? Buffer.alloc(0) : Buffer.concat(await Array.fromAsync(tar));
}
