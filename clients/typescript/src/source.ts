import { readFile, stat } from "node:fs/promises";
import { basename, resolve } from "node:path";
import type { ProjectDescription } from "@longshore/proto/longshore/v1/task_service";
import { BadSource } from "./errors.ts";
import { packFile, packFolder } from "./pack.ts";
import type { UploadOptions } from "./upload.ts";
import { type BlobFormatName, fileSource, type UploadSource } from "./upload-source.ts";

/**
 * What to run. A string is always a path: of a Python file, of a folder, or of an archive (.zip, .tar, .tar.gz, .tgz).
 * Source code is given as `{ code }`, a project that the server has as `{ archiveSha256 }`, and `{}` stands for nothing
 * but `command`.
 */
export type Source =
  | string
  | { readonly code: string }
  | { readonly archiveSha256: string }
  | Record<string, never>;

/** A source made ready: nothing, text, or bytes to upload. */
export type Program = AsyncDisposable & { readonly name: string } & (
    | { readonly kind: "none" }
    | { readonly kind: "code"; readonly code: string }
    | { readonly kind: "stored"; readonly sha256: string }
    | {
        readonly kind: "archive";
        readonly archive: UploadSource;
        readonly entrypoint: string;
        /** Absent where it was not packed here. */
        readonly project?: ProjectDescription;
      }
  );

/** A larger Python file goes as a project, since a snippet is part of the task's record. */
const MOST_CODE_BYTES = 256 * 1024;

const ARCHIVES: readonly (readonly [ending: string, format: BlobFormatName])[] = [
  [".zip", "zip"],
  [".tar", "tar"],
  [".tar.gz", "tar.gz"],
  [".tgz", "tar.gz"],
];

const nothingToRelease = { [Symbol.asyncDispose]: () => Promise.resolve() };

/** False where there is nothing at all: opening it says so. */
export async function isFolder(path: string): Promise<boolean> {
  return await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

/** Reads or packs a source; disposing the answer removes what packing left on disk. */
export async function openSource(source: Source, options: UploadOptions): Promise<Program> {
  if (typeof source === "string") return openPath(source, options);
  if ("code" in source) return { kind: "code", code: source.code, name: "", ...nothingToRelease };
  if ("archiveSha256" in source)
    return { kind: "stored", sha256: source.archiveSha256, name: "", ...nothingToRelease };
  return { kind: "none", name: "", ...nothingToRelease };
}

async function openPath(path: string, options: UploadOptions): Promise<Program> {
  const name = basename(resolve(path));
  const found = await stat(path).catch((cause: unknown) => {
    const missing = cause instanceof Error && "code" in cause && cause.code === "ENOENT";
    throw new BadSource(path, [
      { path, problem: missing ? "there is no such file or folder" : String(cause) },
    ]);
  });
  if (found.isDirectory()) {
    const packed = await packFolder(path, options);
    return {
      kind: "archive",
      archive: packed,
      project: packed.project,
      name,
      entrypoint: "",
      [Symbol.asyncDispose]: () => packed[Symbol.asyncDispose](),
    };
  }
  if (!found.isFile()) throw new BadSource(path, [{ path, problem: "is neither a file nor a folder" }]);
  const lower = name.toLowerCase();
  const format = ARCHIVES.find(([ending]) => lower.endsWith(ending))?.[1];
  if (format !== undefined) {
    const archive = await fileSource(path, format, options.signal);
    return { kind: "archive", archive, name, entrypoint: "", ...nothingToRelease };
  }
  if (!lower.endsWith(".py")) {
    const problem = "is no Python file, folder or archive (.py, .zip, .tar, .tar.gz, .tgz)";
    throw new BadSource(path, [{ path, problem }]);
  }
  return openScript(path, name, found.size, options);
}

/** A Python file goes as a snippet where that is the same: small, and UTF-8, which Python takes a snippet to be. */
async function openScript(
  path: string,
  name: string,
  size: number,
  options: UploadOptions,
): Promise<Program> {
  if (size <= MOST_CODE_BYTES) {
    const code = decodeUtf8(await readFile(path));
    if (code !== undefined) return { kind: "code", code, name, ...nothingToRelease };
  }
  const packed = await packFile(path, name, options);
  return {
    kind: "archive",
    archive: packed,
    project: packed.project,
    name,
    entrypoint: name,
    [Symbol.asyncDispose]: () => packed[Symbol.asyncDispose](),
  };
}

function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    // Another encoding, declared in the file itself: it goes as bytes.
    return undefined;
  }
}
