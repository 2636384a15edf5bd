import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, rm, rmdir, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { SystemFault } from "../../domain/errors.ts";
import type { Log } from "../../domain/ports/telemetry.ts";
import { pathsIn, type SandboxPaths, sandboxesFolder } from "../sandbox/sandbox-paths.ts";
import { runCommand } from "./command.ts";
import type { Daemon } from "./daemon.ts";
import { installationPrefix, LABELS } from "./naming.ts";
import { SandboxStorage, type StorageTier } from "./storage.ts";
import { runThrowaway } from "./throwaway.ts";

const TIERS: readonly StorageTier[] = ["loop", "tmpfs"];
const READ_BOTH = `
for path in ("/nonce", "/volume/workspace/nonce"):
    try:
        print(open(path).read())
    except OSError as error:
        print(error)
`;

export interface ProbeResult {
  readonly storage: StorageTier;
  /** Why better storage is not used; empty for the best. */
  readonly storageAdvice: string;
}

/**
 * Finds out, with a container, whether the daemon sees the server's files and mounts at the same paths. A remote daemon, Docker
 * Desktop, or a server in a container whose data folder has another path would otherwise bind empty folders in silence.
 */
export async function probeHost(
  daemon: Daemon,
  installationId: string,
  imageId: string,
  dataDirectory: string,
  log: Log,
): Promise<ProbeResult> {
  const reasons: string[] = [];
  for (const tier of TIERS) {
    const outcome = await probeTier(daemon, installationId, imageId, dataDirectory, tier);
    if (outcome === undefined) return { storage: tier, storageAdvice: reasons.join("; ") };
    log.warn("a storage tier is not available", { tier, reason: outcome });
    reasons.push(`${tier}: ${outcome}`);
  }
  return { storage: "engine-tmpfs", storageAdvice: reasons.join("; ") };
}

/** undefined when volumes of this tier reach into containers; otherwise why not. */
async function probeTier(
  daemon: Daemon,
  installationId: string,
  imageId: string,
  dataDirectory: string,
  tier: StorageTier,
): Promise<string | undefined> {
  const folder = await mkdtemp(join(sandboxesFolder(dataDirectory), "probe-"));
  const paths = pathsIn(folder);
  const storage = new SandboxStorage(tier, runCommand);
  const [fileNonce, volumeNonce] = [randomUUID(), randomUUID()];
  try {
    await writeFile(paths.journal, fileNonce, { mode: 0o600, flag: "wx" });
    let failure: string | undefined;
    try {
      await storage.attach(paths, 0, { storageBytes: 8 * 2 ** 20, inodes: 64 });
      await writeFile(join(paths.volume, "workspace", "nonce"), volumeNonce, { mode: 0o600 });
    } catch (error) {
      failure = error instanceof Error ? error.message : String(error);
      await mkdir(paths.volume, { recursive: true });
    }
    const seen = await readFromContainer(daemon, installationId, imageId, paths);
    if (seen[0] !== fileNonce) throw notTheSameFiles(dataDirectory, seen[0] ?? "nothing");
    if (failure !== undefined) return failure;
    return seen[1] === volumeNonce
      ? undefined
      : "the daemon does not see mounts that the server makes; mount the data folder with shared propagation";
  } finally {
    await storage.detach(paths);
    await rm(paths.journal, { force: true });
    await rmdir(folder);
  }
}

async function readFromContainer(
  daemon: Daemon,
  installationId: string,
  imageId: string,
  paths: SandboxPaths,
): Promise<string[]> {
  try {
    const { output } = await runThrowaway(daemon, {
      name: `longshore-${installationPrefix(installationId)}-${basename(paths.folder).toLowerCase()}`,
      imageId,
      command: ["python3", "-I", "-S", "-E", "-B", "-c", READ_BOTH],
      env: [],
      mounts: [
        { Type: "bind", Source: paths.journal, Target: "/nonce", ReadOnly: true },
        { Type: "bind", Source: paths.volume, Target: "/volume", ReadOnly: true },
      ],
      labels: { [LABELS.installation]: installationId, [LABELS.probe]: "host" },
    });
    return output.split("\n");
  } catch (error) {
    if (error instanceof Error && /bind source path does not exist/.test(error.message))
      return ["the daemon has no such path"];
    throw error;
  }
}

function notTheSameFiles(dataDirectory: string, seen: string): SystemFault {
  return new SystemFault(
    `the Docker daemon does not see the files of ${dataDirectory} (a container read: ${seen.slice(0, 200)}). ` +
      "Longshore needs a rootful Docker engine on this very host, without user namespace remapping. For a server in a container, mount its " +
      "data folder from the host under the same path; Docker Desktop and a daemon on another host do not work.",
  );
}
