/**
 * Removes from package-lock.json what `npm install` could not resolve: builds for other platforms that the registry it asked does
 * not carry. It records their names without a version, and `npm ci` then refuses the whole file. With --check, only names them.
 */
import { readFileSync, writeFileSync } from "node:fs";

interface LockedPackage {
  optionalDependencies?: Record<string, string>;
}

const file = new URL("../../package-lock.json", import.meta.url);
const lock: { packages: Record<string, LockedPackage> } = JSON.parse(readFileSync(file, "utf8"));

const unresolved: string[] = [];
for (const [path, entry] of Object.entries(lock.packages)) {
  for (const name of Object.keys(entry.optionalDependencies ?? {})) {
    const places = [`node_modules/${name}`, `${path}/node_modules/${name}`];
    if (places.some((place) => place in lock.packages)) continue;
    unresolved.push(name);
    delete entry.optionalDependencies?.[name];
  }
}

if (process.argv.includes("--check")) {
  if (unresolved.length > 0) {
    console.error(
      `npm ci would refuse package-lock.json: it names ${unresolved.join(", ")} without a version.`,
    );
    console.error("Run: node scripts/lib/prune-lock.ts");
    process.exitCode = 1;
  }
} else if (unresolved.length > 0) {
  writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
}
