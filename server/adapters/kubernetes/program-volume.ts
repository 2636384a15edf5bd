import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { SystemFault } from "../../domain/errors.ts";
import type { Cluster } from "./cluster.ts";
import type { ProgramVolume } from "./job-manifest.ts";

/** What a config map may hold. */
const MOST_BYTES = 2 ** 20;

/**
 * Puts the runner's source and the pod's programs into an immutable config map named by their content: a running pod keeps its own
 * version while the server is upgraded.
 */
export async function installPrograms(
  cluster: Cluster,
  folders: { readonly runner: string; readonly programs: string },
): Promise<ProgramVolume> {
  const runner = await sourceOf(folders.runner, "runner");
  const programs = await sourceOf(folders.programs, "programs");
  const all = [...runner, ...programs];
  for (const needed of [
    "runner..__main__.py",
    "programs..start.py",
    "programs..courier.py",
    "programs..prepare.py",
  ])
    if (!all.some(({ key }) => key === needed))
      throw new SystemFault(
        `${needed.split("..")[1]} is missing in ${folders.runner} or ${folders.programs}`,
      );
  const data = Object.fromEntries(all.map(({ key, text }) => [key, text]));
  if (JSON.stringify(data).length > MOST_BYTES)
    throw new SystemFault("the runner's source is too large for a config map");
  const digest = createHash("sha256").update(JSON.stringify(data)).digest("hex");
  const configMap = `longshore-runner-${digest.slice(0, 16)}`;
  await cluster.createConfigMap({
    metadata: { name: configMap, labels: { "app.kubernetes.io/managed-by": "longshore" } },
    immutable: true,
    data,
  });
  const items = (files: typeof all) => files.map(({ key, path }) => ({ key, path }));
  return { configMap, runner: items(runner), programs: items(programs) };
}

async function sourceOf(
  folder: string,
  prefix: string,
): Promise<{ key: string; path: string; text: string }[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile() && entry.name.endsWith(".py"))
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .filter((path) => !path.includes("__pycache__"));
  return await Promise.all(
    paths.sort().map(async (path) => ({
      // A key has no slashes.
      key: `${prefix}..${path.replaceAll("/", "..")}`,
      path,
      text: await readFile(join(folder, path), "utf8"),
    })),
  );
}
