/** Tasks on a real Slurm cluster beside the server's own Docker, the seeds' configuration among them. */
import assert from "node:assert/strict";
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Longshore } from "@longshore/client";
import { MlflowServer, mlflowMissing } from "../support/mlflow-server.ts";
import { NeighbourHost } from "../support/neighbour-host.ts";
import { outsideMissing } from "../support/outside-network.ts";
import { runCli } from "../support/run-cli.ts";
import { type RunningServer, startServer, whyNoServer } from "../support/running-server.ts";
import {
  liveJobs,
  SLURM_CONF,
  SLURM_IMAGE,
  SLURM_ROOTFS,
  slurm,
  slurmMissing,
  slurmRest,
} from "../support/slurm-engine.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";
import { whyNoUv } from "../support/uv.ts";
import { makeWheel } from "../support/wheels.ts";

const skip = slurmMissing || ((await whyNoServer()) ?? false);
const EXAMPLE = join(import.meta.dirname, "../../clients/python/examples/ml_task");
const ENVIRONMENT = 4;
const LOST = 14;
const LINES = 60;

/** Logs to the run of its experiment, over MLflow's REST API, without packages of its own. */
const TRAIN = `
import json, os, urllib.request
def call(path, body):
    request = urllib.request.Request(os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/" + path,
        json.dumps(body).encode(), {"content-type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=30))
run = os.environ["MLFLOW_RUN_ID"]
for name, value in json.load(open(os.environ["MODEL_PARAMS_PATH"])).items():
    call("runs/log-parameter", {"run_id": run, "key": name, "value": str(value)})
print("rows", open(os.environ["DATASET_PATH"]).read().count("\\n") - 1)
`;

async function startWithCluster(
  folder: TemporaryFolder,
  settings: Record<string, string> = {},
  changes: object = {},
): Promise<RunningServer> {
  const cluster = {
    ...{ name: "cluster", kind: "slurm", config_file: SLURM_CONF, node_network: true },
    ...{ images: { [SLURM_IMAGE]: SLURM_ROOTFS }, ...changes },
  };
  const path = folder.at("engines.json");
  await writeFile(path, JSON.stringify({ engines: [{ name: "docker", kind: "docker" }, cluster] }));
  return await startServer({ LONGSHORE_ENGINES: path, ...settings });
}

/** What Slurm tells of a job once it has ended for Slurm, too, which is a moment after its task. */
async function endedJob(id: string): Promise<string> {
  for (const end = Date.now() + 30_000; ; await delay(100)) {
    const told = await slurm("scontrol", "show", "job", "--oneliner", id);
    if (!/JobState=(RUNNING|COMPLETING) /.test(told)) return told;
    assert.ok(Date.now() < end, told);
  }
}

describe("tasks on a Slurm cluster", { skip }, () => {
  const cleanup = new AsyncDisposableStack();
  let server: RunningServer;
  let client: Longshore;
  before(async () => {
    server = cleanup.use(await startWithCluster(cleanup.use(await TemporaryFolder.create())));
    client = cleanup.use(new Longshore(server.address));
  });
  after(async () => {
    await client?.close();
    assert.equal(await server?.stop(), 0);
    assert.deepEqual(await server?.leftovers(), []);
    assert.deepEqual(await liveJobs("longshore:"), []);
    await cleanup.disposeAsync();
  });

  test("a server killed in the middle finds its job again, and no byte of the log is lost", async () => {
    const code = `import time\nfor n in range(${LINES}):\n    print("line", n, flush=True)\n    time.sleep(0.1)`;
    const task = await client.submit({ code }, { timeout: "5m", placement: { engine: "cluster" } });
    for await (const event of task.watch()) if (event.kind === "log") break;
    await server.kill();
    await server.start();
    let output = "";
    for await (const event of task.watch())
      if (event.kind === "log") output += Buffer.from(event.data).toString();
    assert.equal(output, Array.from({ length: LINES }, (_, n) => `line ${n}\n`).join(""));
    const { attempts, result } = await task.get();
    assert.deepEqual([attempts.length, result?.exitCode], [1, 0]);
    const job = await endedJob(attempts[0]?.containerId ?? "");
    assert.match(job, /JobState=COMPLETED .*Requeue=0 /);
  });

  test("a job cancelled by somebody else is lost; a task cancelled by its owner is cancelled", async () => {
    const forever = { code: "import time; print('up', flush=True); time.sleep(3600)" };
    const lost = await client.submit(forever, { timeout: "1h", placement: { engine: "cluster" } });
    for await (const event of lost.watch()) if (event.kind === "log") break;
    await slurm("scancel", (await lost.get()).containerId);
    assert.equal((await lost.result({ reject: false })).reason, "LOST");
    const { result } = await lost.get();
    assert.equal(result?.reason, LOST);
    assert.match(result?.message ?? "", /cancelled from outside/);
    const stopped = await client.submit(forever, { timeout: "1h", placement: { engine: "cluster" } });
    for await (const event of stopped.watch()) if (event.kind === "log") break;
    await stopped.cancel({ grace: "1s" });
    assert.equal((await stopped.result({ reject: false })).reason, "CANCELLED");
  });
});

