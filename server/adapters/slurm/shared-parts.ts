import { chmod, copyFile, mkdir, rename, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { Unsupported } from "../../domain/errors.ts";
import type { BuildTools, SandboxOrder } from "../../domain/ports/engine.ts";
import { storageError } from "../../domain/storage-error.ts";
import { exists } from "../sandbox/errno.ts";
import type { SlurmEngineOptions } from "./options.ts";
import type { SharedEnvironments } from "./shared-environments.ts";

type Options = Pick<SlurmEngineOptions, "name" | "nodeNetwork" | "sharedDirectory">;

/** What a sandbox has besides its image, where its node finds it. */
export async function sharedParts(
  { shape, build }: Pick<SandboxOrder, "shape" | "build">,
  { environments, options }: { readonly environments: SharedEnvironments; readonly options: Options },
): Promise<{ environment: string | null; build: BuildTools | null }> {
  if (build?.openNetwork === true && !options.nodeNetwork)
    throw new Unsupported(`engine ${options.name} has no network for builds; set node_network`);
  const folder = shape.environment?.folder ?? null;
  return {
    environment: folder === null ? null : await environments.place(folder),
    build: build === undefined ? null : await shareTools(build, options.sharedDirectory),
  };
}

/**
 * What builds bring along, where the nodes see it: program and certificates are small and named by their content, and are copied
 * below the shared folder. Wheels are the operator's to put where nodes have them under the same path.
 */
export async function shareTools(tools: BuildTools, sharedDirectory: string): Promise<BuildTools> {
  const folder = join(sharedDirectory, "tools");
  await mkdir(folder, { recursive: true, mode: 0o755 });
  const { caBundle } = tools;
  return {
    ...tools,
    uv: await share(tools.uv, folder),
    caBundle: caBundle === null ? null : await share(caBundle, folder),
  };
}

async function share(source: string, folder: string): Promise<string> {
  const target = join(folder, basename(source));
  if (await exists(target)) return target;
  const draft = `${target}.${process.pid}.part`;
  try {
    await copyFile(source, draft);
    // A copy's mode passes through the umask; the build's uid has to get at it.
    await chmod(draft, (await stat(source)).mode);
    await rename(draft, target);
  } catch (error) {
    throw storageError(error, "copying what builds need to the shared folder");
  }
  return target;
}
