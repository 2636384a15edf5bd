import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { GetCapabilitiesResponse, LimitSupport } from "@longshore/proto/longshore/v1/system_service";
import { judgeRuntime } from "../../clients/cli/src/runtime-floor.ts";
import { runCli } from "../support/run-cli.ts";
import { ScriptedServer } from "../support/scripted-server.ts";

const RAM = LimitSupport.fromPartial({ limit: 2, level: 1, mechanism: "cgroup v1 memory limit" });
const NO_GPU = LimitSupport.fromPartial({
  limit: 4,
  level: 3,
  mechanism: "the host offers no GPU",
  advice: "install one",
});
const WEAK_PIDS = LimitSupport.fromPartial({
  limit: 5,
  level: 2,
  mechanism: "host threads",
  advice: "use container",
});

async function doctor(first: LimitSupport[], runtime: string, ...more: string[]) {
  await using server = await ScriptedServer.start();
  server.capabilities = GetCapabilitiesResponse.fromPartial({
    version: "0.1.0",
    engines: [
      {
        name: "docker",
        kind: "docker",
        version: "Docker 28",
        tiers: [
          { isolation: 1, runtime, networks: [1], limits: first },
          { isolation: 2, runtime: "runsc 2024", networks: [1], limits: [RAM, WEAK_PIDS] },
        ],
      },
    ],
  });
  return await runCli(["doctor", ...more], { server: server.address });
}

describe("longshore doctor", () => {
  test("a sound server: 0, with what could be better and what is not there", async () => {
    const { code, stdout } = await doctor([RAM, NO_GPU], "runc v1.3.3-0-gd842d771");
    assert.equal(code, 0);
    assert.match(stdout, /^ {2}container \(default\) {2}runc v1\.3\.3/m);
    assert.match(stdout, /^ {4}holds +ram +enforced +cgroup v1 memory limit$/m);
    assert.match(stdout, /^ {4}absent +gpu +unsupported +the host offers no GPU$/m);
    assert.match(stdout, /^ {4}weak +processes +advisory +host threads\n {12}to do: use container$/m);
    assert.match(stdout, /^everything that every task is promised holds\n1 thing could be better/m);
  });

  test("a limit of the default tier that does not hold: 1, named at the end with what to do", async () => {
    const { code, stdout } = await doctor([{ ...RAM, level: 2, advice: "turn swap off" }], "runc 1.4.0");
    assert.equal(code, 1);
    assert.match(stdout, /^broken: ram in container: cgroup v1 memory limit; turn swap off$/m);
  });

  test("an engine that does not answer: 1, with what it says of it", async () => {
    await using server = await ScriptedServer.start();
    const unavailable = "engine atena02 is tried again in a moment: connect ECONNREFUSED";
    server.capabilities = GetCapabilitiesResponse.fromPartial({
      engines: [{ name: "atena02", kind: "kubernetes", unavailable }],
    });
    const { code, stdout } = await runCli(["doctor"], { server: server.address });
    assert.equal(code, 1);
    assert.match(stdout, /^engine atena02\n {4}broken +engine +away +engine atena02 is tried again/m);
    assert.match(stdout, /^broken: engine atena02: .*ECONNREFUSED; look at what runs it/m);
    const told = await runCli(["capabilities"], { server: server.address });
    assert.match(told.stdout, /^engine atena02 {2}kubernetes\n {2}away +engine atena02 is tried again .*$/m);
  });

  test("a runc with a known way out: 1, in JSON too", async () => {
    const { code, stdout } = await doctor([RAM], "runc v1.1.11-0-g4bccb38c", "--json");
    assert.equal(code, 1);
    const told: { broken: number; findings: { subject: string; verdict: string }[] } = JSON.parse(stdout);
    assert.equal(told.broken, 1);
    assert.equal(told.findings.find(({ subject }) => subject === "runc")?.verdict, "broken");
  });
});

test("what a version of runc says", () => {
  const verdicts = [
    "runc 1.1.5",
    "runc 1.1.5+ds1-1+deb12u1",
    "runc 1.1.5+ds1-1",
    "runc 1.1.4-0ubuntu1~22.04.3",
    "runc v1.1.12-0-g51d5e946",
    "runc 1.2.7",
    "runc 1.2.8",
    "runc 1.3.2",
    "runc 2.0.0",
    "runc",
  ].map((runtime) => {
    const verdict = judgeRuntime(runtime);
    return [verdict?.holds, verdict?.advice === ""];
  });
  assert.deepEqual(verdicts, [
    [false, false],
    [true, false],
    [false, false],
    [false, false],
    [true, false],
    [true, false],
    [true, true],
    [true, false],
    [true, true],
    [false, false],
  ]);
  assert.match(judgeRuntime("runc 1.1.5+ds1-1+deb12u1")?.sentence ?? "", /DSA-5615-1/);
  assert.match(judgeRuntime("runc 1.1.4-0ubuntu1~22.04.3")?.advice ?? "", /distributor/);
  assert.equal(judgeRuntime("runsc release-2024"), undefined);
});
