import type { Log } from "../../domain/ports/telemetry.ts";
import { COURIER } from "./job-manifest.ts";
import { JournalMirror } from "./journal-mirror.ts";
import type { MirroredFiles } from "./mirrored-files.ts";
import { containerOf, isRunning } from "./pod-state.ts";
import type { SandboxJobs } from "./sandbox-jobs.ts";

/** How long the rest of a journal may take to come over once the runner has ended. */
const DRAIN_MILLIS = 60_000;

/** One for each sandbox that has a spec. */
export class JournalMirrors {
  readonly #deps: { readonly jobs: SandboxJobs; readonly files: MirroredFiles; readonly log: Log };
  readonly #mirrors = new Map<string, JournalMirror>();

  constructor(deps: { readonly jobs: SandboxJobs; readonly files: MirroredFiles; readonly log: Log }) {
    this.#deps = deps;
  }

  start(sandboxId: string): void {
    if (this.#mirrors.has(sandboxId)) return;
    const { jobs, files, log } = this.#deps;
    const target = {
      sandboxId,
      podName: () => {
        const pod = jobs.pod(sandboxId);
        return pod !== undefined && containerOf(pod, COURIER)?.state?.running !== undefined
          ? pod.metadata?.name
          : undefined;
      },
      hasEnded: () => {
        const pod = jobs.pod(sandboxId);
        return pod === undefined || !isRunning(pod);
      },
    };
    this.#mirrors.set(sandboxId, new JournalMirror({ cluster: jobs.at(sandboxId), files, log }, target));
  }

  /** Resolves when all that was written has come over. A courier that cannot be reached any more does not hold this up for ever. */
  async drained(sandboxId: string): Promise<void> {
    const mirror = this.#mirrors.get(sandboxId);
    if (mirror === undefined) return;
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, DRAIN_MILLIS);
    await Promise.race([mirror.done, late.promise]);
    clearTimeout(timer);
  }

  async stop(sandboxId: string): Promise<void> {
    await this.#mirrors.get(sandboxId)?.stop();
    this.#mirrors.delete(sandboxId);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#mirrors.keys()].map((id) => this.stop(id)));
  }
}
