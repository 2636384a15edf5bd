/** The configuration file of the ML task manager, as both the client and the command line read it. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { status } from "@grpc/grpc-js";
import { BadSource, InvalidRequest, Longshore } from "@longshore/client";
import { runCli } from "../support/run-cli.ts";
import { badRequest, richError, ScriptedServer } from "../support/scripted-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

/** As the seeds have it, character for character. */
const CONFIG = await readFile(
  join(import.meta.dirname, "../../clients/python/examples/ml_task/task.json"),
  "utf8",
);
const CSV = "alcohol,class\n14.2,0\n";
const SCRIPT = "print('hello')\n";

function files(config: unknown, more: Record<string, string> = {}): Promise<TemporaryFolder> {
  const text = typeof config === "string" ? config : JSON.stringify(config);
  return TemporaryFolder.create({
    "task.json": text,
    "wine_classification.csv": CSV,
    "script.py": SCRIPT,
    ...more,
  });
}

async function problemsOf(config: unknown, more: Record<string, string> = {}): Promise<string[]> {
  await using folder = await files(config, more);
  await using client = new Longshore("127.0.0.1:1");
  try {
    await client.submitConfig(folder.at("task.json"), folder.at("script.py"));
  } catch (error) {
    assert.ok(error instanceof InvalidRequest, String(error));
    return error.violations.map(
      ({ field, description }) => `${field}: ${description.replaceAll(folder.path, "")}`,
    );
  }
  throw new Error("was taken");
}

