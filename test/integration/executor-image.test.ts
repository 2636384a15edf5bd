/** What the server and the runner rely on in the default image, however it was built. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { describe, test } from "node:test";
import { promisify } from "node:util";

const IMAGE = "longshore/executor:dev";
const run = promisify(execFile);
const docker = async (...args: string[]) => (await run("docker", args)).stdout.trim();

async function missing(): Promise<string | false> {
  try {
    await docker("image", "inspect", IMAGE);
    return false;
  } catch (error) {
    return `${IMAGE} cannot be inspected (scripts/build-image): ${error instanceof Error ? error.message : error}`;
  }
}

/** As sandboxes start it: nothing writable, no network, the interpreter as the entry point. */
const python = (code: string) =>
  docker(
    ...["run", "--rm", "--read-only", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges"],
    ...["--entrypoint=python3", IMAGE, "-I", "-S", "-E", "-B", "-c", code],
  );

describe("executor image", { skip: await missing() }, () => {
  test("declares nothing that would run or write beside the runner", async () => {
    const config = JSON.parse(await docker("image", "inspect", "--format", "{{json .Config}}", IMAGE));
    assert.deepEqual(
      {
        entrypoint: config.Entrypoint ?? null,
        health: config.Healthcheck ?? null,
        volumes: config.Volumes ?? null,
      },
      { entrypoint: null, health: null, volumes: null },
    );
  });

  test("has a Python that the runner works with, under both names", async () => {
    const version = await python("import sys; print(sys.version_info >= (3, 9))");
    const alias = await docker("run", "--rm", "--network=none", IMAGE, "python", "-c", "print('python')");
    assert.deepEqual([version, alias], ["True", "python"]);
  });

  test("has the parts of the standard library that slim builds leave out", async () => {
    const modules =
      "bz2, ctypes, curses, hashlib, json, lzma, multiprocessing, sqlite3, ssl, venv, zlib, zoneinfo";
    assert.equal(await python(`import ${modules}; print(zoneinfo.ZoneInfo('Europe/Paris'))`), "Europe/Paris");
  });

  test("holds no setuid or setgid file", async () => {
    const found = await docker(
      ...["run", "--rm", "--network=none", IMAGE],
      ...["find", "/", "-xdev", "-type", "f", "-perm", "/6000"],
    );
    assert.equal(found, "");
  });
});
