import { execFile } from "node:child_process";

export class CommandFailed extends Error {
  readonly exitCode: number | null;
  readonly stderr: string;

  constructor(command: string, exitCode: number | null, stderr: string, cause: unknown) {
    super(
      `${command} failed${exitCode === null ? "" : ` with exit code ${exitCode}`}: ${stderr.trim() || String(cause)}`,
      { cause },
    );
    this.name = "CommandFailed";
    this.exitCode = exitCode;
    this.stderr = stderr;
  }
}

const TIMEOUT_MILLIS = 60_000;

/** Runs a host tool without a shell and with an environment of ours, with `input` as its standard input; answers its standard output. */
export function runCommand(
  command: string,
  args: readonly string[],
  timeout = TIMEOUT_MILLIS,
  input = "",
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      command,
      args,
      { timeout, env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" } },
      (error, stdout, stderr) => {
        if (error === null) resolve(stdout);
        else
          reject(
            new CommandFailed(
              `${command} ${args.join(" ")}`,
              typeof error.code === "number" ? error.code : null,
              stderr,
              error,
            ),
          );
      },
    );
    // A tool that ends without reading its input tells by its exit code what was wrong.
    child.stdin?.on("error", () => child.stdin?.destroy());
    child.stdin?.end(input);
  });
}
