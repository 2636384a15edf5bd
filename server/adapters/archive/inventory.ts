import type { ArchiveLimits, ArchiveManifest } from "../../domain/blob.ts";
import type { ArchiveEntry } from "./archive-entry.ts";
import { foldPath, pathOf, refuse } from "./entry-name.ts";

interface Item {
  readonly kind: "file" | "folder";
  /** Has an entry of its own, where a folder may only be implied by the paths of its files. */
  entered: boolean;
}

/** What has to be written for an admitted entry. */
export interface Admission {
  /** Empty for the archive's top. */
  readonly path: string;
  /** Folders above it that nothing named before, outermost first. */
  readonly newFolders: readonly string[];
  /** False for a folder that a file inside it already implied. */
  readonly isNew: boolean;
}

/** Everything admitted so far; an entry that contradicts it, or one too many, is refused. */
export class Inventory {
  readonly #limits: ArchiveLimits;
  readonly #foldNames: boolean;
  readonly #items = new Map<string, Item>();
  readonly #byFoldedPath = new Map<string, string>();
  #pathBytes = 0;
  #files = 0;
  #contentBytes = 0;

  /** `foldNames` refuses names that a filesystem which ignores case could not hold side by side. */
  constructor(limits: ArchiveLimits, { foldNames }: { foldNames: boolean }) {
    this.#limits = limits;
    this.#foldNames = foldNames;
  }

  admit(entry: Pick<ArchiveEntry, "name" | "kind" | "size">): Admission {
    const path = pathOf(entry.name, entry.kind, this.#limits);
    if (path === "") return { path, newFolders: [], isNew: false };
    const newFolders = this.#missingFolders(path);
    for (const folder of newFolders) this.#add(folder, "folder", false, entry.name);
    const known = this.#items.get(path);
    if (known === undefined) {
      this.#add(path, entry.kind, true, entry.name);
    } else if (known.kind !== entry.kind) {
      throw refuse("file-and-folder", "is both a file and a folder", entry.name);
    } else if (known.entered) {
      throw refuse("duplicate-name", "is in the archive twice; pack it once", entry.name);
    } else {
      known.entered = true;
    }
    if (entry.kind === "file") this.#count(entry.size, entry.name);
    return { path, newFolders, isNew: known === undefined };
  }

  get contentBytes(): number {
    return this.#contentBytes;
  }

  paths(kind: "file" | "folder"): string[] {
    return [...this.#items].filter(([, item]) => item.kind === kind).map(([path]) => path);
  }

  manifest(tarBytes: number): ArchiveManifest {
    const top = this.paths("file").filter((path) => !path.includes("/"));
    return {
      fileCount: this.#files,
      folderCount: this.#items.size - this.#files,
      contentBytes: this.#contentBytes,
      tarBytes,
      // "._x.py" is what macOS packs beside x.py: attributes, not a script.
      topLevelScripts: top.filter((path) => path.endsWith(".py") && !path.startsWith("._")).sort(),
      hasRequirements: top.includes("requirements.txt"),
    };
  }

  #missingFolders(path: string): string[] {
    const missing: string[] = [];
    for (let end = path.lastIndexOf("/"); end > 0; end = path.lastIndexOf("/", end - 1)) {
      const folder = path.slice(0, end);
      const kind = this.#items.get(folder)?.kind;
      if (kind === "folder") break;
      if (kind === "file") {
        throw refuse("file-and-folder", `lies in "${folder}", which is a file in the same archive`, path);
      }
      missing.unshift(folder);
    }
    return missing;
  }

  #add(path: string, kind: "file" | "folder", entered: boolean, name: string): void {
    const folded = this.#foldNames ? foldPath(path) : path;
    const other = this.#byFoldedPath.get(folded);
    if (other !== undefined) {
      throw refuse(
        "colliding-names",
        `differs from "${other}" only in letter case or Unicode form; rename one of them`,
        path,
      );
    }
    this.#byFoldedPath.set(folded, path);
    this.#items.set(path, { kind, entered });
    if (kind === "file") this.#files += 1;
    this.#pathBytes += Buffer.byteLength(path);
    if (this.#items.size > this.#limits.maxEntries) {
      throw refuse(
        "too-many-entries",
        `is one too many: at most ${this.#limits.maxEntries} files and folders are allowed`,
        name,
      );
    }
    if (this.#pathBytes > this.#limits.maxAllPathsBytes) {
      throw refuse(
        "too-many-entries",
        `brings all paths together over ${this.#limits.maxAllPathsBytes} bytes, the most that is allowed`,
        name,
      );
    }
  }

  #count(size: number, name: string): void {
    this.#contentBytes += size;
    if (this.#contentBytes > this.#limits.maxContentBytes) {
      throw refuse(
        "too-large",
        `brings the unpacked files to ${this.#contentBytes} bytes; at most ${this.#limits.maxContentBytes} are allowed`,
        name,
      );
    }
  }
}
