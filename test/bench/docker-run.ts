import { spawn } from "node:child_process";
import { once } from "node:events";

/** The limits a task gets here when it asks for none, as `docker run` takes them. */
export interface DockerRun {
  readonly image: string;
  readonly code: string;
  /** The daemon's own default when left out. */
  readonly runtime?: string;
  readonly logDriver?: "json-file" | "local" | "none";
  /** A folder of packages on the host, read-only in the container and on Python's path. */
  readonly packages?: string;
}

/** The same limits and the same isolation that a sandbox has. */
function argumentsOf({ image, code, runtime, logDriver, packages }: DockerRun): string[] {
  return [
    ...["run", "--rm", "--network=none", "--read-only", "--cap-drop=ALL"],
    ...["--security-opt=no-new-privileges", "--cpus=1", "--memory=512m", "--memory-swap=512m"],
    ...["--pids-limit=256", "--ulimit=nofile=1024", "--tmpfs=/tmp:size=1g", "--user=70000:70000"],
    ...(runtime === undefined ? [] : [`--runtime=${runtime}`]),
    ...(logDriver === undefined ? [] : [`--log-driver=${logDriver}`]),
    ...(packages === undefined
      ? []
      : [`--volume=${packages}:/environment:ro`, "--env=PYTHONPATH=/environment", "--env=HOME=/tmp"]),
    ...[image, "python3", "-u", "-c", code],
  ];
}

/** From the command to its exit; output goes nowhere. Throws when the container did not end well. */
export async function dockerRun(run: DockerRun): Promise<void> {
  const child = spawn("docker", argumentsOf(run), { stdio: ["ignore", "ignore", "inherit"] });
  const [code]: unknown[] = await once(child, "exit");
  if (code !== 0) throw new Error(`docker run ended with ${String(code)}`);
}

/** `docker run | cat | wc -c`: answers how many bytes came. */
export async function dockerRunThroughPipe(run: DockerRun): Promise<number> {
  const script = 'set -o pipefail; docker "$@" | cat | wc -c';
  const child = spawn("bash", ["-c", script, "bash", ...argumentsOf(run)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (part: string) => {
    text += part;
  });
  const [code]: unknown[] = await once(child, "close");
  if (code !== 0) throw new Error(`docker run ended with ${String(code)}`);
  return Number(text.trim());
}
