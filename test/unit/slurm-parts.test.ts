import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { ulid } from "ulid";
import { pathsIn } from "#server/adapters/sandbox/sandbox-paths.ts";
import { ociBundle } from "#server/adapters/slurm/bundle.ts";
import { clusterLimits, otherJobsLoad } from "#server/adapters/slurm/capabilities.ts";
import { jobRequest, jobScript } from "#server/adapters/slurm/job-request.ts";
import { exitOf, phaseOf } from "#server/adapters/slurm/job-state.ts";
import { jobArguments } from "#server/adapters/slurm/tool-controller.ts";
import { ConfigError, readConfig } from "#server/config.ts";
import { Unsupported } from "#server/domain/errors.ts";
import { MEBIBYTE } from "#server/domain/resources.ts";
import { sampleShape } from "../contract/engine-under-test.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const shape = sampleShape(`sha256:${"a".repeat(64)}`, { cpuMillis: 1500, runMillis: 60_000 });
const options = { account: "", partition: "", constraints: new Map([["gpu-large", "v100"]]) };

function order(placement: Partial<{ account: string; partition: string; instanceType: string }> = {}) {
  return {
    ...{ shape, uid: 72_000, container: "longshore-x", comment: `longshore:i:${ulid()}` },
    ...{ folder: "/shared/sandboxes/x", output: "/shared/sandboxes/x/output" },
    placement: { account: "", partition: "", instanceType: "", ...placement },
    features: new Set(["cpu"]),
  };
}

const argumentsOf = (placement: Parameters<typeof order>[0] = {}) =>
  jobArguments(jobRequest(order(placement), options));

describe("a job's request", () => {
  test("asks for what the task is held to, and is never requeued", () => {
    const args = argumentsOf();
    for (const arg of ["--no-requeue", "--cpus-per-task=2", "--mem=304M", "--time=31"])
      assert.ok(args.includes(arg), arg);
    assert.ok(!args.some((arg) => /^--(account|partition|constraint)/.test(arg)));
  });

  test("names account and partition, and a constraint for an instance type that means one", () => {
    const named = { account: "twinscie", partition: "ml" };
    const args = argumentsOf({ ...named, instanceType: "gpu-large" });
    for (const arg of ["--account=twinscie", "--partition=ml", "--constraint=v100"])
      assert.ok(args.includes(arg), arg);
    assert.ok(argumentsOf({ instanceType: "cpu" }).includes("--constraint=cpu"));
    assert.ok(!argumentsOf({ instanceType: "small" }).join(" ").includes("constraint"));
  });

  test("takes no name that could be more than one", () => {
    for (const account of ["-x", "a b", "a;b", "a\nb", "$(id)"])
      assert.throws(() => argumentsOf({ account }), Unsupported);
    assert.throws(() => jobScript({ ...order(), folder: "/it's" }, "exit"), RangeError);
  });
});

describe("a job's end", () => {
  const end = (state: string | undefined, status?: number, ours = false) =>
    exitOf(state, "None", status, ours);

  test("by itself is told by what it left behind, whatever Slurm still knows", () => {
    assert.deepEqual(end("COMPLETED", 0), { exitCode: 0, oomKilled: false, lost: false, message: "" });
    assert.deepEqual(end(undefined, 3), { exitCode: 3, oomKilled: false, lost: false, message: "" });
  });

  test("by Slurm is a loss, and says why", () => {
    for (const [state, why] of [
      ["TIMEOUT", /time limit/],
      ["NODE_FAIL", /node of the job failed/],
      ["PREEMPTED", /preempted/],
      ["CANCELLED", /cancelled from outside/],
      ["BOOT_FAIL", /did not boot/],
      ["FAILED", /ended as FAILED/],
      [undefined, /does not know/],
    ] as const) {
      const { lost, message } = end(state);
      assert.equal(lost, true, state);
      assert.match(message, why);
    }
    assert.equal(end("FAILED", 137).lost, true);
    // The runner obeyed Slurm's SIGTERM.
    assert.equal(end("PREEMPTED", 4).lost, true);
  });

  test("for memory is the task's, by this server nobody's", () => {
    assert.deepEqual([end("OUT_OF_MEMORY").oomKilled, end("OUT_OF_MEMORY").lost], [true, false]);
    assert.equal(end("CANCELLED", undefined, true).lost, false);
  });

  test("has three phases before it", () => {
    assert.deepEqual(
      ["PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING", "COMPLETED", undefined].map(phaseOf),
      ["waiting", "waiting", "running", "running", "ended", "ended", "ended"],
    );
  });
});

