import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** As scripts/build-server-image calls it; scripts/test builds it where a test needs it. */
export const SERVER_IMAGE = "longshore/server:dev";

/** Why there is no image of the server; false where there is one. */
export async function serverImageMissing(): Promise<string | false> {
  try {
    await run("docker", ["image", "inspect", SERVER_IMAGE]);
    return false;
  } catch {
    return `there is no image ${SERVER_IMAGE} (scripts/build-server-image)`;
  }
}
