import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import type { DockerEngine } from "#server/adapters/docker/docker-engine.ts";
import { ImageRefused, Unsupported } from "#server/domain/errors.ts";
import type { RunnerSpec, SandboxShape } from "#server/domain/ports/engine.ts";
import { MEBIBYTE } from "#server/domain/resources.ts";
import {
  acquire,
  attempt,
  follow,
  sampleRunnerSpec,
  sampleShape,
  shell,
} from "../contract/engine-under-test.ts";
import {
  DockerBench,
  docker,
  dockerMissing,
  EXECUTOR_IMAGE,
  gvisorMissing,
} from "../support/docker-engine.ts";

function python(code: string): Partial<RunnerSpec> {
  return { program: { kind: "script", script: "main.py" }, code };
}

const EAT_MEMORY = `
kept = []
while True:
    kept.append(bytearray(1 << 20))
    print(len(kept), flush=True)
`;

const FILL_DISK = `
import errno, os
written = 0
try:
    for place in ("/workspace/a", "/tmp/b", "/home/task/c"):
        with open(place, "wb", buffering=0) as f:
            try:
                while True: written += f.write(b"x" * 65536)
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
finally:
    print(written)
`;

describe("limits and isolation of Docker sandboxes", { skip: await dockerMissing() }, () => {
  let bench: DockerBench;
  let engine: DockerEngine;
  let digest: string;
  before(async () => {
    bench = await DockerBench.create();
    engine = await bench.open();
    digest = (await engine.resolveImage(EXECUTOR_IMAGE)).digest;
  });
  after(() => bench?.[Symbol.asyncDispose]());

  const run = async (
    spec: Partial<RunnerSpec>,
    limits: Partial<SandboxShape["limits"]> = {},
    changes: Partial<SandboxShape> = {},
  ) => {
    const shape = { ...sampleShape(digest, limits), ...changes };
    const sandbox = await acquire(engine, shape);
    try {
      return await attempt(engine, sandbox, sampleRunnerSpec(shape, spec));
    } finally {
      await engine.release(sandbox.id);
      assert.deepEqual(await bench.leftovers(sandbox.id), []);
    }
  };

  test("RAM: what was asked for can be used, hardly more, and the end says so", async () => {
    const { stdout, ending, exit } = await run(python(EAT_MEMORY), { ramBytes: 96 * MEBIBYTE });
    const used = Number(stdout.trim().split("\n").at(-1));
    assert.ok(used >= 88 && used <= 108, `${used} MiB of 96`);
    assert.deepEqual([ending.reason, ending.limit, ending.killer], ["OUT_OF_MEMORY", "RAM", "KERNEL"]);
    assert.equal(exit.lost, false);
  });

  test("storage: as much as was asked for over all writable folders, then ENOSPC", async () => {
    for (const mebibytes of [8, 200]) {
      const { stdout } = await run(python(FILL_DISK), { storageBytes: mebibytes * MEBIBYTE, inodes: 1000 });
      const ratio = Number(stdout) / (mebibytes * MEBIBYTE);
      assert.ok(ratio > 0.99 && ratio < 1.1, `${stdout.trim()} bytes of ${mebibytes} MiB`);
    }
  });

  test("inodes: files run out before their number gets out of hand", async () => {
    const count = "i=0; while : > f$i; do i=$((i+1)); done; echo $i";
    const { stdout } = await run(shell(`sh -c '${count}' 2>/dev/null || ls | wc -l`), { inodes: 100 });
    assert.ok(Number(stdout) >= 95 && Number(stdout) <= 140, stdout);
  });

  test("processes: a fork bomb gets no further than its limit", async () => {
    const bomb = `
import os, time
n = 1
try:
    while n < 500:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        n += 1
except BlockingIOError:
    pass
print(n)
`;
    const { stdout } = await run(python(bomb), { processes: 20 });
    assert.ok(Number(stdout) >= 20 && Number(stdout) <= 22, stdout);
  });

  test("CPU: the quota is the one asked for", async () => {
    const shape = sampleShape(digest, { cpuMillis: 250 });
    const sandbox = await acquire(engine, shape);
    assert.equal(
      await docker("inspect", sandbox.containerId, "--format", "{{.HostConfig.NanoCpus}}"),
      "250000000",
    );
    await engine.release(sandbox.id);
  });

  test("open files, core dumps and file sizes are bounded for the task", async () => {
    const { stdout } = await run(shell("ulimit -n; ulimit -c; ulimit -f"), { openFiles: 300 });
    // ulimit -f counts blocks of 512 bytes: the storage of 64 MB is the largest of the three.
    assert.equal(stdout, "300\n0\n131072\n");
  });

  test("the task is nobody: no capabilities, no network, nothing to write but its own folders", async () => {
    const look = `
import os, socket
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(status["CapEff"].strip(), status["CapPrm"].strip(), status["CapBnd"].strip() != "000001ffffffffff", status["NoNewPrivs"].strip(), status["Seccomp"].strip())
print(os.getuid() >= 70000, os.getuid() == os.getgid(), os.getgroups())
print(sorted(name for _, name in socket.if_nameindex()))
writable = []
for root, folders, files in os.walk("/", topdown=True):
    if root in ("/proc", "/sys", "/workspace", "/tmp", "/home/task"):
        folders.clear()
        continue
    if os.access(root, os.W_OK): writable.append(root)
    writable += [path for path in (os.path.join(root, name) for name in files) if os.access(path, os.W_OK) and not os.path.islink(path)]
print(sorted(path for path in writable if not path.startswith("/dev/")))
for path in ("/longshore/journal", "/longshore/input", "/longshore/artifacts", "/proc/1/environ", "/proc/1/mem"):
    try:
        open(path, "rb")
        print("opened", path)
    except OSError:
        pass
for path in ("/longshore/journal", "/longshore/artifacts"):
    try:
        open(path, "ab")
        print("opened", path)
    except OSError:
        pass
`;
    const { stdout, stderr } = await run(python(look));
    assert.equal(stderr, "");
    assert.equal(stdout, "0000000000000000 0000000000000000 True 1 2\nTrue True []\n['lo']\n[]\n");
  });

  test("a sandbox sees no other sandbox's volume", async () => {
    const shape = sampleShape(digest);
    const other = await acquire(engine, shape);
    const { stdout } = await run(shell("cat /proc/self/mountinfo; ls -d /proc/[0-9]* | wc -l"));
    assert.ok(!stdout.includes(other.id));
    // PID 1, the shell, ls and wc.
    assert.ok(Number(stdout.trim().split("\n").at(-1)) <= 5);
    await engine.release(other.id);
  });

  test("volumes are mounted without devices and setuid", async () => {
    const { stdout } = await run(shell("grep -E ' /(workspace|tmp|home/task) ' /proc/self/mountinfo"));
    const lines = stdout.trim().split("\n");
    assert.equal(lines.length, 3);
    // Private: no "shared:" or "master:" among the optional fields.
    for (const line of lines) assert.ok(/nosuid,nodev/.test(line) && !/(shared|master):/.test(line), line);
  });

  test("the project comes as the input file, and only as long as the sandbox lives", async () => {
    await using project = await makeTar(bench);
    const { stdout } = await run({ ...shell("cat data/hello.txt"), projectTar: project.path });
    assert.equal(stdout, "from the project\n");
  });

  test("EGRESS is refused as long as it is not offered", async () => {
    const { tiers } = await engine.capabilities();
    if (tiers[0]?.networks.includes("EGRESS")) return;
    await assert.rejects(run(shell("true"), {}, { network: "EGRESS" }), Unsupported);
  });
});