describe("a job's bundle", () => {
  const plan = {
    ...{ shape, uid: 72_000, container: "longshore-x", rootfs: "/images/executor" },
    ...{ paths: pathsIn("/shared/sandboxes/x"), runnerFolder: "/shared/runner/1", nodeNetwork: false },
    ...{ environment: null, build: null },
  };

  test("holds PID 1 to three capabilities, the task's limits and a network namespace of its own", () => {
    const text = JSON.stringify(ociBundle(plan));
    assert.match(text, /"bounding":\["CAP_SETUID","CAP_SETGID","CAP_KILL"\]/);
    assert.match(text, /"noNewPrivileges":true/);
    assert.match(text, /"readonly":true/);
    assert.match(text, new RegExp(`"swap":${268 * MEBIBYTE},"limit":${268 * MEBIBYTE}`));
    assert.match(text, /"quota":150000,"period":100000/);
    assert.match(text, /"pids":\{"limit":66\}/);
    assert.match(text, /"type":"network"/);
    assert.doesNotMatch(JSON.stringify(ociBundle({ ...plan, nodeNetwork: true })), /"type":"network"/);
  });

  test("takes no number that would mean no limit", () => {
    for (const limits of [{ processes: 0 }, { ramBytes: 0 }, { openFiles: Number.NaN }, { storageBytes: -1 }])
      assert.throws(
        () => ociBundle({ ...plan, shape: { ...shape, limits: { ...shape.limits, ...limits } } }),
        RangeError,
      );
  });
});

test("a node's own network reads advisory", () => {
  assert.equal(clusterLimits(false).NETWORK.level, "ENFORCED");
  assert.equal(clusterLimits(true).NETWORK.level, "ADVISORY");
});

test("jobs of others count as they run", () => {
  const job = { jobId: "1", reason: "None", comment: "", cpus: 2, memoryBytes: 1536 * MEBIBYTE };
  const { cpuMillis, ramBytes } = otherJobsLoad([
    { ...job, state: "RUNNING" },
    { ...job, state: "PENDING" },
  ]);
  assert.deepEqual([cpuMillis, ramBytes], [2000, 1536 * MEBIBYTE]);
});

describe("a Slurm cluster in the file of engines", () => {
  const images = { executor: "/images/executor" };
  const read = async (cluster: object) => {
    await using folder = await TemporaryFolder.create();
    const path = folder.at("engines.json");
    await writeFile(path, JSON.stringify({ engines: [{ name: "atena02", kind: "slurm", ...cluster }] }));
    const [engine] = readConfig({ LONGSHORE_ENGINES: path }).engines;
    assert.ok(engine.kind === "slurm");
    return engine;
  };
  const isRefused = async (cluster: object, ...where: readonly RegExp[]) =>
    await assert.rejects(read(cluster), (error) => {
      assert.ok(error instanceof ConfigError);
      for (const place of where) assert.match(error.message, place);
      assert.doesNotMatch(error.message, /hunter2/);
      return true;
    });

  test("is asked by Slurm's tools where nothing else is said", async () => {
    const { account, nodeNetwork, configFile, slurmrestd } = await read({ images, account: "twinscie" });
    assert.deepEqual([account, nodeNetwork, configFile, slurmrestd], ["twinscie", false, "", null]);
  });

  test("is asked by slurmrestd, as root with a token of a file", async () => {
    const access = { url: "http://login.example:6820", token_file: "/run/token" };
    const expected = { url: access.url, user: "root", tokenFile: "/run/token", caFile: null };
    assert.deepEqual((await read({ images, slurmrestd: access })).slurmrestd, expected);
    const url = "unix:/run/slurmrestd/socket";
    assert.equal((await read({ images, slurmrestd: { ...access, url } })).slurmrestd?.url, url);
  });

  test("names every problem at once", async () => {
    await isRefused(
      { images: {}, partition: "a b", config_file: "slurm.conf" },
      /images/,
      /partition/,
      /config_file/,
    );
    await isRefused(
      { images, slurmrestd: { url: "https://robot:hunter2@login.example", user: "a b" } },
      ...[/slurmrestd\.url is none of/, /slurmrestd\.user/, /slurmrestd\.token_file/],
    );
    const access = { url: "http://login.example", token_file: "/run/token" };
    await isRefused(
      { images, slurmrestd: { ...access, ca_file: "/ca.pem" } },
      /slurmrestd\.ca_file is for https alone/,
    );
    await isRefused(
      { images, slurmrestd: access, config_file: "/etc/slurm.conf" },
      /config_file is for Slurm's tools/,
    );
  });
});
