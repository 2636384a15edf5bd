import { NotFound, OffsetBeyondEnd } from "../domain/errors.ts";
import type { BlobStore } from "../domain/ports/blob-store.ts";
import type { ArtifactStore } from "../domain/ports/task-store.ts";
import type { Artifact } from "../domain/task.ts";
import type { ArtifactsRequest, Chunk } from "./api.ts";
import type { Caller } from "./caller.ts";
import { decodePageToken, encodePageToken } from "./page-token.ts";
import type { TaskBook } from "./task-book.ts";

/** What a task left behind: the list, and the bytes from any offset. */
export class ReadArtifacts {
  readonly #book: TaskBook;
  readonly #artifacts: ArtifactStore;
  readonly #blobs: BlobStore;

  constructor(deps: { book: TaskBook; artifacts: ArtifactStore; blobs: BlobStore }) {
    this.#book = deps.book;
    this.#artifacts = deps.artifacts;
    this.#blobs = deps.blobs;
  }

  async list(
    caller: Caller,
    request: ArtifactsRequest,
  ): Promise<{ artifacts: Artifact[]; nextPageToken: string }> {
    const task = await this.#book.get(request.taskId, caller.tenant);
    const after = decodePageToken(request.pageToken, task.id, request.violations);
    const found = await this.#artifacts.list(task.id, after, request.pageSize + 1);
    const page = found.slice(0, request.pageSize);
    const last = page.at(-1);
    const more = found.length > request.pageSize && last !== undefined;
    return { artifacts: page, nextPageToken: more ? encodePageToken(last.path, task.id) : "" };
  }

  async *download(
    caller: Caller,
    taskId: string,
    path: string,
    offset: number,
    signal: AbortSignal,
  ): AsyncGenerator<Chunk> {
    const task = await this.#book.get(taskId, caller.tenant);
    const artifact = await this.#artifacts.find(task.id, path);
    if (artifact === undefined) {
      throw new NotFound("artifact", path.slice(0, 200), `see longshore artifacts ${task.id}`);
    }
    if (offset > artifact.sizeBytes) throw new OffsetBeyondEnd(offset, artifact.sizeBytes);
    let place = offset;
    for await (const chunk of this.#blobs.read(artifact.sha256, offset, signal)) {
      yield { offset: place, chunk };
      place += chunk.length;
    }
  }
}
