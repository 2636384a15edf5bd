import { execFile } from "node:child_process";
import { access, constants } from "node:fs/promises";
import { delimiter, join } from "node:path";

export type DeployTool = "actionlint" | "compose-config" | "hadolint" | "kubectl-validate" | "kustomize";

/** Why there is no such program; undefined where there is one. */
export async function whyNoTool(tool: DeployTool): Promise<string | undefined> {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    try {
      await access(join(folder, tool), constants.X_OK);
      return undefined;
    } catch {
      // It may be in a later folder.
    }
  }
  return `${tool} is not installed (scripts/test deployment builds or fetches it)`;
}

/** What it printed; rejects with all of its words when it is not content. */
export function runTool(tool: DeployTool, args: readonly string[], cwd: string): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(tool, args, { cwd, timeout: 60_000, maxBuffer: 2 ** 24 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`${tool} ${args.join(" ")}: ${stdout}${stderr}`, { cause: error }));
    });
  });
}
