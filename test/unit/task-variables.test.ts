import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { stageSpanId } from "#server/application/identity.ts";
import { taskVariables } from "#server/application/task-variables.ts";
import { readConfig } from "#server/config.ts";
import { samplePolicy } from "../support/sample-policy.ts";
import { sampleAttempt, sampleTask } from "../support/sample-task.ts";

const ENDPOINT = "http://collector.example:4317";
const TELEMETRY = { taskTelemetry: new Map([["OTEL_EXPORTER_OTLP_ENDPOINT", ENDPOINT]]) };

function variablesOf(network: "NONE" | "EGRESS", env: Record<string, string> = {}) {
  const task = sampleTask(1, { network }, { env });
  return {
    task,
    variables: taskVariables(task, sampleAttempt(2), [["TOKEN", "s3cr3t"]], samplePolicy(TELEMETRY)),
  };
}

describe("a task's variables", () => {
  test("name the run of this very attempt as what its spans continue, whatever its owner gave", () => {
    const { task, variables } = variablesOf("NONE", { TRACEPARENT: "mine", A: "1", TOKEN: "plain" });
    const run = `00-${task.traceId}-${stageSpanId(task.id, "run", 2)}-01`;
    assert.deepEqual(variables, { A: "1", TOKEN: "s3cr3t", TRACEPARENT: run });
  });

  test("hold the OTEL_* of the operator where a collector can be reached; the owner's own win", () => {
    const { task, variables } = variablesOf("EGRESS", { OTEL_EXPORTER_OTLP_ENDPOINT: "http://mine:1" });
    assert.equal(variables.OTEL_EXPORTER_OTLP_ENDPOINT, "http://mine:1");
    assert.equal(variables.OTEL_RESOURCE_ATTRIBUTES, `longshore.task.id=${task.id},longshore.attempt=2`);
    assert.equal(variablesOf("EGRESS").variables.OTEL_EXPORTER_OTLP_ENDPOINT, ENDPOINT);
  });

  test("are configured by LONGSHORE_TASK_OTEL_*, and by nothing that only looks like it", () => {
    const env = { LONGSHORE_TASK_OTEL_EXPORTER_OTLP_ENDPOINT: ENDPOINT, LONGSHORE_TASK_OTEL_EMPTY: "" };
    assert.deepEqual(readConfig(env).policy.taskTelemetry, TELEMETRY.taskTelemetry);
    assert.throws(() => readConfig({ LONGSHORE_TASK_HOME: "/" }), /LONGSHORE_TASK_HOME is no setting/);
  });
});
