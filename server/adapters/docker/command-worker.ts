/** The process behind CommandHost: runs what it is told and tells how it ended, until its server is gone. */
import { CommandFailed, runCommand } from "./command.ts";

export interface CommandOrder {
  readonly id: number;
  readonly command: string;
  readonly args: readonly string[];
}

export type CommandReport = { readonly id: number } & (
  | { readonly stdout: string }
  | { readonly exitCode: number | null; readonly stderr: string }
);

async function obey({ id, command, args }: CommandOrder): Promise<CommandReport> {
  try {
    return { id, stdout: await runCommand(command, args) };
  } catch (error) {
    return error instanceof CommandFailed
      ? { id, exitCode: error.exitCode, stderr: error.stderr || error.message }
      : { id, exitCode: null, stderr: String(error) };
  }
}

if (import.meta.main) {
  // Ctrl-C reaches every process of the terminal; what the server still has to unmount goes through here.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);
  process.on("message", (order: CommandOrder) => {
    void obey(order).then((report) => {
      if (process.connected) process.send?.(report);
    });
  });
}
