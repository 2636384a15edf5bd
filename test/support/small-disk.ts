import { execFile } from "node:child_process";
import { mkdir, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { hasCode } from "#server/domain/storage-error.ts";

const run = promisify(execFile);
const MEBIBYTE = 2 ** 20;

/** A file system of its own that is soon full. */
export class SmallDisk implements AsyncDisposable {
  readonly #folder: string;
  /** Where it is mounted. */
  readonly path: string;

  private constructor(folder: string) {
    this.#folder = folder;
    this.path = join(folder, "disk");
  }

  static async create(bytes: number): Promise<SmallDisk> {
    const disk = new SmallDisk(await mkdtemp(join(tmpdir(), "longshore-disk-")));
    const image = join(disk.#folder, "image");
    await mkdir(disk.path);
    await using file = await open(image, "wx");
    await file.truncate(bytes);
    await run("mkfs.ext4", ["-q", "-F", "-m", "0", image]);
    await run("mount", ["-o", "loop", image, disk.path]);
    return disk;
  }

  /** Until not one more byte fits. */
  async fill(): Promise<void> {
    await using file = await open(join(this.path, "filler"), "w");
    const zeros = Buffer.alloc(MEBIBYTE);
    for (let size = zeros.length; size >= 1; ) {
      try {
        await file.write(zeros, 0, size);
      } catch (error) {
        if (!hasCode(error, "ENOSPC")) throw error;
        size = Math.floor(size / 2);
      }
    }
  }

  async makeRoom(): Promise<void> {
    await rm(join(this.path, "filler"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Lazily: a process that was started meanwhile may hold a copy of the mount for a moment longer.
    await run("umount", ["-l", this.path]);
    await rm(this.#folder, { recursive: true, force: true });
  }
}