describe("limits of gVisor sandboxes", { skip: await gvisorMissing() }, () => {
  test("RAM and CPU hold through control groups of the server's own", async () => {
    await using bench = await DockerBench.create();
    const engine = await bench.open();
    const { digest } = await engine.resolveImage(EXECUTOR_IMAGE);
    const { tiers } = await engine.capabilities();
    const ram = tiers
      .find(({ isolation }) => isolation === "GVISOR")
      ?.limits.find(({ limit }) => limit === "RAM");
    const shape: SandboxShape = {
      ...sampleShape(digest, { ramBytes: 96 * MEBIBYTE, cpuMillis: 500 }),
      isolation: "GVISOR",
    };
    const sandbox = await acquire(engine, shape);
    const spec = sampleRunnerSpec(shape, python(EAT_MEMORY));
    await engine.begin(sandbox, spec);
    const { stdout, exit, ending } = await follow(engine, sandbox.id, spec.attemptId);
    const used = Number(stdout.trim().split("\n").at(-1));
    assert.ok(
      ram?.level === "ENFORCED" ? used >= 80 && used <= 125 : ram?.level === "ADVISORY",
      `${used} MiB of 96`,
    );
    // gVisor's kernel itself is what the host's kernel kills, so there is no end frame, but the engine knows.
    if (ending === undefined) assert.deepEqual([exit.oomKilled, exit.lost], [true, false]);
    await engine.release(sandbox.id);
    assert.deepEqual(await bench.leftovers(sandbox.id), []);
  });
});

