import { statfs } from "node:fs/promises";
import type { DataDisk } from "../../domain/ports/data-disk.ts";

/** The file system of a folder. */
export class FolderDisk implements DataDisk {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.#folder);
    return bavail * bsize;
  }
}
