import { join } from "node:path";
import { checkedSandboxId } from "./sandbox-id.ts";

/** Where a sandbox's files lie on the host. The folder is 0700, so nothing but root and the daemon reaches into it. */
export interface SandboxPaths {
  readonly folder: string;
  readonly journal: string;
  readonly input: string;
  readonly artifacts: string;
  /** There while the sandbox idles in the pool: no attempt has ever had it. */
  readonly idleMark: string;
  /** The sized file system that becomes /workspace, /tmp and /home/task. */
  readonly volumeImage: string;
  readonly volume: string;
}

export function sandboxesFolder(dataDirectory: string): string {
  return join(dataDirectory, "sandboxes");
}

export function sandboxPaths(dataDirectory: string, sandboxId: string): SandboxPaths {
  return pathsIn(join(sandboxesFolder(dataDirectory), checkedSandboxId(sandboxId)));
}

export function pathsIn(folder: string): SandboxPaths {
  return {
    folder,
    journal: join(folder, "journal"),
    input: join(folder, "input"),
    artifacts: join(folder, "artifacts"),
    idleMark: join(folder, "idle"),
    volumeImage: join(folder, "volume.ext4"),
    volume: join(folder, "volume"),
  };
}
