import type { Cluster } from "./cluster.ts";
import type { ProgramVolume } from "./job-manifest.ts";
import type { Programs } from "./program-volume.ts";

/** Where pods and jobs of sandboxes are listed and watched, whatever namespaces they are in. */
export type SandboxSource = Pick<Cluster, "listPods" | "watchPods" | "listJobs">;

/** Which namespace a sandbox belongs in. */
export interface SandboxNamespaces {
  readonly source: SandboxSource;
  /** The programs that pods mount from their namespace. */
  readonly volume: ProgramVolume;
  /** As soon as the cluster answers. */
  join(): Promise<void>;
  /** The one for this tenant's sandboxes, with all that a job needs. Throws Unsupported where the operator has to do something first. */
  of(tenant: string | undefined): Promise<Cluster>;
  /** A job could not start there: look again the next time, somebody may have changed it. */
  doubt(tenant: string | undefined): void;
}

/** One for all. */
export class SharedNamespace implements SandboxNamespaces {
  readonly source: Cluster;
  readonly #programs: Programs;

  constructor(cluster: Cluster, programs: Programs) {
    this.source = cluster;
    this.#programs = programs;
  }

  get volume(): ProgramVolume {
    return this.#programs.volume;
  }

  async join(): Promise<void> {
    await this.source.createConfigMap(this.#programs.configMap);
  }

  async of(): Promise<Cluster> {
    return this.source;
  }

  doubt(): void {
    // It was made by the operator, once and for all.
  }
}
