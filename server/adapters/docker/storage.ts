import { chmod, chown, mkdir, open, rm, rmdir, statfs } from "node:fs/promises";
import { join } from "node:path";
import { exists } from "../sandbox/errno.ts";
import type { SandboxPaths } from "../sandbox/sandbox-paths.ts";
import { BLOCK_BYTES, INODE_BYTES, imageBytes, OWN_INODES, VOLUME_FOLDERS } from "../sandbox/volume.ts";
import { CommandFailed } from "./command.ts";

/**
 * loop: a sized ext4 image, loop-mounted by the server. tmpfs: a sized tmpfs mounted by the server, counted as RAM.
 * engine-tmpfs: three tmpfs made by Docker, each of the full size, where the server's mounts do not reach the daemon.
 */
export type StorageTier = "loop" | "tmpfs" | "engine-tmpfs";

export interface VolumeSize {
  readonly storageBytes: number;
  readonly inodes: number;
}

/** Runs a host tool and answers its output; throws CommandFailed. */
export type RunTool = (command: string, args: readonly string[]) => Promise<string>;

/** Makes and removes the sized file system of each sandbox. */
export class SandboxStorage {
  readonly tier: StorageTier;
  readonly #run: RunTool;

  constructor(tier: StorageTier, run: RunTool) {
    this.tier = tier;
    this.#run = run;
  }

  /** Mounts a new volume whose folders belong to `uid`; on rejection nothing of it is left. Before the container is created. */
  async attach(paths: SandboxPaths, uid: number, size: VolumeSize): Promise<void> {
    if (this.tier === "engine-tmpfs") return;
    await using undo = new AsyncDisposableStack();
    undo.defer(() => this.detach(paths));
    await mkdir(paths.volume, { mode: 0o700 });
    if (this.tier === "loop") await mountImage(this.#run, paths, size);
    else await mountTmpfs(this.#run, paths, size);
    for (const folder of VOLUME_FOLDERS) {
      const path = join(paths.volume, folder.name);
      await mkdir(path);
      // mkdir's mode passes through the umask, chmod's does not.
      await chmod(path, folder.mode);
      await chown(path, uid, uid);
    }
    undo.move();
  }

  /** Idempotent, also for a volume of an earlier server. Only after the container is gone. */
  async detach(paths: SandboxPaths): Promise<void> {
    if (await exists(paths.volume)) {
      await unmount(this.#run, paths.volume);
      await rmdir(paths.volume);
    }
    await rm(paths.volumeImage, { force: true });
  }
}

async function mountImage(run: RunTool, paths: SandboxPaths, size: VolumeSize): Promise<void> {
  const inodes = size.inodes + OWN_INODES;
  const image = await open(paths.volumeImage, "wx", 0o600);
  try {
    // Sparse: only what the task writes takes room on the host.
    await image.truncate(imageBytes(size.storageBytes, inodes));
  } finally {
    await image.close();
  }
  await run("mkfs.ext4", [
    "-q",
    "-F",
    "-b",
    String(BLOCK_BYTES),
    "-I",
    String(INODE_BYTES),
    "-N",
    String(inodes),
    "-m",
    "0",
    // No journal and no spare room for growth: the file system lives as long as one task.
    "-O",
    "^has_journal,^resize_inode",
    "-E",
    "lazy_itable_init=1,nodiscard,root_owner=0:0",
    paths.volumeImage,
  ]);
  // Private, so that no other mount namespace (another sandbox's among them) sees this volume come or keeps it busy.
  await run("mount", [
    "-t",
    "ext4",
    "--make-private",
    "-o",
    "loop,nodev,nosuid,noatime",
    paths.volumeImage,
    paths.volume,
  ]);
}

async function mountTmpfs(run: RunTool, paths: SandboxPaths, size: VolumeSize): Promise<void> {
  const options = `size=${size.storageBytes},nr_inodes=${size.inodes + OWN_INODES},mode=0755,nodev,nosuid`;
  await run("mount", ["-t", "tmpfs", "--make-private", "-o", options, "longshore", paths.volume]);
}

async function unmount(run: RunTool, path: string): Promise<void> {
  try {
    await run("umount", [path]);
  } catch (error) {
    // The mount was never made, or an earlier release got this far.
    if (error instanceof CommandFailed && error.stderr.includes("not mounted")) return;
    throw error;
  }
}

/** Bytes that a file system of this folder can still take: what volumes grow into. */
export async function freeBytes(folder: string): Promise<number> {
  const stats = await statfs(folder);
  return stats.bavail * stats.bsize;
}
