import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { delimiter, dirname } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { ScriptedServer } from "../support/scripted-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const TSC = fileURLToPath(new URL("../../node_modules/.bin/tsc", import.meta.url));
const PACKAGES = ["@longshore/proto", "@longshore/client", "longshore"];

const PLAIN = `
import { Longshore, TaskFailed } from "@longshore/client";
const client = new Longshore(process.argv[2]);
const task = await client.submit("project", { cpu: 1, timeout: "1m" });
for await (const event of task.watch()) if (event.kind === "log") process.stdout.write(event.data);
await task.result().catch((error) => console.log(error instanceof TaskFailed, error.exitCode));
client.close();
`;

/** What the README shows, checked as strictly as a program can be. */
const STRICT = `
import { Longshore, NotFound, type TaskEvent, TaskFailed, type TaskOutcome, type TaskRecord } from "@longshore/client";
import { TaskServiceService } from "@longshore/proto/longshore/v1/task_service";

export async function main(address: string, signal: AbortSignal): Promise<string> {
  await using client = new Longshore(address);
  const task = await client.submit("project", { cpu: 2, ram: "1GB", timeout: "10m", signal });
  for await (const event of task.watch()) if (event.kind === "log") process.stdout.write(event.data);
  const seen: TaskEvent[] = await Array.fromAsync(client.task(task.id).watch({ follow: false }));
  try {
    const result: TaskOutcome = await task.result();
    return result.reason;
  } catch (error) {
    if (error instanceof NotFound) return error.resourceName;
    if (!(error instanceof TaskFailed)) throw error;
    const record: TaskRecord = error.outcome.record;
    return [seen.length, error.exitCode ?? "none", record.traceId.length, TaskServiceService.getTask.path].join(" ");
  }
}

const [, , address = ""] = process.argv;
console.log(await main(address, new AbortController().signal));
`;

/** Packs the three packages as npm would publish them and installs them where nothing of the repository is in reach. */
async function installPackages(folder: TemporaryFolder, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const options = { cwd: ROOT, env, encoding: "utf8" as const, stdio: "pipe" as const };
  const workspaces = PACKAGES.flatMap((name) => ["--workspace", name]);
  execFileSync("npm", ["pack", "--silent", "--pack-destination", folder.path, ...workspaces], options);
  const tarballs = readdirSync(folder.path).filter((name) => name.endsWith(".tgz"));
  assert.equal(tarballs.length, PACKAGES.length);
  await folder.write({
    "app/package.json": JSON.stringify({ name: "app", private: true, type: "module" }),
    "app/project/main.py": "print('hello')",
    "app/plain.js": PLAIN,
    "app/strict.ts": STRICT,
  });
  try {
    const paths = tarballs.map((name) => folder.at(name));
    execFileSync("npm", ["install", "--prefer-offline", ...paths], { ...options, cwd: folder.at("app") });
  } catch (error) {
    const said = String(error instanceof Error && "stderr" in error ? error.stderr : error);
    if (/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENOTCACHED/.test(said)) {
      return `no package registry can be reached: ${said.split("\n")[0]}`;
    }
    throw error;
  }
  return undefined;
}

describe("the published packages, in an empty project", () => {
  let folder: TemporaryFolder;
  let server: ScriptedServer;
  let missing: string | undefined;
  const env = { ...process.env, PATH: `${dirname(process.execPath)}${delimiter}${process.env.PATH ?? ""}` };
  const run = (file: string, args: readonly string[]) =>
    promisify(execFile)(file, [...args], { cwd: folder.at("app"), env }).catch((error) => error);

  before(async () => {
    folder = await TemporaryFolder.create();
    server = await ScriptedServer.start();
    server.onCreate = (task) => {
      task.log("hello\n");
      task.exit(3);
    };
    missing = await installPackages(folder, env);
  });

  after(async () => {
    await server[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  test("a JavaScript program uses the client", async (t) => {
    if (missing !== undefined) return t.skip(missing);
    const { stdout, stderr } = await run(process.execPath, ["plain.js", server.address]);
    assert.equal(stdout, "hello\ntrue 3\n", stderr);
  });

  for (const [resolution, module, types] of [
    ["nodenext", "nodenext", ["node"]],
    ["bundler", "esnext", ["node"]],
  ] as const) {
    test(`a strict TypeScript program uses the client, with ${resolution} resolution and every declaration checked`, async (t) => {
      if (missing !== undefined) return t.skip(missing);
      const compilerOptions = {
        strict: true,
        noUncheckedIndexedAccess: true,
        exactOptionalPropertyTypes: true,
        skipLibCheck: false,
        target: "es2024",
        lib: ["es2024", "esnext.array"],
        module,
        moduleResolution: resolution,
        types,
        outDir: `out-${resolution}`,
      };
      const config = `tsconfig.${resolution}.json`;
      await folder.write({ [`app/${config}`]: JSON.stringify({ compilerOptions, files: ["strict.ts"] }) });
      const compiled = await run(TSC, ["-p", config]);
      assert.equal(compiled.stdout, "");
      const { stdout, stderr } = await run(process.execPath, [`out-${resolution}/strict.js`, server.address]);
      assert.equal(stdout, "hello\n2 3 32 /longshore.v1.TaskService/GetTask\n", stderr);
    });
  }

  test("npx longshore runs a folder", async (t) => {
    if (missing !== undefined) return t.skip(missing);
    const result = await run("npx", [
      "--no-install",
      "longshore",
      "run",
      "project",
      "--server",
      server.address,
    ]);
    assert.equal(result.stdout, "hello\n", result.stderr);
    assert.equal(result.code, 3);
    assert.match(result.stderr, /^failed {6}exited with 3$/m);
  });
});
