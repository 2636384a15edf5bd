import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { FieldViolation } from "#server/domain/errors.ts";
import type { TaskSpec } from "#server/domain/task.ts";
import {
  checkExperiment,
  namedServerOf,
  networkOf,
  parseTrackingUrl,
  type TrackingPolicy,
  trackingServerOf,
  trackingVariables,
} from "#server/domain/tracking.ts";
import { SAMPLE_SPEC } from "../support/sample-task.ts";

const server = { name: "experiments", url: "http://10.1.2.3:5000", host: "10.1.2.3", port: 5000 };
const policy = { trackingServers: new Map([[server.name, server]]), publicTracking: false };

function spec(trackingUri: string, changes: Partial<TaskSpec> = {}): TaskSpec {
  return { ...SAMPLE_SPEC, experiment: { trackingUri, name: "atena_test" }, ...changes };
}

function wrong(asked: TaskSpec, rules: TrackingPolicy = policy): string[] {
  const violations: FieldViolation[] = [];
  checkExperiment(asked, rules, violations);
  return violations.map(({ field, description }) => `${field}: ${description}`);
}

describe("the URL of a tracking server", () => {
  test("is read with its host and port, and loses its last slash", () => {
    assert.deepEqual(parseTrackingUrl("https://MLflow.example/base/"), {
      url: "https://mlflow.example/base",
      host: "mlflow.example",
      port: 443,
    });
    assert.equal(parseTrackingUrl("http://10.1.2.3:5000/")?.url, "http://10.1.2.3:5000");
  });

  for (const text of [
    ...[
      "",
      "experiments",
      "file:///mlruns",
      "databricks",
      "http://user:secret@host:5000",
      "http://host/?a=1",
    ],
    ...[
      "http://localhost:5000",
      "http://127.0.0.1:5000",
      "http://2130706433",
      "http://[::1]:5000",
      "http://",
    ],
    ...["http://a..b", "http://-a", "http://ho%20st", "http://host:99999"],
  ])
    test(`${JSON.stringify(text)} is none`, () => assert.equal(parseTrackingUrl(text), undefined));
});

describe("a task's experiment", () => {
  test("names its server by name or URL, and gives the sandbox the way there and nothing more", () => {
    for (const uri of ["experiments", "http://10.1.2.3:5000", "http://10.1.2.3:5000/"]) {
      const asked = spec(uri);
      assert.deepEqual(wrong(asked), []);
      assert.equal(trackingServerOf(asked, policy), server);
      assert.equal(networkOf(asked), "TRACKING");
      assert.deepEqual(trackingVariables(asked, server, { experimentRun: null }), {
        MLFLOW_TRACKING_URI: "http://10.1.2.3:5000",
        MLFLOW_EXPERIMENT_NAME: "atena_test",
        MLFLOW_DISABLE_TELEMETRY: "true",
      });
    }
    assert.equal(networkOf(SAMPLE_SPEC), "NONE");
  });

  test("may be tracked at any address that network egress reaches", () => {
    assert.deepEqual(wrong(spec("https://mlflow.example", { network: "EGRESS" })), []);
    assert.deepEqual(wrong(spec("experiments", { network: "EGRESS" })), []);
  });

  test("may be tracked at any public address where the operator lets tasks out, and nowhere private", () => {
    const open = { ...policy, publicTracking: true };
    const asked = spec("https://mlflow.example");
    assert.deepEqual(wrong(asked, open), []);
    assert.equal(networkOf(asked), "TRACKING");
    assert.deepEqual(trackingServerOf(asked, open), {
      name: "",
      url: "https://mlflow.example",
      host: "mlflow.example",
      port: 443,
    });
    assert.equal(namedServerOf(asked, open), undefined);
    assert.equal(trackingServerOf(asked, policy), undefined);
    for (const address of ["10.1.2.4", "169.254.169.254", "192.168.1.1"])
      assert.equal(wrong(spec(`http://${address}:5000`), open).length, 1, address);
  });

  test("that cannot be tracked is refused with what to do", () => {
    const cases: readonly [TaskSpec, RegExp][] = [
      [spec("https://mlflow.example"), /^experiment.tracking_uri: .* tracking servers: experiments; use one/],
      [spec("experiment"), /^experiment.tracking_uri: "experiment" is neither .* nor one of .*experiments$/],
      [spec("http://u:p@mlflow.example", { network: "EGRESS" }), /credentials, which go into secret_env/],
      [spec(""), /^experiment.tracking_uri: is empty/],
      [spec("experiments", { network: "NONE" }), /^network: none keeps the task from its tracking server/],
      [spec("experiments", { env: { MLFLOW_RUN_ID: "x" } }), /^env\[MLFLOW_RUN_ID\]: is made of experiment/],
      [{ ...SAMPLE_SPEC, network: "TRACKING" }, /^network: tracking .* give experiment, too/],
      [spec("experiments", { experiment: { trackingUri: "experiments", name: "a\nb" } }), /^experiment.name/],
    ];
    for (const [asked, message] of cases) {
      const problems = wrong(asked);
      assert.equal(problems.length, 1, problems.join("; "));
      assert.match(problems[0] ?? "", message);
    }
  });
});
