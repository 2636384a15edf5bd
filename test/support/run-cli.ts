import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

export const CLI = fileURLToPath(new URL("../../clients/cli/bin/longshore.js", import.meta.url));

export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly stdoutBytes: Buffer;
}

export interface CliOptions {
  readonly server?: string;
  readonly input?: string | Uint8Array;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Called with each new piece of either stream and with the process, to send it signals. */
  readonly onOutput?: (soFar: { stdout: string; stderr: string }, child: ChildProcess) => void;
}

/** Runs the command line as people do, in a process of its own. */
export async function runCli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const { PATH = "", HOME = "" } = process.env;
  const child = spawn(process.execPath, [CLI, ...args], {
    cwd: options.cwd,
    env: { PATH, HOME, LONGSHORE_SERVER: options.server ?? "127.0.0.1:1", ...options.env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  const chunks: { stdout: Buffer[]; stderr: Buffer[] } = { stdout: [], stderr: [] };
  const text = (name: "stdout" | "stderr") => Buffer.concat(chunks[name]).toString();
  for (const name of ["stdout", "stderr"] as const) {
    child[name].on("data", (chunk: Buffer) => {
      chunks[name].push(chunk);
      options.onOutput?.({ stdout: text("stdout"), stderr: text("stderr") }, child);
    });
  }
  // A command that reads no input may be gone before it is written.
  child.stdin.on("error", () => undefined);
  child.stdin.end(options.input ?? "");
  const [code] = await once(child, "close");
  return { code, stdout: text("stdout"), stderr: text("stderr"), stdoutBytes: Buffer.concat(chunks.stdout) };
}
