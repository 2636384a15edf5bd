// Exits 0 when node_modules holds exactly what package-lock.json asks for, so that `npm ci`, which deletes and fetches
// everything, runs only when it must. Plain JavaScript: it also decides whether anything newer can run.
import { readFileSync } from "node:fs";

const folder = new URL("../../", import.meta.url);
const read = (name) => JSON.parse(readFileSync(new URL(name, folder), "utf8")).packages;

let installed;
try {
  installed = read("node_modules/.package-lock.json");
} catch {
  process.exit(1); // Nothing is installed yet.
}

for (const [path, wanted] of Object.entries(read("package-lock.json"))) {
  if (!path.startsWith("node_modules/") && !path.includes("/node_modules/")) continue;
  const found = installed[path];
  // npm leaves out the packages of other platforms without a word.
  if (found === undefined && wanted.optional) continue;
  if (found === undefined || found.version !== wanted.version || found.integrity !== wanted.integrity) {
    console.error(`${path} ${wanted.version ?? ""} is not installed`);
    process.exit(1);
  }
}