describe("images", { skip: await dockerMissing() }, () => {
  /** The executor image with one more thing declared. */
  const variant = async (name: string, change: string): Promise<string> => {
    const tag = `longshore/test-${name}:${process.pid}`;
    const container = await docker("create", EXECUTOR_IMAGE, "true");
    await docker("commit", "--change", change, container, tag);
    await docker("rm", container);
    return tag;
  };

  test("what an image says about its start is overridden: entrypoint, environment, health check, user", async () => {
    await using bench = await DockerBench.create();
    const engine = await bench.open();
    const tag = await variant(
      "hostile",
      'ENTRYPOINT ["/bin/false"]\nENV LD_PRELOAD=/nowhere.so PYTHONPATH=/evil\nUSER 12345\nHEALTHCHECK --interval=1s CMD touch /tmp/checked\nLABEL longshore.sandbox=faked',
    );
    try {
      const shape = sampleShape((await engine.resolveImage(tag)).digest);
      const sandbox = await acquire(engine, shape);
      const { stdout, ending } = await attempt(
        engine,
        sandbox,
        sampleRunnerSpec(shape, shell("env | grep -c -E 'LD_PRELOAD|PYTHONPATH'; id -u")),
      );
      assert.equal(ending.reason, "EXITED");
      assert.match(stdout, /^0\n7\d{4}\n$/);
      const inspected = await docker(
        "inspect",
        sandbox.containerId,
        "--format",
        '{{json .Config.Env}} {{json .Config.Healthcheck}} {{index .Config.Labels "longshore.sandbox"}}',
      );
      assert.ok(inspected.includes('"Test":["NONE"]') && inspected.endsWith(sandbox.id), inspected);
    } finally {
      for (const { id } of await engine.list()) await engine.release(id);
      await docker("rmi", tag);
    }
  });

  test("refused: VOLUME, no Python, not allowed, not there, no name; each with a reason", async () => {
    await using bench = await DockerBench.create();
    const engine = await bench.open();
    const tag = await variant("volume", "VOLUME /data");
    const bare = `longshore/test-bare:${process.pid}`;
    await docker("import", (await makeTar(bench)).path, bare);
    const refused = async (name: string, rule: string, advice: RegExp) =>
      assert.rejects(engine.resolveImage(name), (error) => {
        assert.ok(error instanceof ImageRefused, String(error));
        assert.equal(error.metadata.rule, rule);
        assert.match(error.message, advice);
        return true;
      });
    try {
      await refused(tag, "volume", /VOLUME \/data/);
      await refused(bare, "python", /python3 >= 3\.9/);
      await refused("debian:12", "not_allowed", /ask its operator/);
      await refused("longshore/missing:1", "missing", /docker pull longshore\/missing:1/);
      await refused("--privileged", "name", /no name of an image/);
    } finally {
      await docker("rmi", tag, bare);
    }
  });
});

async function makeTar(bench: DockerBench): Promise<{ path: string } & AsyncDisposable> {
  const folder = await mkdtemp(`${bench.path}/project-`);
  await mkdir(`${folder}/data`);
  await writeFile(`${folder}/data/hello.txt`, "from the project\n");
  execFileSync("tar", ["-cf", `${folder}/project.tar`, "-C", folder, "data"]);
  return { path: `${folder}/project.tar`, [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) };
}
