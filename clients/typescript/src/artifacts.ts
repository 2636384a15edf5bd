import { lstat, mkdir, mkdtemp, readFile, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve, sep } from "node:path";
import type { Artifact } from "@longshore/proto/longshore/v1/task";
import { TaskServiceService } from "@longshore/proto/longshore/v1/task_service";
import type { CallOptions, Channel } from "./channel.ts";
import { type DownloadOptions, downloadTo } from "./download.ts";
import { LongshoreError, NotFound, UnsafeArtifactPath } from "./errors.ts";

export type { Artifact };

export interface DownloadAllOptions extends CallOptions {
  /** Takes only those for which it answers true. */
  readonly filter?: (artifact: Artifact) => boolean;
  /** Told before and during each file. */
  readonly onProgress?: (artifact: Artifact, bytes: number) => void;
}

/** What may be held in memory without being asked for. */
const MOST_READ_BYTES = 64 * 2 ** 20;

/** The files that a task left behind. */
export class Artifacts {
  readonly #channel: Channel;
  readonly #taskId: string;

  constructor(channel: Channel, taskId: string) {
    this.#channel = channel;
    this.#taskId = taskId;
  }

  /** All of them, by path. */
  async *list(options: CallOptions = {}): AsyncGenerator<Artifact, void, undefined> {
    let pageToken = "";
    do {
      const request = { taskId: this.#taskId, pageSize: 1000, pageToken };
      const page = await this.#channel.unary(TaskServiceService.listArtifacts, request, {
        ...options,
        retry: true,
      });
      yield* page.artifacts;
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
  }

  /** Writes one artifact to the file `destination`, replacing what is there; its digest is checked first. */
  async download(
    path: string,
    destination: string,
    options: CallOptions & DownloadOptions = {},
  ): Promise<void> {
    const artifact = await this.#find(path, options);
    await mkdir(dirname(resolve(destination)), { recursive: true });
    await this.#fetch(artifact, resolve(destination), options);
  }

  /** The content of one artifact; throws LongshoreError when it is larger than `mostBytes`, 64 MiB by default. */
  async read(
    path: string,
    options: CallOptions & { readonly mostBytes?: number } = {},
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { mostBytes = MOST_READ_BYTES } = options;
    const artifact = await this.#find(path, options);
    if (artifact.sizeBytes > mostBytes)
      throw new LongshoreError(
        `artifact ${path} has ${artifact.sizeBytes} bytes, more than ${mostBytes}; download it to a file instead`,
        { code: "OUT_OF_RANGE", reason: "ARTIFACT_TOO_LARGE" },
      );
    const folder = await mkdtemp(join(tmpdir(), "longshore-"));
    try {
      await this.#fetch(artifact, join(folder, "artifact"), options);
      return await readFile(join(folder, "artifact"));
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** Writes every artifact below `folder` and answers what was written. Nothing is written when one of them would lie outside. */
  async downloadAll(folder: string, options: DownloadAllOptions = {}): Promise<Artifact[]> {
    const wanted: Artifact[] = [];
    for await (const artifact of this.list(options))
      if (options.filter?.(artifact) ?? true) wanted.push(artifact);
    const unsafe = wanted.map((artifact) => artifact.path).filter((path) => !isSafePath(path));
    if (unsafe.length > 0) throw new UnsafeArtifactPath(unsafe, "not a plain path below the folder");
    await mkdir(folder, { recursive: true });
    const root = await realpath(folder);
    for (const artifact of wanted) {
      const destination = join(root, artifact.path);
      await makeFolders(root, artifact.path);
      const onProgress = (bytes: number) => options.onProgress?.(artifact, bytes);
      await this.#fetch(artifact, destination, { ...options, onProgress });
    }
    return wanted;
  }

  async #find(path: string, options: CallOptions): Promise<Artifact> {
    for await (const artifact of this.list(options)) if (artifact.path === path) return artifact;
    throw new NotFound(`task ${this.#taskId} has no artifact ${path}`, {
      code: "NOT_FOUND",
      reason: "NOT_FOUND",
      resourceType: "artifact",
      resourceName: path,
    });
  }

  #fetch(artifact: Artifact, destination: string, options: CallOptions & DownloadOptions): Promise<void> {
    const open = (offset: number) => {
      const ref = { taskId: this.#taskId, path: artifact.path };
      const request = { artifact: ref, offsetBytes: BigInt(offset) };
      return this.#channel.serverStream(TaskServiceService.downloadArtifact, request, options);
    };
    const { sha256 } = artifact;
    return downloadTo(destination, { sha256, sizeBytes: Number(artifact.sizeBytes), open }, options);
  }
}

/** Only what means the same place on every system: no root, no way up, no drive, no device, no byte that ends a name early. */
function isSafePath(path: string): boolean {
  if (path === "" || path.startsWith("/") || path.includes("\0")) return false;
  if (process.platform === "win32" && /[\\:]/.test(path)) return false;
  return path.split("/").every((part) => part !== "" && part !== "." && part !== "..");
}

/** Makes the folders above a file one by one: a link that lies there may lead anywhere. */
async function makeFolders(root: string, path: string): Promise<void> {
  let folder = root;
  for (const part of path.split("/").slice(0, -1)) {
    folder = join(folder, part);
    try {
      await mkdir(folder);
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
      if (!(await lstat(folder)).isSymbolicLink()) continue;
      const target = await realpath(folder);
      if (target !== root && !target.startsWith(root + sep)) {
        throw new UnsafeArtifactPath([path], `${folder} is a link out of the folder, to ${target}`);
      }
    }
  }
}
