import type { ArchiveLimits } from "../../domain/blob.ts";
import { BadArchive } from "../../domain/errors.ts";

// A byte order mark is part of a name like any other character; TextDecoder would drop it silently.
const STRICT_UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const LENIENT_UTF8 = new TextDecoder("utf-8", { ignoreBOM: true });
/** What every filesystem we unpack to allows for one name. */
const MAX_NAME_BYTES = 255;
const MAX_SHOWN = 256;

/** A name as it may be shown in an error: no control characters, bounded. */
export function shown(name: string | Uint8Array): string {
  const text = typeof name === "string" ? name : LENIENT_UTF8.decode(name.subarray(0, 4 * MAX_SHOWN));
  const escaped = text
    .slice(0, MAX_SHOWN)
    .replaceAll(
      /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu,
      (c) => `\\u${(c.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`,
    );
  return text.length > MAX_SHOWN ? `${escaped}...` : escaped;
}

export function refuse(rule: string, problem: string, name: string | Uint8Array): BadArchive {
  const entry = shown(name);
  return new BadArchive(rule, `archive entry "${entry}" ${problem}`, entry);
}

export function decodeName(bytes: Uint8Array): string {
  try {
    return STRICT_UTF8.decode(bytes);
  } catch (error) {
    // The decoder says nothing beyond "invalid"; anything else would be a fault of ours.
    if (!(error instanceof TypeError)) throw error;
    throw refuse("name-encoding", "has a name that is not UTF-8; rename it or pack with UTF-8 names", bytes);
  }
}

/** The path of an entry, relative to the archive's top, without "." and doubled slashes; empty for the top itself. */
export function pathOf(name: string, kind: "file" | "folder", limits: ArchiveLimits): string {
  if (name === "") throw refuse("empty-name", "has no name", name);
  if (/[\p{Cc}\p{Cs}]/u.test(name))
    throw refuse("control-character", "has a control character in its name; rename it", name);
  if (name.includes("\\")) {
    throw refuse("backslash", "has a backslash in its name; pack with forward slashes", name);
  }
  // Python's tarfile names the top "/" when a folder is added under an empty name.
  if (kind === "folder" && /^\/+$/.test(name)) return "";
  if (name.startsWith("/"))
    throw refuse("absolute-path", "has an absolute path; pack with relative paths", name);
  if (/^[A-Za-z]:/.test(name))
    throw refuse("drive-letter", "begins with a drive letter; pack with relative paths", name);
  const names = name.split("/").filter((part) => part !== "" && part !== ".");
  if (names.includes(".."))
    throw refuse("parent-path", 'leads through ".."; pack from the folder that holds everything', name);
  if (kind === "file" && (names.length === 0 || /(?:^|\/)\.?$/.test(name))) {
    throw refuse("file-named-as-folder", "is a file, but its name is that of a folder", name);
  }
  const path = names.join("/");
  if (names.length > limits.maxDepth) {
    throw refuse(
      "path-depth",
      `lies ${names.length} levels deep; at most ${limits.maxDepth} are allowed`,
      name,
    );
  }
  const bytes = Buffer.byteLength(path);
  if (bytes > limits.maxPathBytes) {
    throw refuse(
      "path-length",
      `has a path of ${bytes} bytes; at most ${limits.maxPathBytes} are allowed`,
      name,
    );
  }
  if (names.some((part) => Buffer.byteLength(part) > MAX_NAME_BYTES)) {
    throw refuse("path-length", `has a name longer than ${MAX_NAME_BYTES} bytes in its path`, name);
  }
  return path;
}

/** Equal for two paths that some common filesystem takes for one: case and Unicode composition do not count. */
export function foldPath(path: string): string {
  // Upper case first: letters with several lower-case forms meet there.
  return path.normalize("NFC").toUpperCase().toLowerCase().normalize("NFC");
}
