import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, readdir, symlink } from "node:fs/promises";
import { createServer } from "node:net";
import { delimiter, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Longshore } from "@longshore/client";
import fc from "fast-check";
import ignore from "ignore";
import { writePrices } from "../support/prices.ts";
import { type RunningServer, startServer, whyNoServer } from "../support/running-server.ts";
import { ScriptedServer } from "../support/scripted-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const PACKAGE = fileURLToPath(new URL("../../clients/python", import.meta.url));
const python = process.env.LONGSHORE_TEST_PYTHON ?? "";
const noPython =
  python === "" &&
  "LONGSHORE_TEST_PYTHON names no Python with the client's packages; scripts/test makes one where Python >= 3.10 is";

const run = (file: string, args: readonly string[], env: Record<string, string> = {}, cwd = PACKAGE) =>
  promisify(execFile)(file, [...args], { cwd, env: { ...process.env, ...env } });

/** A listener that kills and restarts the server for each connection, and says when it is back. */
async function controlOf(server: RunningServer): Promise<{ address: string } & AsyncDisposable> {
  const control = createServer((socket) => {
    const restarted = server.kill().then(() => server.start());
    restarted.then(
      () => socket.end("restarted\n"),
      (error: Error) => socket.end(`${error.message}\n`),
    );
  });
  control.listen(0, "127.0.0.1");
  await once(control, "listening");
  const address = control.address();
  if (address === null || typeof address === "string") throw new Error("the control does not listen");
  return {
    address: `127.0.0.1:${address.port}`,
    async [Symbol.asyncDispose]() {
      control.close();
      await once(control, "close");
    },
  };
}

test("the Python client's own suite passes against a server", {
  skip: noPython || ((await whyNoServer()) ?? false),
}, async (t) => {
  await using settings = await TemporaryFolder.create();
  await using server = await startServer({ LONGSHORE_PRICES: await writePrices(settings.path) });
  await using control = await controlOf(server);
  const suite = spawn(python, ["-m", "pytest", "--quiet", "--no-header", "-rs"], {
    cwd: PACKAGE,
    env: {
      ...process.env,
      PYTHONPATH: join(PACKAGE, "src"),
      PYTHONDONTWRITEBYTECODE: "1",
      LONGSHORE_SERVER: server.address,
      LONGSHORE_SERVER_CONTROL: control.address,
    },
    stdio: ["ignore", "pipe", "pipe"],
    signal: t.signal,
  });
  let output = "";
  for (const stream of [suite.stdout, suite.stderr])
    stream.setEncoding("utf8").on("data", (text) => {
      output += text;
    });
  const [code] = await once(suite, "close");
  assert.equal(code, 0, output);
  t.diagnostic(output.trim().split("\n").at(-1) ?? "");
  await server.stop();
  assert.deepEqual(await server.leftovers(), []);
});

/** What both clients make of a folder, as the server gets it. */
async function packedBy(submit: (address: string) => Promise<unknown>): Promise<Buffer> {
  await using server = await ScriptedServer.start();
  await submit(server.address);
  const [blob] = server.blobs.values();
  assert.ok(blob !== undefined);
  return blob.bytes;
}

/** Prints what the Python client decides otherwise. */
const DIFFERENT = `
import json, sys
from longshore._core.ignore_rules import IgnoreRules
asked = json.load(open(sys.argv[1]))
print(json.dumps([q for q in asked if IgnoreRules(q["rules"]).leaves_out(q["path"], q["isFolder"]) != q["leftOut"]][:5]))
`;

