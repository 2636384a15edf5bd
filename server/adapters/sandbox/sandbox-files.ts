import { constants, createWriteStream, rmSync } from "node:fs";
import { copyFile, type FileHandle, mkdir, open, readdir, rm, rmdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { NotFound } from "../../domain/errors.ts";
import type { JournalSource, RunnerSpec, SandboxFiles } from "../../domain/ports/engine.ts";
import { storageError } from "../../domain/storage-error.ts";
import { errnoOf } from "./errno.ts";
import { FileJournalSource } from "./journal-source.ts";
import { OpenJournal } from "./open-journal.ts";
import { isSandboxId } from "./sandbox-id.ts";
import { type SandboxPaths, sandboxesFolder, sandboxPaths } from "./sandbox-paths.ts";

const NEW_FILE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const OLD_FILE = constants.O_RDONLY | constants.O_NOFOLLOW;
const READ_BYTES = 256 * 1024;

/** Journal, input and artifacts of each sandbox: made by the server, bound into the container one by one, never by folder. */
export class LocalSandboxFiles implements SandboxFiles {
  readonly #dataDirectory: string;
  /** The server's own descriptors of live journals: what it reads cannot be exchanged behind its back. */
  readonly #journals = new Map<string, OpenJournal>();
  /** Warm sandboxes that belong to no attempt yet. */
  readonly #idle = new Set<string>();

  constructor(dataDirectory: string) {
    this.#dataDirectory = dataDirectory;
  }

  paths(sandboxId: string): SandboxPaths {
    return sandboxPaths(this.#dataDirectory, sandboxId);
  }

  /**
   * Makes the folder and its three files; on rejection nothing is left. An idle sandbox's mark comes first: were a server killed
   * before it, nobody would ever take the folder away.
   */
  async prepare(sandboxId: string, idle: boolean): Promise<SandboxPaths> {
    const paths = this.paths(sandboxId);
    await mkdir(paths.folder, { mode: 0o700 });
    await using undo = new AsyncDisposableStack();
    undo.defer(() => rm(paths.folder, { recursive: true, force: true }));
    undo.defer(() => void this.#idle.delete(sandboxId));
    if (idle) await this.#markIdle(sandboxId);
    const journal = await open(paths.journal, NEW_FILE, 0o600);
    undo.defer(() => journal.close());
    for (const path of [paths.input, paths.artifacts]) await (await open(path, NEW_FILE, 0o600)).close();
    this.#journals.set(sandboxId, new OpenJournal(journal));
    undo.move();
    return paths;
  }

  /** Fills the input file in place: the container has its inode bound already. Answers its length. */
  async writeInput(
    sandboxId: string,
    { projectTar, inputTar }: Pick<RunnerSpec, "projectTar" | "inputTar">,
  ): Promise<number> {
    if (projectTar === null && inputTar === null) return 0;
    const { input } = this.paths(sandboxId);
    try {
      if (projectTar !== null) await copyFile(projectTar, input);
      if (inputTar !== null) await pipeline(inputTar, createWriteStream(input, { flags: "a" }));
      return (await stat(input)).size;
    } catch (error) {
      throw storageError(error, "handing a sandbox its files");
    }
  }

  /** After the container is gone: closes the journal's descriptor and removes what nobody will read again. */
  async retire(sandboxId: string): Promise<void> {
    const journal = this.#journals.get(sandboxId);
    this.#journals.delete(sandboxId);
    await journal?.close();
    await rm(this.paths(sandboxId).input, { force: true });
  }

  /** Marks a sandbox as nobody's, so that no sweep takes it for an attempt's and the next server knows that it may go. */
  async #markIdle(sandboxId: string): Promise<void> {
    this.#idle.add(sandboxId);
    await (await open(this.paths(sandboxId).idleMark, NEW_FILE, 0o600)).close();
  }

  /** From now on it is an attempt's. Synchronous: handing a warm sandbox out must not wait. */
  unmarkIdle(sandboxId: string): void {
    rmSync(this.paths(sandboxId).idleMark, { force: true });
    this.#idle.delete(sandboxId);
  }

  isIdle(sandboxId: string): boolean {
    return this.#idle.has(sandboxId);
  }

  /** Every sandbox with files: whether it was idle when its server last touched it, and whether it holds more than its journal. */
  async all(): Promise<{ readonly id: string; readonly idle: boolean; readonly held: boolean }[]> {
    const found = [];
    for (const id of await readdir(sandboxesFolder(this.#dataDirectory))) {
      if (!isSandboxId(id)) continue;
      const { folder, idleMark, input, volume, volumeImage } = this.paths(id);
      const names = new Set((await readdir(folder)).map((name) => join(folder, name)));
      const held = names.has(volume) || names.has(volumeImage) || names.has(input);
      found.push({ id, idle: names.has(idleMark), held });
    }
    return found;
  }

  /** Closes what is kept open; journals can still be read. */
  async close(): Promise<void> {
    const journals = [...this.#journals.values()];
    this.#journals.clear();
    await Promise.all(journals.map((journal) => journal.close()));
  }

  journal(sandboxId: string): JournalSource {
    const { journal } = this.paths(sandboxId);
    return new FileJournalSource(journal, async (use) => {
      const kept = this.#journals.get(sandboxId);
      if (kept !== undefined) return kept.use(use);
      const opened = await openOrMissing(journal, "journal of sandbox", sandboxId);
      try {
        return await use(opened);
      } finally {
        await opened.close();
      }
    });
  }

  async *artifacts(sandboxId: string, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    const file = await openOrMissing(this.paths(sandboxId).artifacts, "artifacts of sandbox", sandboxId);
    try {
      // The size now: a writer that is not dead yet cannot keep the server reading.
      const { size } = await file.stat();
      for (let offset = 0; offset < size; ) {
        signal?.throwIfAborted();
        const wanted = Math.min(READ_BYTES, size - offset);
        const { bytesRead, buffer } = await file.read(Buffer.allocUnsafeSlow(wanted), 0, wanted, offset);
        if (bytesRead === 0) return;
        offset += bytesRead;
        yield buffer.subarray(0, bytesRead);
      }
    } finally {
      await file.close();
    }
  }

  async removeArtifacts(sandboxId: string): Promise<void> {
    await rm(this.paths(sandboxId).artifacts, { force: true });
  }

  async remove(sandboxId: string): Promise<void> {
    await this.retire(sandboxId);
    this.#idle.delete(sandboxId);
    const paths = this.paths(sandboxId);
    for (const path of [paths.journal, paths.artifacts, paths.idleMark]) await rm(path, { force: true });
    // Not recursive: a volume that is still mounted in there must never be emptied by accident.
    await rmdir(paths.folder).catch((error: unknown) => {
      if (errnoOf(error) !== "ENOENT") throw error;
    });
  }

  async list(): Promise<string[]> {
    const ids = (await readdir(sandboxesFolder(this.#dataDirectory))).filter(isSandboxId);
    return ids.filter((id) => !this.#idle.has(id));
  }
}

async function openOrMissing(path: string, what: string, sandboxId: string): Promise<FileHandle> {
  try {
    return await open(path, OLD_FILE);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") throw new NotFound(what, sandboxId, "it was removed with its task");
    throw error;
  }
}
