const MAX_PATH_BYTES = 1024;
const MAX_NAME_BYTES = 255;
const MAX_DEPTH = 64;

const bytes = (text: string): number => new TextEncoder().encode(text).length;

/** A relative path of plain parts; undefined when it is anything else. "" is the top. */
export function normalisePath(path: string): string | undefined {
  if (path.includes("\0") || path.includes("\\") || path.startsWith("/")) return undefined;
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  return parts.includes("..") ? undefined : parts.join("/");
}

/** Where an input goes, below the workspace; undefined when that is no place for a file. */
export function inputPath(path: string): string | undefined {
  if (/[\p{Cc}\p{Cs}]/u.test(path) || path.endsWith("/")) return undefined;
  const normal = normalisePath(path);
  if (normal === undefined || normal === "" || bytes(normal) > MAX_PATH_BYTES) return undefined;
  const names = normal.split("/");
  return names.length <= MAX_DEPTH && names.every((name) => bytes(name) <= MAX_NAME_BYTES)
    ? normal
    : undefined;
}

/** All folders above a path, outermost first. */
export function foldersAbove(path: string): string[] {
  const names = path.split("/");
  return names.slice(1).map((_, index) => names.slice(0, index + 1).join("/"));
}
