import { createReadStream } from "node:fs";
import { open, readdir, stat } from "node:fs/promises";
import { basename, join, relative } from "node:path";
import { SystemFault, Unsupported } from "../../domain/errors.ts";
import type { BuildTools, RunnerSpec, SandboxOrder } from "../../domain/ports/engine.ts";
import { environmentIdOf } from "../sandbox/environment-folder.ts";
import type { Cluster } from "./cluster.ts";
import { type BroughtFile, Courier } from "./courier.ts";
import { BUILD_NETWORK_POLICY } from "./options.ts";

/** Files of which one read takes all are read so: opening a stream costs more than they do. */
const SMALL_BYTES = 256 * 1024;

/**
 * What a sandbox has besides its spec: packages, or what the build of packages takes. The Docker engine binds the server's folders; here
 * their bytes go into volumes of the pod's own, before the spec.
 */
export async function bringFiles(
  cluster: Cluster,
  podName: string,
  { shape, build }: SandboxOrder,
  signal: AbortSignal,
): Promise<void> {
  const folder = shape.environment?.folder ?? null;
  if (folder === null && build === undefined) return;
  using courier = await Courier.connect(cluster, podName);
  using stack = new DisposableStack();
  const hangUp = () => courier.close();
  signal.addEventListener("abort", hangUp, { once: true });
  stack.defer(() => signal.removeEventListener("abort", hangUp));
  signal.throwIfAborted();
  try {
    if (folder !== null) await courier.unpack("environment", filesBelow(environmentFolder(folder)));
    if (build !== undefined) await courier.unpack("tools", toolsOf(build));
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}

/** Project, then inputs, as the runner unpacks them. */
export async function* inputOf({ projectTar, inputTar }: RunnerSpec): AsyncGenerator<Uint8Array> {
  if (projectTar !== null) for await (const chunk of createReadStream(projectTar)) yield chunk;
  if (inputTar !== null) yield* inputTar;
}

/** Throws Unsupported where a build that takes a network would have none, or one without rules. */
export async function requireBuildNetwork(
  cluster: Pick<Cluster, "hasNetworkPolicy">,
  { shape, build }: Pick<SandboxOrder, "shape" | "build">,
  engine: { readonly name: string; readonly networkPolicyHolds: boolean },
): Promise<void> {
  if (!needsNetwork({ shape, build })) return;
  const without = "or LONGSHORE_BUILD_NETWORK=none is set, with LONGSHORE_BUILD_WHEELS";
  if (!(await cluster.hasNetworkPolicy(BUILD_NETWORK_POLICY)))
    throw new Unsupported(
      `builds of environments have no network on engine ${engine.name}: its operator applies deploy/kubernetes/builds, ${without} (docs/kubernetes.md)`,
    );
  // Such builds may reach whatever a client or a package names.
  if (shape.network === "EGRESS" && !engine.networkPolicyHolds)
    throw new Unsupported(
      `builds of environments take a network with rules, and nobody vouches for those of engine ${engine.name}: its operator sets "network_policy_holds", ${without} (docs/kubernetes.md)`,
    );
}

export function needsNetwork({ shape, build }: Pick<SandboxOrder, "shape" | "build">): boolean {
  return build !== undefined && (build.openNetwork || shape.network === "EGRESS");
}

async function* toolsOf({ uv, caBundle, wheels }: BuildTools): AsyncGenerator<BroughtFile> {
  yield await fileAt(uv, "uv", true);
  if (caBundle !== null) yield await fileAt(caBundle, "ca.pem", false);
  if (wheels === null) return;
  for await (const file of filesBelow(wheels)) yield { ...file, path: `wheels/${file.path}` };
}

/** An environment's are plain files, all made by the server; an operator's wheels may be links. */
async function* filesBelow(folder: string): AsyncGenerator<BroughtFile> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isDirectory()) continue;
    const path = join(entry.parentPath, entry.name);
    const facts = await stat(path);
    if (facts.isFile()) yield await fileAt(path, relative(folder, path), (facts.mode & 0o111) !== 0);
  }
}

async function fileAt(source: string, path: string, executable: boolean): Promise<BroughtFile> {
  return { path, executable, content: contentOf(source) };
}

async function* contentOf(path: string): AsyncGenerator<Uint8Array> {
  await using file = await open(path);
  const { size } = await file.stat();
  if (size <= SMALL_BYTES) yield await file.readFile();
  else yield* createReadStream(path, { highWaterMark: SMALL_BYTES });
}

function environmentFolder(path: string): string {
  if (environmentIdOf(path) === undefined)
    throw new SystemFault(`${basename(path)} is no folder of an environment`);
  return path;
}
