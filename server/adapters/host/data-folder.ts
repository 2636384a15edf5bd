import { randomUUID } from "node:crypto";
import { mkdir, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { SystemFault } from "../../domain/errors.ts";

const ADVICE: Readonly<Record<string, string>> = {
  EACCES: "the server's user may not write there",
  EPERM: "the server's user may not write there",
  EROFS: "it lies on a file system that is mounted read-only",
  ENOENT: "nothing can be made there; it lies on a file system such as /proc that takes no files",
  ENOTDIR: "a part of its path is a file",
  EEXIST: "it is a file",
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota of the server's user is used up",
  ENAMETOOLONG: "its path is too long",
  ELOOP: "its path goes round in circles of links",
};

/** Makes the folder that everything is kept in, and tries whether it can be written. Throws SystemFault that says what to do. */
export async function makeDataFolder(path: string): Promise<void> {
  try {
    await makeFolder(path);
    const probe = join(path, `.probe-${randomUUID()}`);
    await writeFile(probe, "", { flag: "wx", mode: 0o600 });
    await rm(probe);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    const why = ADVICE[code] ?? (error instanceof Error ? error.message : String(error));
    throw new SystemFault(
      `the data folder ${path} cannot be used: ${why}. Set LONGSHORE_DATA_DIR to a folder that the server's user may write to`,
      {},
      { cause: error },
    );
  }
}

/** Part by part: Node's own recursive mkdir never returns where a folder is there that takes no others, such as /proc. */
async function makeFolder(path: string): Promise<void> {
  if (await isFolder(path)) return;
  const parent = dirname(path);
  if (parent !== path) await makeFolder(parent);
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    // Another server may have made it meanwhile.
    if (!(await isFolder(path))) throw error;
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return false;
    throw error;
  }
}
