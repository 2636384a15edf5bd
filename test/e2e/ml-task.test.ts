/** The ML task manager's configuration, from the command line and from Python to a real MLflow server and back. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { Longshore } from "@longshore/client";
import { EXECUTOR_IMAGE } from "../support/docker-engine.ts";
import { MlflowServer, mlflowMissing } from "../support/mlflow-server.ts";
import { NeighbourHost } from "../support/neighbour-host.ts";
import { outsideMissing } from "../support/outside-network.ts";
import { runCli } from "../support/run-cli.ts";
import { type RunningServer, startServer, whyNoServer } from "../support/running-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";
import { indexSettings, whyNoIndex } from "../support/uv.ts";

const PYTHON_CLIENT = join(import.meta.dirname, "../../clients/python");
const EXAMPLE = join(PYTHON_CLIENT, "examples/ml_task");
const python = process.env.LONGSHORE_TEST_PYTHON ?? "";
const noPackages =
  (await whyNoIndex()) ??
  (python === "" && "LONGSHORE_TEST_PYTHON names no Python with the client's packages");
const skip = mlflowMissing || ((await whyNoServer()) ?? false) || (await outsideMissing());

/** The same without packages of its own, over MLflow's REST API. */
const BARE = `
import json, os, urllib.request
def call(path, body):
    request = urllib.request.Request(os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/" + path,
        json.dumps(body).encode(), {"content-type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=30))
run = os.environ["MLFLOW_RUN_ID"]
for name, value in json.load(open(os.environ["MODEL_PARAMS_PATH"])).items():
    call("runs/log-parameter", {"run_id": run, "key": name, "value": str(value)})
rows = open(os.environ["DATASET_PATH"]).read().count("\\n") - 1
call("runs/log-metric", {"run_id": run, "key": "rows", "value": rows, "timestamp": 1})
print("rows", rows)
`;

describe("the ML task manager's configuration", { skip }, () => {
  const cleanup = new AsyncDisposableStack();
  let mlflow: MlflowServer;
  let server: RunningServer;
  before(async () => {
    const neighbour = cleanup.use(await NeighbourHost.create());
    mlflow = cleanup.use(await MlflowServer.start(neighbour));
    server = cleanup.use(
      await startServer({
        ...indexSettings(),
        LONGSHORE_TRACKING_ALIASES: `experiments=${mlflow.url}`,
        LONGSHORE_ENGINE_ALIASES: "atena02=docker",
        LONGSHORE_IMAGE_ALIASES: `sklearn_sample_latest=${EXECUTOR_IMAGE}`,
        LONGSHORE_INSTANCE_TYPES: "cpu=cpu:1/ram:768MB",
      }),
    );
  });
  after(() => cleanup.disposeAsync());

  test("runs on its cluster, tracks what its script logs, and its record leads to the run", async () => {
    const args = ["--config", join(EXAMPLE, "task.json"), "--timeout", "60s", "--json"];
    const given = await runCli(["submit", ...args, "-"], { server: server.address, input: BARE });
    assert.equal(given.code, 2, "standard input is no script of a configuration");
    await using folder = await TemporaryFolder.create({
      "script.py": BARE,
    });
    const submitted = await runCli(["submit", ...args, folder.at("script.py")], {
      server: server.address,
    });
    assert.equal(submitted.code, 0, submitted.stderr);
    const { id } = JSON.parse(submitted.stdout);
    await using client = new Longshore(server.address);
    const outcome = await client.task(id).result({ reject: false });
    const record = await client.task(id).get();
    assert.ok(outcome.succeeded, record.result?.stderrTail);
    assert.equal(record.result?.stdoutTail, "rows 90\n");
    assert.equal(record.effectiveResources?.ramBytes, 768n * 2n ** 20n);
    const runId = record.attempts[0]?.experimentRun?.runId ?? "";
    const run = await mlflow.run(runId);
    assert.deepEqual(run.params, { n_estimators: "2", random_state: "42" });
    assert.equal(run.metrics.rows, 90);
    assert.equal(run.tags["longshore.task_id"], id);
    const described = await runCli(["describe", id], { server: server.address });
    assert.match(
      described.stdout,
      /placement +engine atena02 \(docker\) · account twinscie · instance type cpu/,
    );
    assert.match(
      described.stdout,
      new RegExp(
        `experiment +atena_test at experiments · run ${mlflow.url}/#/experiments/\\d+/runs/${runId}`,
      ),
    );
  });

  test("has its names told by the server", async () => {
    const shown = await runCli(["capabilities"], { server: server.address });
    assert.match(shown.stdout, /^image names +sklearn_sample_latest$/m);
    assert.match(shown.stdout, /^instance type +cpu {2}1 CPU · 768MB RAM$/m);
    assert.match(shown.stdout, /^ +other names +atena02$/m);
    assert.match(shown.stdout, /^ +tracking +experiments$/m);
  });

  test("that names what is not there is refused in its own words, all at once", async () => {
    await using folder = await TemporaryFolder.create({
      "script.py": "print(1)",
      "task.json": JSON.stringify({
        runner_location: "azure",
        tracking_uri: "elsewhere",
        experiment_name: "e",
        clusters: { azure: { infra_config: { instance_type: "huge" } } },
      }),
    });
    const refused = await runCli(["submit", "--config", folder.at("task.json"), folder.at("script.py")], {
      server: server.address,
    });
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, /^error: 3 problems with the request/m);
    assert.match(refused.stderr, /runner_location +"azure" is no engine .* there are docker, atena02/);
    assert.match(refused.stderr, /instance_type +"huge" is none of this server's: cpu/);
    assert.match(refused.stderr, /tracking_uri +"elsewhere" is neither .* nor one of .* experiments/);
  });

  test("trains the example with scikit-learn and MLflow's own client, from Python", {
    skip: noPackages,
  }, async () => {
    const submit = `
import sys, longshore
task = longshore.Client(sys.argv[1]).submit_config("task.json", ".", timeout="120s")
task.result()
print(task.id)
print("".join(task.logs()))
`;
    const { stdout } = await promisify(execFile)(python, ["-c", submit, server.address], {
      cwd: EXAMPLE,
      env: { ...process.env, PYTHONPATH: join(PYTHON_CLIENT, "src"), PYTHONDONTWRITEBYTECODE: "1" },
    });
    const [id = ""] = stdout.split("\n");
    await using client = new Longshore(server.address);
    const record = await client.task(id).get();
    const run = await mlflow.run(record.attempts[0]?.experimentRun?.runId ?? "");
    assert.match(stdout, /accuracy [01]\.\d+, tracked as run/);
    assert.deepEqual(run.params, { n_estimators: "2", random_state: "42" });
    assert.ok(Number(run.metrics.accuracy) > 0.7, JSON.stringify(run.metrics));
    assert.equal(run.status, "FINISHED");
    assert.equal(run.tags["longshore.task_id"], id);
  });
});