describe("a folder packed by either client", { skip: noPython }, () => {
  const SUBMIT = "import longshore, sys; longshore.Client(sys.argv[1]).submit(sys.argv[2])";
  const assertSame = async (folder: string) => {
    const typescript = await packedBy(async (address) => {
      await using client = new Longshore(address);
      await client.submit(folder);
    });
    const python3 = await packedBy((address) =>
      run(python, ["-c", SUBMIT, address, folder], { PYTHONPATH: join(PACKAGE, "src") }),
    );
    assert.ok(typescript.equals(python3), `${typescript.length} and ${python3.length} bytes`);
  };

  test("is the same, byte for byte: names of every kind, links, modes, rules", async () => {
    const lengths = [98, 99, 100, 101, 154, 155, 156, 200];
    await using folder = await TemporaryFolder.create({
      "main.py": "print(1)",
      "empty.txt": "",
      "block.bin": "x".repeat(512),
      "blocks.bin": "x".repeat(1025),
      "Zed.py": "upper case first",
      "a b.txt": "space",
      "é.txt": "composed",
      "e\u0301.txt": "decomposed",
      "😀/😀.txt": "outside of the basic plane",
      "\uffee.txt": "after the emoji in UTF-16, before it in UTF-8",
      "pkg-2/c.py": "c",
      "pkg/c.py": "c",
      "pkg.py": "sorts between them",
      ...Object.fromEntries(lengths.map((length) => [`${"f".repeat(length)}`, String(length)])),
      ...Object.fromEntries(lengths.map((length) => [`${"d".repeat(length)}/main.py`, String(length)])),
      [`${"ü".repeat(60)}/${"n".repeat(90)}.py`]: "long and not ASCII",
      [`${"p/".repeat(90)}end.py`]: "deep",
      "logs/a.log": "left out",
      "logs/keep/a.log": "taken back",
      "data/raw.csv": "left out",
      "data/deep/raw.csv": "kept",
      "tmp/x": "left out",
      "[odd].txt": "left out",
      "node_modules/x.js": "left out",
      "some-env/pyvenv.cfg": "left out",
      ".longshoreignore": "logs/*\n!logs/keep/\n/data/*.csv\ntmp/\n\\[odd\\].txt\r\n# comment\n\n*.o[bc]j\n",
      "a.obj": "left out",
    });
    await chmod(folder.at("main.py"), 0o700);
    await chmod(folder.at("empty.txt"), 0o444);
    await mkdir(folder.at("results"));
    await symlink("../pkg", folder.at("pkg-2/linked"));
    await symlink("main.py", folder.at("link.py"));
    await assertSame(folder.path);
  });

  test("leaves out the same, by any rules", async () => {
    const name = fc.constantFrom("a", "b", "foo", "x.py", "bar.py", "data", "é", "#h", "a b", ".hid");
    const part = fc.constantFrom(
      "a",
      "b",
      "foo",
      "*",
      "*.py",
      "**",
      "f?o",
      "[ab]",
      "[!a]",
      "a*",
      "é",
      "\\#h",
      "a b",
    );
    const rule = fc
      .tuple(
        fc.constantFrom("", "", "!"),
        fc.constantFrom("", "", "/"),
        fc.array(part, { minLength: 1, maxLength: 3 }),
      )
      .chain(([not, root, parts]) =>
        fc.constantFrom("", "/", "  ").map((end) => `${not}${root}${parts.join("/")}${end}`),
      );
    const path = fc.array(name, { minLength: 1, maxLength: 4 });
    const samples = fc.sample(
      fc.tuple(fc.array(rule, { minLength: 1, maxLength: 5 }), path, fc.boolean()),
      5000,
    );
    const asked: { rules: string[]; path: string; isFolder: boolean; leftOut: boolean }[] = [];
    for (const [rules, parts, lastIsFolder] of samples) {
      const matcher = ignore({ ignorecase: false }).add(rules.join("\n"));
      // As on a walk: what lies in a folder that is left out is never asked about.
      for (let depth = 1; depth <= parts.length; depth++) {
        const isFolder = depth < parts.length || lastIsFolder;
        const path = parts.slice(0, depth).join("/");
        const leftOut = matcher.ignores(isFolder ? `${path}/` : path);
        asked.push({ rules, path, isFolder, leftOut });
        if (leftOut) break;
      }
    }
    await using folder = await TemporaryFolder.create({ "asked.json": JSON.stringify(asked) });
    const { stdout } = await run(python, ["-c", DIFFERENT, folder.at("asked.json")], {
      PYTHONPATH: join(PACKAGE, "src"),
    });
    assert.deepEqual(JSON.parse(stdout), []);
  });

  test("of many small files and one large", async () => {
    const many = Array.from({ length: 300 }, (_, n) => [`many/${n * 7919}.txt`, "x".repeat(n)] as const);
    const files = { ...Object.fromEntries(many), "large.bin": new Uint8Array(3 * 2 ** 20 + 17).fill(7) };
    await using folder = await TemporaryFolder.create(files);
    await assertSame(folder.path);
  });
});

/** A program as a user writes it, run with nothing of the repository in reach. */
const PROGRAM = `
import sys
import longshore

with longshore.Client(sys.argv[1]) as client:
    task = client.submit(code="print('hello')", cpu=1, ram="256MB", timeout="1m")
    for line in task.logs():
        print(line, end="")
    try:
        task.result()
    except longshore.TaskFailed as error:
        print(error.exit_code, error.reason)
print(longshore.__version__, "site-packages" in longshore.__file__)
`;

