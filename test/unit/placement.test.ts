/** Names that an operator gives to engines, images and kinds of machines. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Task } from "@longshore/proto/longshore/v1/task.ts";
import { ConfigError, readConfig } from "#server/config.ts";
import { InvalidRequest, SystemFault } from "#server/domain/errors.ts";
import { parseInstanceType } from "#server/domain/instance-type.ts";
import { GIBIBYTE } from "#server/domain/resources.ts";
import { describePlacement } from "../../clients/cli/src/output/placement.ts";
import { ApplicationBench } from "../support/application-bench.ts";
import { samplePolicy } from "../support/sample-policy.ts";

const small = { cpu: "0.5", gpu: "", ram: "1GB", storage: "", gpuModel: "" };
const policy = samplePolicy({
  imageAliases: new Map([["sklearn_sample_latest", "longshore/executor:dev"]]),
  instanceTypes: new Map([["small", small]]),
});

describe("the operator's names", () => {
  test("are read from the settings", () => {
    const config = readConfig({
      LONGSHORE_ENGINE_ALIASES: "atena02=docker, aws=docker",
      LONGSHORE_IMAGE_ALIASES: "sklearn_sample_latest=registry.example:5000/sklearn@sha256:ab",
      LONGSHORE_INSTANCE_TYPES: "small=cpu:0.5/ram:1GB,large=gpu:1/storage:100GB",
    });
    assert.deepEqual([...config.engineAliases.keys()], ["atena02", "aws"]);
    assert.equal(
      config.policy.imageAliases.get("sklearn_sample_latest"),
      "registry.example:5000/sklearn@sha256:ab",
    );
    assert.deepEqual(config.policy.instanceTypes.get("small"), small);
  });

  test("that are wrong are named together", () => {
    const wrong = {
      LONGSHORE_ENGINE_ALIASES: "atena02",
      LONGSHORE_IMAGE_ALIASES: "a=x,a=y,b=",
      LONGSHORE_INSTANCE_TYPES: "small=cpu:two,odd=disk:1GB",
    };
    assert.throws(
      () => readConfig(wrong),
      (error) => {
        assert.ok(error instanceof ConfigError);
        for (const part of ["holds atena02,", "holds a twice, b=,", "holds small=cpu:two, odd=disk:1GB,"])
          assert.ok(error.message.includes(part), error.message);
        return true;
      },
    );
  });

  for (const text of ["cpu:1/cpu:2", "cpu:", "cpu", "", "ram:1", "gpu:0.5", "cpu:1:2"])
    test(`"${text}" is no kind of machine`, () => assert.equal(parseInstanceType(text), undefined));

  test("of engines must stand for engines that there are, and hide none", async () => {
    for (const [alias, name] of [
      ["atena02", "slurm"],
      ["fake", "fake"],
    ] as const) {
      const engineAliases = new Map([[alias, name]]);
      await assert.rejects(
        async () => (await ApplicationBench.open({ engineAliases }))[Symbol.asyncDispose](),
        (error) => error instanceof SystemFault && error.message.includes(`${alias}=${name}`),
      );
    }
  });

  test("take a task to its engine, image and resources, and its record keeps what was asked", async () => {
    await using bench = await ApplicationBench.open({
      policy,
      engineAliases: new Map([["atena02", "fake"]]),
    });
    const task = await bench.create({
      code: "print(1)",
      resources: { cpu: "0.25", gpu: "", ram: "", storage: "", gpuModel: "" },
      engine: "atena02",
      account: "twinscie",
      instanceType: "small",
      image: "sklearn_sample_latest",
    });
    const ended = await bench.finished(task.id);
    assert.equal(ended.state, "SUCCEEDED");
    assert.equal(ended.attempts[0]?.engine, "fake");
    assert.equal(ended.image, "longshore/executor:dev");
    assert.deepEqual([ended.limits.cpuMillis, ended.limits.ramBytes], [250, GIBIBYTE]);
    const { engine, account, instanceType, image } = ended.spec;
    assert.deepEqual(
      [engine, account, instanceType, image],
      ["atena02", "twinscie", "small", "sklearn_sample_latest"],
    );
  });

  test("that a task gets wrong are all named, with what there is", async () => {
    await using bench = await ApplicationBench.open({
      policy,
      engineAliases: new Map([["atena02", "fake"]]),
    });
    const wrong = { code: "print(1)", engine: "atena03", instanceType: "huge", account: "a b" };
    await assert.rejects(bench.create(wrong), (error) => {
      assert.ok(error instanceof InvalidRequest);
      assert.deepEqual(error.violations.map(({ field }) => field).sort(), [
        "placement.account",
        "placement.engine",
        "placement.instance_type",
      ]);
      assert.match(error.message, /there are fake, atena02/);
      assert.match(error.message, /"huge" is none of this server's: small/);
      return true;
    });
  });
});

describe("longshore describe", () => {
  test("shows the placement that was asked for, and the engine behind the name", () => {
    const record = Task.fromPartial({
      spec: { placement: { engine: "atena02", account: "twinscie", instanceType: "cpu" } },
      attempts: [{ number: 1, engine: "docker" }],
    });
    assert.equal(describePlacement(record), "engine atena02 (docker) · account twinscie · instance type cpu");
    assert.equal(describePlacement(Task.fromPartial({ attempts: [{ engine: "docker" }] })), undefined);
  });
});
