import type { Dirent, Stats } from "node:fs";
import { readdir, realpath, stat } from "node:fs/promises";
import { join, sep } from "node:path";
import { BadSource } from "./errors.ts";
import { type IgnoreRules, readIgnoreRules } from "./ignore-rules.ts";

/** Links among folders can multiply what they show; a folder with more than this is not a project. */
const MOST_ENTRIES = 1_000_000;

/** A file or folder to pack. */
export interface WalkedEntry {
  /** Relative to the folder, with "/" between its parts. */
  readonly path: string;
  /** Where its bytes are, links resolved. */
  readonly file: string;
  readonly isFolder: boolean;
  readonly executable: boolean;
}

interface Place {
  readonly path: string;
  readonly file: string;
  /** Real paths of the folders above, to notice a link that leads back up. */
  readonly above: readonly string[];
}

/** Finds what to pack, in an order that depends on names alone. Throws BadSource that names everything that cannot be packed. */
export async function walkFolder(folder: string, signal?: AbortSignal): Promise<WalkedEntry[]> {
  const root = await realpath(folder);
  const walk = new Walk(folder, root, await readIgnoreRules(root), signal);
  await walk.enter({ path: "", file: root, above: [] });
  return walk.finish();
}

class Walk {
  readonly #name: string;
  readonly #root: string;
  readonly #rules: IgnoreRules;
  readonly #signal: AbortSignal | undefined;
  readonly #entries: WalkedEntry[] = [];
  readonly #problems: { path: string; problem: string }[] = [];

  constructor(name: string, root: string, rules: IgnoreRules, signal: AbortSignal | undefined) {
    this.#name = name;
    this.#root = root;
    this.#rules = rules;
    this.#signal = signal;
  }

  finish(): WalkedEntry[] {
    if (this.#problems.length > 0) throw new BadSource(this.#name, this.#problems);
    if (!this.#entries.some((entry) => !entry.isFolder)) {
      throw new BadSource(this.#name, [{ path: ".", problem: "there is no file to pack" }]);
    }
    return this.#entries.sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));
  }

  async enter(folder: Place): Promise<void> {
    this.#signal?.throwIfAborted();
    const above = [...folder.above, folder.file];
    for (const child of await readdir(folder.file, { withFileTypes: true })) {
      const path = folder.path === "" ? child.name : `${folder.path}/${child.name}`;
      if (this.#entries.length >= MOST_ENTRIES) {
        throw new BadSource(this.#name, [{ path, problem: `there are more than ${MOST_ENTRIES} files` }]);
      }
      await this.#visit(child, { path, file: join(folder.file, child.name), above });
    }
  }

  async #visit(child: Dirent, place: Place): Promise<void> {
    const { path } = place;
    if (this.#rules.leavesOut(path, child.isDirectory())) return;
    if (path.includes("\uFFFD")) return this.#refuse(path, "its name is not valid UTF-8");
    if (child.isSymbolicLink()) return this.#follow(place);
    if (child.isDirectory()) return this.#folder(place);
    if (child.isFile()) return this.#file(place, await stat(place.file));
    this.#refuse(
      path,
      "is neither a file nor a folder (a pipe, socket or device); remove it or list it in .longshoreignore",
    );
  }

  /** A link within the folder is packed as what it points to; one that leads out would send what nobody meant to send. */
  async #follow(place: Place): Promise<void> {
    let target: string;
    try {
      target = await realpath(place.file);
    } catch (error) {
      const loops = error instanceof Error && "code" in error && error.code === "ELOOP";
      return this.#refuse(place.path, loops ? "is a link that leads to itself" : "is a link to nothing");
    }
    if (target !== this.#root && !target.startsWith(this.#root + sep)) {
      return this.#refuse(place.path, `is a link out of the folder, to ${target}; copy what it points to`);
    }
    if (place.above.includes(target))
      return this.#refuse(place.path, "is a link to a folder that it lies in");
    const found = await stat(target);
    const resolved = { ...place, file: target };
    if (found.isDirectory()) {
      if (!this.#rules.leavesOut(place.path, true)) await this.#folder(resolved);
    } else if (found.isFile()) this.#file(resolved, found);
    else this.#refuse(place.path, "is a link to something that is neither a file nor a folder");
  }

  async #folder(place: Place): Promise<void> {
    if (await isVirtualEnvironment(place.file)) return;
    this.#entries.push({ path: place.path, file: place.file, isFolder: true, executable: true });
    await this.enter(place);
  }

  #file(place: Place, found: Stats): void {
    const executable = (found.mode & 0o100) !== 0;
    this.#entries.push({ path: place.path, file: place.file, isFolder: false, executable });
  }

  #refuse(path: string, problem: string): void {
    this.#problems.push({ path, problem });
  }
}

async function isVirtualEnvironment(folder: string): Promise<boolean> {
  try {
    return (await stat(join(folder, "pyvenv.cfg"))).isFile();
  } catch {
    // No such file, or a folder that cannot be entered: reading it tells which.
    return false;
  }
}