/** What the types promise, checked as strictly as a program can be. */
const TYPED = `
from typing import assert_type

import longshore

def main(client: longshore.Client) -> None:
    task = client.submit("project", cpu=2, ram="1GB", timeout="10m", env={"A": "1"})
    assert_type(task, longshore.Task)
    outcome = task.result()
    assert_type(outcome, longshore.TaskOutcome)
    assert_type(outcome.exit_code, int | None)
    for event in task.watch():
        if event.kind == "log":
            assert_type(event.data, bytes)
    for record in client.list(states=["failed"]):
        assert_type(record.result.stderr_bytes, int)
    made = client.access.create_token(["blobs"], lifetime="1h")
    assert_type(made, longshore.CreatedToken)
    for picture in client.watch_tasks(labels={"team": "blue"}):
        assert_type(picture, longshore.TasksUnderWay)
    for delivery in client.webhooks.deliveries(states=["failed"]):
        assert_type(delivery, longshore.DeliveryRecord)
    client.submit(code="1", require_enforced=["gravity"])  # type: ignore[list-item]
    client.submit(code="1", memory="1GB")  # type: ignore[call-arg]
    client.list(states=["gone"])  # type: ignore[list-item]

@longshore.remote(cpu=2)
def fit(rows: list[int], depth: int = 3) -> float:
    return 0.5

assert_type(fit([1]), float)
assert_type(fit.start([1], depth=4), longshore.Call)
fit.start("x")  # type: ignore[arg-type]
`;

const UNREACHABLE =
  /NameResolutionError|Failed to establish a new connection|Temporary failure in name resolution|Read timed out/;

describe("the published package, in an empty environment", { skip: noPython }, () => {
  let folder: TemporaryFolder;
  let server: ScriptedServer;
  before(async () => {
    folder = await TemporaryFolder.create({ "program.py": PROGRAM, "typed_program.py": TYPED });
    server = await ScriptedServer.start();
    server.onCreate = (task) => {
      task.log("hello\n");
      task.exit(3);
    };
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await folder?.[Symbol.asyncDispose]();
  });

  /** Answers why not, where the packages that it needs cannot be had. */
  const install = async (name: string, what: string): Promise<string | undefined> => {
    await run(python, ["-m", "venv", folder.at(name)]);
    try {
      await run(folder.at(name, "bin/python"), ["-m", "pip", "install", "--quiet", what]);
    } catch (error) {
      const said = String(error instanceof Error && "stderr" in error ? error.stderr : error);
      if (UNREACHABLE.test(said)) return `no package registry can be reached: ${said.split("\n")[0]}`;
      throw error;
    }
    return undefined;
  };
  const works = async (name: string) => {
    const { stdout } = await run(
      folder.at(name, "bin/python"),
      ["program.py", server.address],
      { PYTHONPATH: "" },
      folder.path,
    );
    assert.equal(stdout, "hello\n3 EXITED\n0.1.0 True\n");
  };

  test("pip install of the folder works, and leaves nothing in it", async (t) => {
    const entries = await readdir(PACKAGE);
    const missing = await install("from-folder", PACKAGE);
    if (missing !== undefined) return t.skip(missing);
    await works("from-folder");
    assert.deepEqual(await readdir(PACKAGE), entries);
  });

  test("a built wheel works, holds the types and nothing but the package", async (t) => {
    await run(python, ["-m", "build", "--no-isolation", "--wheel", "--outdir", folder.at("wheel"), PACKAGE], {
      PATH: `${join(python, "..")}${delimiter}${process.env.PATH ?? ""}`,
    });
    const [wheel = ""] = await readdir(folder.at("wheel"));
    assert.equal(wheel, "longshore-0.1.0-py3-none-any.whl");
    const listing = await run(python, ["-m", "zipfile", "--list", folder.at("wheel", wheel)]);
    const files = listing.stdout
      .split("\n")
      .slice(1)
      .map((line) => line.split(" ")[0] ?? "");
    assert.ok(files.includes("longshore/py.typed") && files.includes("longshore/v1/task_pb2.pyi"));
    assert.deepEqual(
      files.filter((name) => !/^$|^longshore(-0\.1\.0\.dist-info)?\//.test(name)),
      [],
    );
    const missing = await install("from-wheel", folder.at("wheel", wheel));
    if (missing !== undefined) return t.skip(missing);
    await works("from-wheel");
    const environment = [
      "--python-executable",
      folder.at("from-wheel/bin/python"),
      "--python-version",
      "3.11",
    ];
    const options = ["--strict", "--warn-unused-ignores", "--cache-dir", folder.at("mypy"), ...environment];
    await run(python, ["-m", "mypy", ...options, "typed_program.py"], { PYTHONPATH: "" }, folder.path).catch(
      (error) => assert.fail(String(error.stdout)),
    );
  });
});
