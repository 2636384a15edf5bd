import { execFile } from "node:child_process";
import { cp, mkdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { storageError } from "../../domain/storage-error.ts";
import { environmentIdOf } from "../sandbox/environment-folder.ts";
import { exists } from "../sandbox/errno.ts";

/**
 * Environments where the nodes see them: the server's own, where those see its data folder, else copies below the shared one, each
 * made when it is first needed. A copy's name counts only once all of it is there; its content never changes.
 */
export class SharedEnvironments {
  readonly #folder: string | null;
  readonly #copying = new Map<string, Promise<string>>();

  /** Null where nodes see the server's own. */
  constructor(sharedDirectory: string | null) {
    this.#folder = sharedDirectory === null ? null : join(sharedDirectory, "environments");
  }

  /** Answers where nodes find the environment of this folder of the server's. */
  async place(folder: string): Promise<string> {
    const id = environmentIdOf(folder);
    if (id === undefined) throw new RangeError(`${folder} is no folder of an environment`);
    if (this.#folder === null) return folder;
    const target = join(this.#folder, id, "content");
    const running = this.#copying.get(id) ?? this.#copy(folder, target);
    this.#copying.set(id, running);
    try {
      return await running;
    } finally {
      this.#copying.delete(id);
    }
  }

  /** Nobody has it any more. */
  async forget(id: string): Promise<void> {
    await this.#copying.get(id)?.catch(() => undefined); // whoever asked for the copy has been told
    if (this.#folder !== null) await rm(join(this.#folder, id), { recursive: true, force: true });
  }

  async #copy(source: string, target: string): Promise<string> {
    if (await exists(target)) return target;
    const own = dirname(target);
    const draft = join(own, "part");
    try {
      await rm(own, { recursive: true, force: true }); // what a server that was killed had of it
      await mkdir(dirname(own), { recursive: true, mode: 0o700 });
      await mkdir(own);
      // Made by the server from plain files alone, with the modes that a task needs.
      await cp(source, draft, { recursive: true, verbatimSymlinks: true });
      // A crash of the machine must not leave a whole-looking folder of empty files.
      await promisify(execFile)("sync", ["--file-system", draft]);
      await rename(draft, target);
      return target;
    } catch (error) {
      await rm(own, { recursive: true, force: true });
      throw storageError(error, "copying an environment to the shared folder");
    }
  }
}
