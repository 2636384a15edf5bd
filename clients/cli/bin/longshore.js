#!/usr/bin/env node
// Installed: runs the built JavaScript. In the repository, told by a file that is never shipped: runs the TypeScript as it is.
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";

const inRepository = existsSync(new URL("../tsconfig.build.json", import.meta.url));
const [major = 0] = process.versions.node.split(".").map(Number);

if (inRepository && major < 24) await runWithProjectNode();
else await runHere();

async function runHere() {
  if (inRepository) {
    const { registerHooks } = await import("node:module");
    registerHooks({
      resolve: (specifier, context, next) =>
        next(specifier, { ...context, conditions: ["longshore-source", ...context.conditions] }),
    });
  }
  const { main } = await import(inRepository ? "../src/main.ts" : "../dist/main.js");
  // Node's words about our use of it are no part of what we say; a TLS server that is named by its address would be one of them.
  if (process.env.LONGSHORE_DEBUG === undefined) process.removeAllListeners("warning");
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  process.exitCode = await main(process, version);
}

/** The project brings a Node that runs TypeScript; whatever started us may be older. */
async function runWithProjectNode() {
  const node = fileURLToPath(new URL("../../../node_modules/.bin/node", import.meta.url));
  if (!existsSync(node)) {
    console.error("error: Node 24 or newer is needed here; run npm ci in the repository, which brings it");
    process.exitCode = 69;
    return;
  }
  const child = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: "inherit" });
  // A terminal sends Ctrl-C to both of us, and the child decides what it means.
  process.on("SIGINT", () => undefined);
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  child.on("exit", (code, signal) => {
    process.exitCode = signal === null ? (code ?? 1) : 128 + constants.signals[signal];
  });
}
