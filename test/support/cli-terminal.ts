import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { CLI } from "./run-cli.ts";

export interface TerminalRun {
  readonly code: number | null;
  readonly screen: string;
}

/** What is waited for on the screen, and what is typed then. */
export type TerminalStep = readonly [
  seen: RegExp,
  typed: string | ((type: (keys: string) => void, seen: string) => void),
];

/** Why no terminal can be played; undefined where one can. */
export function whyNoTerminal(): string | undefined {
  return spawnSync("script", ["--version"]).error === undefined
    ? undefined
    : "needs script from util-linux for a terminal";
}

/** Runs the command line on a terminal of its own; each step waits for text on the screen and then types. */
export async function runOnTerminal(
  args: readonly string[],
  steps: readonly TerminalStep[],
): Promise<TerminalRun> {
  const quoted = args.map((arg) => `'${arg}'`).join(" ");
  // The shell tells its process id and becomes the command line.
  const command = `echo "pid $$"; exec '${process.execPath}' '${CLI}' ${quoted}`;
  const child = spawn("script", ["-qec", command, "/dev/null"], { env: { ...process.env, TERM: "xterm" } });
  let screen = "";
  let from = 0;
  const left = [...steps];
  child.stdout.on("data", (bytes: Buffer) => {
    screen += bytes.toString();
    for (let step = left[0]; step?.[0].test(screen.slice(from)); step = left[0]) {
      from = screen.length;
      left.shift();
      if (typeof step[1] === "string") child.stdin.write(step[1]);
      else step[1]((keys) => child.stdin.write(keys), screen);
    }
  });
  const [code] = await once(child, "close");
  child.stdin.destroy();
  return { code, screen };
}