describe("a task's configuration file", () => {
  test("becomes placement, image, experiment, variables and inputs", async () => {
    await using folder = await files(CONFIG);
    await using server = await ScriptedServer.start();
    await using client = new Longshore(server.address);
    await client.submitConfig(folder.at("task.json"), folder.at("script.py"), {
      ram: "1GB",
      env: { A: "1" },
    });
    const [request] = server.created;
    assert.ok(request !== undefined);
    assert.equal(request.code, SCRIPT);
    assert.equal(request.displayName, "script.py");
    assert.deepEqual(request.placement, {
      engine: "atena02",
      account: "twinscie",
      partition: "",
      instanceType: "cpu",
    });
    assert.equal(request.image, "sklearn_sample_latest");
    assert.equal(request.resources?.ram, "1GB");
    assert.deepEqual(request.experiment, { trackingUri: "experiments", name: "atena_test" });
    assert.deepEqual(request.env, {
      A: "1",
      DATASET_PATH: "wine_classification.csv",
      MODEL_PARAMS: '{"n_estimators":2,"random_state":42}',
      MODEL_PARAMS_PATH: "model_params.json",
    });
    const inputs = request.inputs.map(({ path, source }) => {
      assert.ok(source?.$case === "blobSha256");
      return [path, server.blobs.get(source.value)?.bytes.toString()];
    });
    assert.deepEqual(inputs, [
      ["model_params.json", '{\n  "n_estimators": 2,\n  "random_state": 42\n}\n'],
      ["wine_classification.csv", CSV],
    ]);
  });

  test("names its script itself, in a folder or beside itself", async () => {
    const script = { script_path: "path/to/script.py" };
    await using folder = await files(script, { "path/to/script.py": "print(2)" });
    await using server = await ScriptedServer.start();
    await using client = new Longshore(server.address);
    await client.submitConfig(folder.at("task.json"));
    await client.submitConfig(folder.at("task.json"), folder.path);
    assert.equal(server.created[0]?.code, "print(2)");
    assert.equal(server.created[1]?.entrypoint, "path/to/script.py");
    assert.notEqual(server.created[1]?.archiveSha256, "");
  });

  test("takes datasets by names of their own: a file, or a blob that is stored", async () => {
    await using folder = await files({ dataset_name: "wine" }, { "data/w.csv": "a\n" });
    await using server = await ScriptedServer.start();
    await using client = new Longshore(server.address);
    const digest = "a".repeat(64);
    for (const wine of [folder.at("data/w.csv"), `sha256:${digest}`])
      await client.submitConfig(folder.at("task.json"), folder.at("script.py"), { datasets: { wine } });
    const sources = server.created.map(({ inputs }) => inputs[1]?.source?.value);
    assert.equal(server.blobs.get(String(sources[0]))?.bytes.toString(), "a\n");
    assert.equal(sources[1], digest);
    assert.ok(server.created.every(({ inputs }) => inputs[1]?.path === "wine.csv"));
  });

  test("that is wrong has everything named at once, with what to do", async () => {
    const problems = await problemsOf({
      dataset_name: "cheese",
      model_params: [1],
      runner_location: "aws",
      model_tracking: true,
      tracking_uri: "",
      script_name: "other.py",
      script_path: "script.py",
      clusters: { atena02: {}, azure: {} },
      colour: "red",
      shape: "round",
    });
    assert.deepEqual(problems, [
      "colour: is no field of a task's configuration; it has dataset_name, model_params, runner_location, model_tracking, tracking_uri, experiment_name, script_path, script_name, clusters",
      "shape: is none, either",
      "model_params: must be an object in braces",
      'dataset_name: "cheese" is not there: no file /cheese.csv, and no such name in LONGSHORE_DATASETS (none)',
      'runner_location: "aws" is not in clusters, which has atena02, azure',
      "tracking_uri: must be a text that is not empty",
      "experiment_name: is missing, and model_tracking needs it; give it, or set model_tracking to false",
      'script_name: "other.py" is not script_path "script.py"; they are one, so give one of them',
    ]);
  });

  const wrong: readonly [string, unknown, RegExp][] = [
    [
      "a cluster of several is not chosen",
      { clusters: { a: {}, b: {} } },
      /^runner_location: is missing; choose one of a, b$/,
    ],
    [
      "the infrastructure has a field too many",
      { clusters: { a: { infra_config: { image: "x" } } } },
      /^clusters\.a\.infra_config\.image: is no field of infra_config/,
    ],
    ["a dataset leads out", { dataset_name: "../secret" }, /^dataset_name: "\.\.\/secret" is no name/],
    [
      "the script is another",
      { script_path: "a/train.py" },
      /^script_path: "a\/train\.py" is not the script/,
    ],
  ];
  for (const [name, config, message] of wrong)
    test(`is refused where ${name}`, async () => {
      const problems = await problemsOf(config);
      assert.equal(problems.length, 1, problems.join("; "));
      assert.match(problems[0] ?? "", message);
    });

  for (const [name, text, message] of [
    ["no JSON", "{dataset_name", /is not JSON/],
    ["no object", "[1]", /is not a JSON object/],
  ] as const)
    test(`that is ${name} is named`, async () => {
      await using folder = await files(text);
      await using client = new Longshore("127.0.0.1:1");
      await assert.rejects(
        client.submitConfig(folder.at("task.json")),
        (error) => error instanceof BadSource && message.test(error.message),
      );
      await assert.rejects(client.submitConfig(folder.at("none.json")), /no such configuration file/);
    });

  test("is submitted by the command line, which says the server's refusals in the file's words", async () => {
    await using folder = await files(CONFIG);
    await using server = await ScriptedServer.start();
    const args = ["submit", "--config", folder.at("task.json"), folder.at("script.py"), "--cpu", "2"];
    const made = await runCli(args, { server: server.address });
    assert.equal(made.code, 0, made.stderr);
    assert.equal(server.created[0]?.placement?.engine, "atena02");
    assert.equal(server.created[0]?.resources?.cpu, "2");
    server.refuse = (method) => {
      if (method !== "CreateTask") return undefined;
      const details = badRequest([
        { field: "placement.engine", description: "there is docker" },
        { field: "experiment.tracking_uri", description: "is none" },
      ]);
      return richError(status.INVALID_ARGUMENT, "INVALID_REQUEST", "2 problems", [details]);
    };
    const refused = await runCli(args, { server: server.address });
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, /runner_location +there is docker/);
    assert.match(refused.stderr, /tracking_uri +is none/);
  });
});
