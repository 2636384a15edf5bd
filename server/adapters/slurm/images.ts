import { createHash } from "node:crypto";
import { lstat, mkdir, open, readdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ImageRefused, SystemFault } from "../../domain/errors.ts";
import type { ImageInfo } from "../../domain/ports/engine.ts";
import { errnoOf, exists } from "../sandbox/errno.ts";

/** Where the sandbox has something mounted: a read-only root cannot be given new places. */
const FOLDERS = [
  ...["proc", "dev", "sys", "etc", "tmp", "workspace", "home/task", "environment", "longshore/runner"],
  "longshore/wheels",
];
const FILES = [
  ...["longshore/journal", "longshore/input", "longshore/artifacts", "longshore/uv", "longshore/ca.pem"],
  ...["etc/hosts", "etc/resolv.conf"],
];

/** Root file systems that the operator has unpacked for the nodes, by the names of the images that they stand for. */
export class SlurmImages {
  readonly #byName: ReadonlyMap<string, string>;
  readonly #rootfs = new Map<string, string>();

  constructor(byName: ReadonlyMap<string, string>) {
    this.#byName = byName;
  }

  /** Throws ImageRefused. The digest is of the listing of the content, so that an image unpacked anew is another one. */
  async resolve(name: string): Promise<ImageInfo> {
    const rootfs = this.#byName.get(name);
    if (rootfs === undefined) {
      const there = [...this.#byName.keys()].join(", ");
      throw new ImageRefused(
        name,
        "not_unpacked",
        `image "${name}" is not unpacked for this cluster; it has ${there}`,
      );
    }
    const digest = await this.#digestOf(name, rootfs);
    this.#rootfs.set(digest, rootfs);
    return { name, digest };
  }

  /** Of an image that was resolved, by this server or an earlier one. */
  async rootfsOf(digest: string): Promise<string> {
    const known = this.#rootfs.get(digest);
    if (known !== undefined) return known;
    for (const name of this.#byName.keys()) await this.resolve(name);
    const found = this.#rootfs.get(digest);
    if (found === undefined)
      throw new ImageRefused(
        digest,
        "changed",
        "the image has changed since the task was prepared; submit it again",
      );
    return found;
  }

  async #digestOf(name: string, rootfs: string): Promise<string> {
    try {
      await prepare(rootfs);
      return await digestOf(rootfs);
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
      throw new SystemFault(
        `the root file system of image ${name} in ${rootfs} cannot be used: ${String(error)}`,
        {},
        { cause: error },
      );
    }
  }
}

async function prepare(rootfs: string): Promise<void> {
  await stat(rootfs);
  for (const path of FOLDERS) await makeFolders(rootfs, path);
  for (const path of FILES) {
    if (await exists(join(rootfs, path))) continue;
    await makeFolders(rootfs, dirname(path));
    await (await open(join(rootfs, path), "wx", 0o644)).close();
  }
}

/** Part by part: what an image has as a link is left as it is. */
async function makeFolders(rootfs: string, path: string): Promise<void> {
  let at = rootfs;
  for (const part of path.split("/")) {
    at = join(at, part);
    if (!(await exists(at))) await mkdir(at, { mode: 0o755 });
  }
}

/** Folders, and one level of files in them, by when they changed: whatever is unpacked anew or installed shows there. */
async function digestOf(rootfs: string): Promise<string> {
  const hash = createHash("sha256").update(rootfs);
  for (const path of [".", "usr/bin", "usr/lib", "usr/local/bin", "usr/local/lib", "etc", "var/lib/dpkg"]) {
    const folder = join(rootfs, path);
    if (!(await exists(folder))) continue;
    for (const name of (await readdir(folder)).sort()) {
      const entry = await lstat(join(folder, name));
      const facts = entry.isFile() ? `${entry.size} ${entry.mtimeMs}` : "";
      hash.update(`${path}/${name}\0${entry.mode} ${facts}\0`);
    }
  }
  return `sha256:${hash.digest("hex")}`;
}
