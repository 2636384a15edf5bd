import { BadArchive } from "../domain/errors.ts";
import type { ArtifactReader } from "../domain/ports/archive-reader.ts";
import type { BlobStore } from "../domain/ports/blob-store.ts";
import type { SandboxFiles } from "../domain/ports/engine.ts";
import type { ArtifactStore } from "../domain/ports/task-store.ts";
import type { Artifact, Task } from "../domain/task.ts";

/** Keeps what a sandbox left behind as blobs. Answers one sentence about what is missing; "" when nothing is. */
export class CollectArtifacts {
  readonly #reader: ArtifactReader;
  readonly #blobs: BlobStore;
  readonly #artifacts: ArtifactStore;

  constructor(deps: { artifactReader: ArtifactReader; blobs: BlobStore; artifacts: ArtifactStore }) {
    this.#reader = deps.artifactReader;
    this.#blobs = deps.blobs;
    this.#artifacts = deps.artifacts;
  }

  async collect(task: Task, sandboxId: string, files: SandboxFiles): Promise<string> {
    const kept: Artifact[] = [];
    let missing = "";
    try {
      await this.#reader.read(files.artifacts(sandboxId), async (path, content) => {
        kept.push({ path, ...(await this.#blobs.write(content)) });
      });
    } catch (error) {
      // The tar is the task's own making: what is wrong with it is the task's news, not a fault of ours.
      if (!(error instanceof BadArchive)) throw error;
      missing = `artifacts are incomplete: ${error.message}`;
    }
    await this.#artifacts.replace(task.id, task.tenant, kept);
    return missing;
  }
}
