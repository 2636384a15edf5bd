import type { ProjectFacts } from "./spec-check.ts";
import { foldersAbove } from "./workspace-path.ts";

/** What a client says of a project that it is going to send. Nothing is stored for it: the archive itself is read when it has come. */
export interface ProjectAnnouncement {
  /** Of regular files; "/" between parts. */
  readonly files: readonly string[];
  /** Of folders that hold nothing. */
  readonly folders: readonly string[];
  /** Sum of the files' sizes. */
  readonly contentBytes: number;
  /** Of the archive. */
  readonly archiveBytes: number;
  /** Contents of its requirements.txt, by path. */
  readonly requirements: ReadonlyMap<string, Uint8Array>;
}

/** A project as it will be, so that a request can be checked against it before it is sent. */
export class AnnouncedProject implements ProjectFacts {
  readonly contentBytes: number;
  readonly archiveBytes: number;
  readonly topLevelScripts: readonly string[];
  readonly #files: ReadonlySet<string>;
  readonly #folders: ReadonlySet<string>;
  readonly #requirements: ReadonlyMap<string, Uint8Array>;

  constructor({ files, folders, contentBytes, archiveBytes, requirements }: ProjectAnnouncement) {
    this.contentBytes = contentBytes;
    this.archiveBytes = archiveBytes;
    this.topLevelScripts = files.filter((path) => /^(?!\._)[^/]+\.py$/.test(path)).toSorted();
    this.#files = new Set(files);
    this.#folders = new Set([...folders, ...files.flatMap(foldersAbove), ...folders.flatMap(foldersAbove)]);
    this.#requirements = requirements;
  }

  async has(path: string, kind: "file" | "folder"): Promise<boolean> {
    return (kind === "file" ? this.#files : this.#folders).has(path);
  }

  async readFile(path: string): Promise<Uint8Array | undefined> {
    return this.#requirements.get(path);
  }
}
