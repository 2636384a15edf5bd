import type { SecretBox } from "../domain/ports/secret-box.ts";
import type { ArtifactStore } from "../domain/ports/task-store.ts";
import type { Task } from "../domain/task.ts";
import { digestOf } from "./identity.ts";

/** Older keys never match again once something is added to what they are made of. */
const VERSION = 1;

export type Keyed = Pick<Task, "tenant" | "spec" | "limits" | "isolation" | "network" | "image" | "program">;

/** Digests of all that goes into a run; what runs with equal ones comes to the same. */
export class CacheKeys {
  readonly #artifacts: ArtifactStore;
  readonly #secretBox: SecretBox;

  constructor(deps: { artifacts: ArtifactStore; secretBox: SecretBox }) {
    this.#artifacts = deps.artifacts;
    this.#secretBox = deps.secretBox;
  }

  /**
   * Empty for what has no key: a task that reaches a network, whose answers nobody can foresee, and one that takes an artifact that
   * is not there yet. The image counts by name; its digest is known when the task starts, and is compared then.
   */
  async of({ tenant, spec, limits, isolation, network, image, program }: Keyed): Promise<string> {
    if (network !== "NONE") return "";
    const inputs = await this.#inputs(spec.inputs);
    if (inputs === undefined) return "";
    const { cpuMillis, ramBytes, storageBytes, gpuCount } = limits;
    const { processes, openFiles, inodes, logBytes, artifactBytes } = limits;
    const { code, archiveSha256, args, env, stdin, workingDirectory, environment, experiment } = spec;
    return digestOf({
      version: VERSION,
      tenant,
      ...{ code, archiveSha256, args, env, stdin, workingDirectory, environment, experiment },
      secrets: this.#fingerprints(spec.secretEnv),
      program,
      inputs,
      outputs: spec.outputs,
      // A program sees these, or fails by them. How long it may take decides nothing about one that succeeded.
      limits: { cpuMillis, ramBytes, storageBytes, gpuCount, gpuModel: spec.resources?.gpuModel ?? "" },
      budgets: { processes, openFiles, inodes, logBytes, artifactBytes },
      isolation,
      image,
      placement: [spec.engine, spec.account, spec.partition, spec.instanceType],
    });
  }

  async #inputs(inputs: Task["spec"]["inputs"]): Promise<[string, string][] | undefined> {
    const digests: [string, string][] = [];
    for (const input of inputs) {
      const digest =
        input.kind === "blob"
          ? input.sha256
          : (await this.#artifacts.find(input.taskId, input.artifactPath))?.sha256;
      if (digest === undefined) return undefined;
      digests.push([input.path, digest]);
    }
    return digests;
  }

  /** Sealing differs each time, and a digest of a plain secret could be guessed at. */
  #fingerprints(sealed: Readonly<Record<string, string>>): Record<string, string> {
    const box = this.#secretBox;
    return Object.fromEntries(
      Object.entries(sealed).map(([name, value]) => [name, box.fingerprint(name, box.open(name, value))]),
    );
  }
}
