/** Prints NAME=VALUE of an .env file, each ended by a zero byte, but for those that the environment sets: print-env.ts FILE */
import { readFileSync } from "node:fs";
import { parseEnv } from "node:util";

const [file] = process.argv.slice(2);
if (file === undefined) throw new Error("usage: print-env.ts FILE");
for (const [name, value] of Object.entries(parseEnv(readFileSync(file, "utf8")))) {
  if (!(name in process.env)) process.stdout.write(`${name}=${value}\0`);
}
