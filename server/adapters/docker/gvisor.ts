import { SandboxCgroups } from "./cgroups.ts";
import type { Daemon, HostFacts } from "./daemon.ts";
import { installationPrefix, LABELS } from "./naming.ts";
import type { DockerEngineOptions } from "./options.ts";
import { runThrowaway } from "./throwaway.ts";

/** What this host's gVisor can do. */
export interface Gvisor {
  readonly runtime: string;
  /** It leaves control groups alone, so the engine's limits do not reach it. */
  readonly ignoresCgroups: boolean;
  /** Its network is switched off for all sandboxes. */
  readonly withoutNetwork: boolean;
  /** Our way around `ignoresCgroups`; undefined where not needed or not possible. */
  readonly cgroups: SandboxCgroups | undefined;
}

/** Starts one sandbox to see that the runtime works here; undefined when it is not there or does not. */
export async function probeGvisor(
  daemon: Daemon,
  host: HostFacts,
  options: DockerEngineOptions,
  imageId: string,
): Promise<Gvisor | undefined> {
  const runtime = options.runtimes.gvisor;
  const args = runtime === null ? undefined : host.runtimes.get(runtime);
  if (runtime === null || args === undefined) return undefined;
  try {
    const { exitCode, output } = await runThrowaway(daemon, {
      name: `longshore-${installationPrefix(options.installationId)}-probe-gvisor-${process.pid}`,
      imageId,
      runtime,
      command: ["python3", "-I", "-S", "-E", "-B", "-c", "print(open('/proc/version').read())"],
      env: [],
      mounts: [],
      labels: { [LABELS.installation]: options.installationId, [LABELS.probe]: "gvisor" },
    });
    if (exitCode !== 0)
      throw new Error(`a sandbox ended with exit code ${exitCode}: ${output.slice(0, 500)}`);
  } catch (error) {
    options.log.warn("gVisor is configured but does not work; isolation GVISOR is not offered", {
      runtime,
      error: String(error),
    });
    return undefined;
  }
  const ignoresCgroups = hasFlag(args, "ignore-cgroups");
  return {
    runtime,
    ignoresCgroups,
    withoutNetwork: args.some((arg) => /^--?network=none$/.test(arg)),
    cgroups: ignoresCgroups ? await SandboxCgroups.open() : undefined,
  };
}

function hasFlag(args: readonly string[], flag: string): boolean {
  return args.some((arg) => new RegExp(`^--?${flag}(=true)?$`).test(arg));
}
