import { open, rename } from "node:fs/promises";
import { join } from "node:path";

/** Keeps a token in the data folder for its owner alone, in place of an earlier one; answers the path. */
export async function writeTokenFile(dataDirectory: string, token: string): Promise<string> {
  const path = join(dataDirectory, "admin.token");
  const fresh = `${path}.new`;
  const file = await open(fresh, "w", 0o600);
  try {
    // The file may be left of an earlier start that was cut off, with other rights.
    await file.chmod(0o600);
    await file.writeFile(`${token}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(fresh, path);
  return path;
}
