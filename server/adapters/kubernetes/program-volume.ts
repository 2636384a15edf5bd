import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import type { V1ConfigMap } from "@kubernetes/client-node";
import { SystemFault } from "../../domain/errors.ts";
import type { ProgramVolume } from "./job-manifest.ts";

/** What a config map may hold. */
const MOST_BYTES = 2 ** 20;

export interface Programs {
  /** What every namespace with pods of ours has. */
  readonly configMap: V1ConfigMap;
  readonly volume: ProgramVolume;
}

/**
 * The runner's source and the pod's programs as an immutable config map named by their content: a running pod keeps its own version
 * while the server is upgraded.
 */
export async function readPrograms(folders: {
  readonly runner: string;
  readonly programs: string;
}): Promise<Programs> {
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
  const name = `longshore-runner-${digest.slice(0, 16)}`;
  const items = (files: typeof all) => files.map(({ key, path }) => ({ key, path }));
  return {
    configMap: {
      metadata: { name, labels: { "app.kubernetes.io/managed-by": "longshore" } },
      immutable: true,
      data,
    },
    volume: { configMap: name, runner: items(runner), programs: items(programs) },
  };
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
