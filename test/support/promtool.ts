import { execFile } from "node:child_process";

/** Prometheus' own checker of figures and rules; `code` 0 and no problems when it is content. */
export function promtool(
  args: readonly string[],
  input = "",
): Promise<{ readonly code: number; readonly problems: string }> {
  return new Promise((resolve, reject) => {
    const child = execFile("promtool", args, { timeout: 60_000 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : error.code;
      if (typeof code === "number") resolve({ code, problems: code === 0 ? stderr : `${stdout}${stderr}` });
      else reject(error);
    });
    // One that does not read its input is gone before it is written.
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(input);
  });
}

/** Why there is no promtool; undefined where there is one. */
export async function whyNoPromtool(): Promise<string | undefined> {
  try {
    await promtool(["--version"]);
    return undefined;
  } catch {
    return "promtool is not installed (scripts/test fetches it on Debian)";
  }
}
