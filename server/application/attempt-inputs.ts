import { createHash } from "node:crypto";
import { DigestMismatch, NotFound } from "../domain/errors.ts";
import type { ArchiveReader } from "../domain/ports/archive-reader.ts";
import type { BlobStore } from "../domain/ports/blob-store.ts";
import type { ArtifactStore } from "../domain/ports/task-store.ts";
import type { InputFile, Task } from "../domain/task.ts";

export interface AttemptInputsDeps {
  readonly blobs: BlobStore;
  readonly artifacts: ArtifactStore;
  readonly archives: ArchiveReader;
}

/** Brings the inputs of a task to its sandbox, and no byte that does not have the digest it should have. */
export class AttemptInputs {
  readonly #deps: AttemptInputsDeps;

  constructor(deps: AttemptInputsDeps) {
    this.#deps = deps;
  }

  /** Where the bytes of each input are. Throws NotFound and DigestMismatch for what is gone or damaged. */
  async find(task: Task): Promise<InputFile[]> {
    const files: InputFile[] = [];
    for (const [index, input] of task.inputs.entries()) {
      const file = input.sha256 === "" ? await this.#artifact(task, index, input.path) : input;
      const sizeBytes = await this.#deps.blobs.size(file.sha256);
      if (sizeBytes === undefined)
        throw new NotFound("input", file.path, `blob ${file.sha256} is not stored any more`);
      if (sizeBytes !== file.sizeBytes)
        throw damaged(file, `${sizeBytes} bytes in place of ${file.sizeBytes}`);
      files.push(file);
    }
    return files;
  }

  /** A canonical tar of the inputs, made while it is read; it breaks off with DigestMismatch before it hands on a wrong end. */
  tar(files: readonly InputFile[], signal: AbortSignal): AsyncIterable<Uint8Array> | null {
    if (files.length === 0) return null;
    const { archives } = this.#deps;
    return archives.pack(
      files.map((file) => ({
        path: file.path,
        sizeBytes: file.sizeBytes,
        content: this.#checked(file, signal),
      })),
    );
  }

  async *#checked(file: InputFile, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const hash = createHash("sha256");
    for await (const chunk of this.#deps.blobs.read(file.sha256, 0, signal)) {
      hash.update(chunk);
      yield chunk;
    }
    const sha256 = hash.digest("hex");
    if (sha256 !== file.sha256) throw damaged(file, `the SHA-256 ${sha256}`);
  }

  /** For an artifact that did not exist when the task was made. */
  async #artifact(task: Task, index: number, path: string): Promise<InputFile> {
    const input = task.spec.inputs[index];
    if (input?.kind !== "artifact") throw new TypeError(`input ${index} of task ${task.id} has no digest`);
    const found = await this.#deps.artifacts.find(input.taskId, input.artifactPath);
    if (found === undefined) {
      const problem = `task ${input.taskId} left no artifact ${input.artifactPath}; its outputs say what is kept`;
      throw new NotFound("input", path, problem);
    }
    return { path, sha256: found.sha256, sizeBytes: found.sizeBytes };
  }
}

function damaged({ path, sha256 }: InputFile, has: string): DigestMismatch {
  return new DigestMismatch(
    `the stored bytes of input ${path} (blob ${sha256}) are damaged: they have ${has}`,
  );
}
