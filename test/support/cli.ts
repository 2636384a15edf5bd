import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { buffer, text } from "node:stream/consumers";

const CLI = join(import.meta.dirname, "../../clients/cli/bin/longshore.js");

export interface CliRun {
  readonly code: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** Runs the CLI against a server, without a terminal. */
export async function longshore(
  address: string,
  args: readonly string[],
  options: { cwd?: string } = {},
): Promise<CliRun> {
  const child = spawn(process.execPath, [CLI, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, LONGSHORE_SERVER: address, NO_COLOR: "1" },
    cwd: options.cwd,
  });
  const [stdout, stderr] = await Promise.all([
    buffer(child.stdout),
    text(child.stderr),
    once(child, "close"),
  ]);
  return { code: child.exitCode, stdout, stderr };
}