test("the ML task manager's configuration runs on its cluster, charged to its account", {
  skip: skip || mlflowMissing || (await outsideMissing()),
}, async () => {
  await using folder = await TemporaryFolder.create({ "script.py": TRAIN });
  await using neighbour = await NeighbourHost.create();
  await using mlflow = await MlflowServer.start(neighbour);
  await using server = await startWithCluster(folder, {
    LONGSHORE_TRACKING_ALIASES: `experiments=${mlflow.url}`,
    LONGSHORE_ENGINE_ALIASES: "atena02=cluster",
    LONGSHORE_IMAGE_ALIASES: `sklearn_sample_latest=${SLURM_IMAGE}`,
    LONGSHORE_INSTANCE_TYPES: "cpu=cpu:1/ram:768MB",
  });
  const args = ["submit", "--config", join(EXAMPLE, "task.json"), "--timeout", "60s", "--json"];
  const submitted = await runCli([...args, folder.at("script.py")], { server: server.address });
  assert.equal(submitted.code, 0, submitted.stderr);
  await using client = new Longshore(server.address);
  const task = client.task(JSON.parse(submitted.stdout).id);
  const outcome = await task.result({ reject: false });
  const record = await task.get();
  assert.ok(outcome.succeeded, record.result?.message + (record.result?.stderrTail ?? ""));
  assert.equal(record.result?.stdoutTail, "rows 90\n");
  const job = await slurm("scontrol", "show", "job", "--oneliner", record.containerId);
  assert.match(job, / Account=twinscie /);
  assert.match(job, / Features=cpu /);
  assert.match(job, / MinMemoryNode=816M /);
  const run = await mlflow.run(record.attempts[0]?.experimentRun?.runId ?? "");
  assert.deepEqual(run.params, { n_estimators: "2", random_state: "42" });
  const described = await runCli(["describe", task.id], { server: server.address });
  assert.match(
    described.stdout,
    /placement +engine atena02 \(cluster\) · account twinscie · instance type cpu/,
  );
});

test("a project's requirements are installed in a job, and mounted into its own", {
  skip: skip || ((await whyNoUv()) ?? false),
}, async () => {
  await using folder = await TemporaryFolder.create({
    "project/requirements.txt": "Harbour_Sample == 1.0\n",
    "project/main.py": [
      "import harbour_sample, subprocess",
      "print(harbour_sample.VALUE, subprocess.run(['harbour-hello'], capture_output=True, text=True).stdout.strip())",
      "open('/environment/x', 'w')",
    ].join("\n"),
  });
  await chmod(folder.path, 0o755);
  await makeWheel(folder.path, {
    ...{ name: "harbour-sample", version: "1.0", scripts: { "harbour-hello": "harbour_sample:main" } },
    files: { "harbour_sample/__init__.py": "VALUE = 42\ndef main():\n    print('from a command')\n" },
  });
  const offline = { LONGSHORE_BUILD_NETWORK: "none", LONGSHORE_BUILD_WHEELS: folder.path };
  // Everything by slurmrestd; without a network for anybody.
  const { url, tokenFile } = slurmRest();
  const rest = { config_file: undefined, slurmrestd: { url, token_file: tokenFile }, node_network: false };
  await using server = await startWithCluster(folder, offline, rest);
  await using client = new Longshore(server.address);
  for (const note of [/^built in [\d.]+ s: harbour-sample==1\.0$/, /^cached: harbour-sample==1\.0$/]) {
    const task = await client.submit(folder.at("project"), { placement: { engine: "cluster" } });
    const { exitCode } = await task.result({ reject: false });
    const { result, stages } = await task.get();
    assert.equal(result?.stdoutTail, "42 from a command\n", result?.message);
    assert.match(result?.stderrTail ?? "", /Read-only file system: '\/environment\/x'/);
    assert.equal(exitCode, 1);
    assert.match(stages.find(({ name }) => name === ENVIRONMENT)?.note ?? "", note);
  }
  const { engines } = await client.capabilities();
  assert.match(engines.find(({ name }) => name === "cluster")?.version ?? "", /slurmrestd v0\.0\.38/);
  assert.equal(await server.stop(), 0);
  assert.deepEqual(await server.leftovers(), []);
});
