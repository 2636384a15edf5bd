import { appendFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { LocalSandboxFiles } from "#server/adapters/sandbox/sandbox-files.ts";
import { NO_RESOURCES } from "#server/domain/capacity.ts";
import { SystemFault } from "#server/domain/errors.ts";
import type {
  Engine,
  EngineCapabilities,
  ImageInfo,
  RunnerSpec,
  Sandbox,
  SandboxExit,
  SandboxOrder,
  SandboxStatus,
} from "#server/domain/ports/engine.ts";
import { GIBIBYTE } from "#server/domain/resources.ts";
import { endPayload, journalFrame, journalHeader } from "../support/fakes/journal-writer.ts";

const CPUS = 1_000_000;

interface Sleeper {
  readonly ended: PromiseWithResolvers<SandboxExit>;
  attemptId: string;
}

/**
 * Sandboxes of which nothing is real but their files, so that one machine holds as many as a server can keep track of: a journal says
 * that the program runs, and then nothing until it is stopped.
 */
export class SleepingEngine implements Engine {
  readonly name = "sleeping";
  readonly kind = "fake";
  readonly removedAtOpen: readonly string[] = [];
  readonly files: LocalSandboxFiles;
  readonly #sleepers = new Map<string, Sleeper>();

  static async open(directory: string): Promise<SleepingEngine> {
    await mkdir(join(directory, "sandboxes"), { mode: 0o700 });
    return new SleepingEngine(directory);
  }

  private constructor(directory: string) {
    this.files = new LocalSandboxFiles(directory);
  }

  async capabilities(): Promise<EngineCapabilities> {
    const limits = (["CPU", "RAM", "STORAGE", "RUN_TIME", "LOG"] as const).map((limit) => ({
      limit,
      level: "ADVISORY" as const,
      mechanism: "none",
      advice: "use a real engine",
    }));
    return {
      version: "sleeping 1",
      tiers: [{ isolation: "CONTAINER", runtime: "none", networks: ["NONE"], limits }],
      total: {
        cpuMillis: CPUS * 1000,
        ramBytes: CPUS * GIBIBYTE,
        storageBytes: CPUS * 2 * GIBIBYTE,
        gpuCount: 0,
      },
      gpus: [],
    };
  }

  async resolveImage(name: string): Promise<ImageInfo> {
    return { name, digest: `sha256:${"f".repeat(64)}` };
  }

  takeWarm(): undefined {
    return undefined;
  }

  warmCount(): number {
    return 0;
  }

  limitWarm(): void {
    // It keeps nothing warm.
  }

  async create({ sandboxId }: SandboxOrder): Promise<Sandbox> {
    await this.files.prepare(sandboxId, false);
    this.#sleepers.set(sandboxId, { ended: Promise.withResolvers(), attemptId: "" });
    return { id: sandboxId, containerId: `sleeping-${sandboxId.toLowerCase()}`, warm: false };
  }

  async begin({ id }: Sandbox, { attemptId }: RunnerSpec): Promise<void> {
    const sleeper = this.#sleepers.get(id);
    if (sleeper === undefined) throw new SystemFault(`there is no sandbox ${id}`);
    sleeper.attemptId = attemptId;
    const begun = [
      journalHeader(attemptId),
      journalFrame("accepted", { attempt_id: attemptId, pid: 1 }),
      journalFrame("stage", { stage: "run", event: "start", note: "" }),
    ];
    await appendFile(this.files.paths(id).journal, Buffer.concat(begun));
  }

  async stop(sandboxId: string): Promise<void> {
    const sleeper = this.#sleepers.get(sandboxId);
    if (sleeper === undefined) return;
    const end = journalFrame("end", endPayload({ reason: "cancelled", exit_code: null, killer: "client" }));
    await appendFile(this.files.paths(sandboxId).journal, end);
    sleeper.ended.resolve({ exitCode: 0, oomKilled: false, lost: false, message: "" });
  }

  ended(sandboxId: string, signal: AbortSignal): Promise<SandboxExit> {
    const { promise, resolve, reject } = Promise.withResolvers<SandboxExit>();
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    const lost = { exitCode: null, oomKilled: false, lost: true, message: "no such sandbox" };
    void (this.#sleepers.get(sandboxId)?.ended.promise ?? Promise.resolve(lost)).then((exit) => {
      signal.removeEventListener("abort", abort);
      resolve(exit);
    });
    return promise;
  }

  async release(sandboxId: string): Promise<void> {
    this.#sleepers.delete(sandboxId);
    await this.files.retire(sandboxId);
  }

  async list(): Promise<SandboxStatus[]> {
    return [...this.#sleepers.keys()].map((id) => ({
      id,
      containerId: `sleeping-${id.toLowerCase()}`,
      running: true,
      warm: false,
    }));
  }

  async *foreignLoad() {
    yield { resources: NO_RESOURCES, gpuIds: [] };
  }

  async close(): Promise<void> {
    await this.files.close();
  }
}
