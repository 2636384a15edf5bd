import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { SystemFault } from "../../domain/errors.ts";
import { exists } from "./errno.ts";

/** Lies beside the runner and becomes /etc/hosts of sandboxes without a network. */
export const HOSTS_FILE = "hosts";

const HOSTS = "127.0.0.1\tlocalhost sandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n";

interface SourceFile {
  readonly path: string;
  readonly bytes: Buffer;
}

/**
 * Copies the runner below the data directory under the name of its content, so that a running sandbox keeps its own version
 * while the server is upgraded, and so that only one folder is ever bound from the host. Answers the copy's path.
 */
export async function installRunner(source: string, dataDirectory: string): Promise<string> {
  const files = [...(await readSource(source, "")), { path: HOSTS_FILE, bytes: Buffer.from(HOSTS) }];
  if (!files.some((file) => file.path === "__main__.py")) {
    throw new SystemFault(
      `there is no runner in ${source}: __main__.py is missing; set the runner directory to executor-image/runner`,
    );
  }
  const hash = createHash("sha256");
  for (const { path, bytes } of files) hash.update(`${path}\0${bytes.length}\0`).update(bytes);
  const target = join(dataDirectory, "runner", hash.digest("hex").slice(0, 32));
  if (await exists(target)) return target;
  await mkdir(dirname(target), { recursive: true, mode: 0o755 });
  const fresh = await mkdtemp(`${target}.`);
  try {
    for (const { path, bytes } of files) {
      await mkdir(join(fresh, dirname(path)), { recursive: true, mode: 0o755 });
      await writeFile(join(fresh, path), bytes, { mode: 0o644, flag: "wx" });
    }
    await chmod(fresh, 0o755);
    // In one step: another server that starts at the same moment sees all of it or nothing.
    await rename(fresh, target);
  } catch (error) {
    await rm(fresh, { recursive: true, force: true });
    if (!(await exists(target))) throw error;
  }
  return target;
}

async function readSource(root: string, below: string): Promise<SourceFile[]> {
  const entries = await readdir(join(root, below), { withFileTypes: true });
  const files: SourceFile[] = [];
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(below, entry.name);
    if (entry.isDirectory() && entry.name !== "__pycache__") files.push(...(await readSource(root, path)));
    else if (entry.isFile() && entry.name.endsWith(".py"))
      files.push({ path, bytes: await readFile(join(root, path)) });
  }
  return files;
}
