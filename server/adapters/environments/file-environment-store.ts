import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { chmod, mkdir, open, readdir, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { z } from "zod";
import { BadArchive, SystemFault } from "../../domain/errors.ts";
import type { ArtifactReader } from "../../domain/ports/archive-reader.ts";
import type { EnvironmentStore, StoredEnvironment } from "../../domain/ports/environment-store.ts";
import type { Log } from "../../domain/ports/telemetry.ts";
import { orUndefined, storageError } from "../../domain/storage-error.ts";

const ID = /^[0-9a-f]{64}$/;
const TOP = "environment/";
const FACTS = z.object({ sizeBytes: z.number(), fileCount: z.number() });

export interface FileEnvironmentStoreOptions {
  /** The server's data folder. */
  readonly directory: string;
  /** With the limits that a build's tar is held to. */
  readonly reader: ArtifactReader;
  readonly log: Log;
}

/**
 * Environments as `environments/<id>/content` with `environment.json` beside it, whose time is that of the last use. What is being
 * unpacked or removed lies in `environments/tmp`, which is emptied at the start. One for each data folder.
 */
export class FileEnvironmentStore implements EnvironmentStore {
  readonly #folder: string;
  readonly #temporary: string;
  readonly #reader: ArtifactReader;
  readonly #log: Log;
  readonly #known = new Map<string, StoredEnvironment>();

  static async open(options: FileEnvironmentStoreOptions): Promise<FileEnvironmentStore> {
    const store = new FileEnvironmentStore(options);
    await store.#load();
    return store;
  }

  private constructor({ directory, reader, log }: FileEnvironmentStoreOptions) {
    this.#folder = join(directory, "environments");
    this.#temporary = join(this.#folder, "tmp");
    this.#reader = reader;
    this.#log = log;
  }

  list(): readonly StoredEnvironment[] {
    return [...this.#known.values()];
  }

  has(id: string): boolean {
    return this.#known.has(id);
  }

  folder(id: string): string {
    return join(this.#pathOf(id), "content");
  }

  async keep(id: string, tar: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<StoredEnvironment> {
    const draft = join(this.#temporary, `${id}.${randomUUID()}`);
    try {
      const facts = await this.#unpack(tar, join(draft, "content"), signal);
      const useTime = new Date();
      await writeNew(join(draft, "environment.json"), [Buffer.from(JSON.stringify(facts))], false);
      // A crash of the machine must not leave a whole-looking folder of empty files: all of it is on the disk before it gets its name.
      await promisify(execFile)("sync", ["--file-system", draft], { signal });
      await rename(draft, this.#pathOf(id));
      const kept = { id, ...facts, useTime };
      this.#known.set(id, kept);
      return kept;
    } catch (error) {
      await rm(draft, { recursive: true, force: true });
      throw storageError(error, "unpacking an environment");
    }
  }

  async touch(id: string, time: Date): Promise<void> {
    const known = this.#known.get(id);
    if (known === undefined) return;
    this.#known.set(id, { ...known, useTime: time });
    await utimes(join(this.#pathOf(id), "environment.json"), time, time);
  }

  async remove(id: string): Promise<void> {
    const path = this.#pathOf(id);
    if (!this.#known.delete(id)) return;
    const doomed = join(this.#temporary, `${id}.${randomUUID()}`);
    // In one step, so that no half of it is ever taken for an environment.
    await rename(path, doomed);
    await rm(doomed, { recursive: true, force: true });
  }

  /** Only plain files come out of the reader, with names that lead nowhere else; each is made anew, owned by the server. */
  async #unpack(
    tar: AsyncIterable<Uint8Array>,
    target: string,
    signal: AbortSignal,
  ): Promise<{ sizeBytes: number; fileCount: number }> {
    const folders = new Set<string>();
    let sizeBytes = 0;
    let fileCount = 0;
    const makeFolder = async (path: string): Promise<void> => {
      if (folders.has(path)) return;
      if (path !== target) await makeFolder(dirname(path));
      else await mkdir(dirname(target), { recursive: true, mode: 0o700 });
      await mkdir(path);
      // mkdir's mode passes through the umask; a task's uid has to get in.
      await chmod(path, 0o755);
      folders.add(path);
    };
    await makeFolder(target);
    await this.#reader.read(
      tar,
      async (path, content, executable) => {
        if (!path.startsWith(TOP))
          throw new BadArchive("place", `${path} does not belong to an environment`, path);
        const file = join(target, path.slice(TOP.length));
        await makeFolder(dirname(file));
        sizeBytes += await writeNew(file, content, executable);
        fileCount++;
      },
      signal,
    );
    return { sizeBytes, fileCount };
  }

  async #load(): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    await rm(this.#temporary, { recursive: true, force: true });
    await mkdir(this.#temporary, { mode: 0o700 });
    for (const id of await readdir(this.#folder)) {
      if (!ID.test(id)) continue;
      const path = join(this.#folder, id, "environment.json");
      const text = await orUndefined(readFile(path, "utf8"), "ENOENT");
      const facts = FACTS.safeParse(text === undefined ? undefined : JSON.parse(text));
      if (facts.success) {
        this.#known.set(id, { id, ...facts.data, useTime: (await stat(path)).mtime });
        continue;
      }
      this.#log.warn("an environment without its facts is removed", { environment: id });
      await rm(join(this.#folder, id), { recursive: true, force: true });
    }
  }

  #pathOf(id: string): string {
    if (!ID.test(id)) throw new SystemFault(`${JSON.stringify(id)} is no id of an environment`);
    return join(this.#folder, id);
  }
}

/** Answers how many bytes there were. */
async function writeNew(
  path: string,
  content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  executable: boolean,
): Promise<number> {
  const mode = executable ? 0o755 : 0o644;
  await using file = await open(path, "wx", mode);
  let bytes = 0;
  for await (const chunk of content) {
    bytes += chunk.length;
    await file.writeFile(chunk);
  }
  await file.chmod(mode);
  return bytes;
}
