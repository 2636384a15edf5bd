import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { CallGate } from "#server/adapters/docker/call-gate.ts";
import { containerLimits, gvisorLimits, type LimitFacts } from "#server/adapters/docker/capabilities.ts";
import type { HostFacts } from "#server/adapters/docker/daemon.ts";
import { parseGpus } from "#server/adapters/docker/gpus.ts";
import { containerName } from "#server/adapters/docker/naming.ts";
import { UidPool } from "#server/adapters/sandbox/uids.ts";
import { InvalidRequest, Unavailable } from "#server/domain/errors.ts";
import { specMessage } from "#server/domain/spec-message.ts";
import { sampleRunnerSpec, sampleShape } from "../contract/engine-under-test.ts";

describe("UidPool", () => {
  test("gives each live sandbox a uid of its own, and rests a freed one", () => {
    const uids = new UidPool({ first: 100, count: 3 });
    assert.deepEqual(
      ["a", "b"].map((id) => uids.acquire(id)),
      [100, 101],
    );
    uids.release("a");
    uids.release("a");
    assert.equal(uids.acquire("c"), 102);
    assert.equal(uids.acquire("d"), 100);
    assert.throws(() => uids.acquire("e"), Unavailable);
  });

  test("keeps uids of sandboxes that were there before", () => {
    const uids = new UidPool({ first: 100, count: 2 });
    uids.reserve("old", 100);
    assert.equal(uids.acquire("new"), 101);
    assert.throws(() => uids.acquire("more"), Unavailable);
    uids.release("old");
    assert.equal(uids.acquire("more"), 100);
  });
});

describe("CallGate", () => {
  test("lets so many in, urgent calls before patient ones, failed ones too", async () => {
    const gate = new CallGate(1);
    const order: string[] = [];
    const first = Promise.withResolvers<void>();
    const calls = [
      gate.run(() => first.promise),
      gate.run(async () => void order.push("patient"), "patient"),
      gate.run(async () => {
        order.push("urgent");
        throw new Error("refused");
      }),
      gate.run(async () => void order.push("urgent too")),
    ];
    const settled = Promise.allSettled(calls);
    assert.deepEqual(order, []);
    first.resolve();
    await settled;
    assert.deepEqual(order, ["urgent", "urgent too", "patient"]);
  });
});

test("CallGate lets a patient call through although urgent ones never end", async () => {
  const gate = new CallGate(1);
  const order: string[] = [];
  await Promise.all([
    gate.run(async () => void order.push("first")),
    gate.run(async () => void order.push("patient"), "patient"),
    ...Array.from({ length: 20 }, () => gate.run(async () => void order.push("urgent"))),
  ]);
  assert.equal(order.indexOf("patient"), 5);
});

describe("parseGpus", () => {
  test("reads what nvidia-smi prints", () => {
    const csv = [
      "GPU-5f1f3d8e-2b8f-4c11-9a53-0a3b7c1d2e4f, NVIDIA H200, 143771",
      "GPU-00000000-1111-2222-3333-444444444444, NVIDIA A100-SXM4-80GB, [N/A]",
      "",
    ].join("\n");
    assert.deepEqual(parseGpus(csv), [
      {
        id: "GPU-5f1f3d8e-2b8f-4c11-9a53-0a3b7c1d2e4f",
        model: "NVIDIA H200",
        memoryBytes: 143_771 * 2 ** 20,
      },
      { id: "GPU-00000000-1111-2222-3333-444444444444", model: "NVIDIA A100-SXM4-80GB", memoryBytes: 0 },
    ]);
  });

  test("finds nothing in an error message", () => {
    assert.deepEqual(
      parseGpus("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."),
      [],
    );
    assert.deepEqual(parseGpus("No devices were found\n"), []);
  });
});

describe("limits of a host", () => {
  const host: HostFacts = {
    engineVersion: "20.10.24",
    cpus: 2,
    memoryBytes: 2 ** 34,
    runtimes: new Map(),
    runcVersion: "1.1.5",
    cgroupVersion: "1",
    memoryLimit: true,
    swapLimit: true,
    cpuQuota: true,
    pidsLimit: true,
    liveRestore: true,
  };
  const facts: LimitFacts = {
    host,
    probe: { storage: "loop", storageAdvice: "" },
    gpus: [],
    hostSwapBytes: 0,
    noEgress: "",
  };
  const gvisor = { runtime: "runsc", ignoresCgroups: true, withoutNetwork: true, cgroups: undefined };
  const levels = (changes: Partial<LimitFacts>) =>
    Object.fromEntries(
      Object.entries(containerLimits({ ...facts, ...changes })).map(([limit, { level }]) => [limit, level]),
    );

  test("all but the GPU hold on a full host", () => {
    const weak = Object.entries(levels({})).filter(([, level]) => level !== "ENFORCED");
    assert.deepEqual(weak, [["GPU", "UNSUPPORTED"]]);
  });

  test("what is missing on a host is said, with advice", () => {
    assert.equal(levels({ host: { ...host, memoryLimit: false } }).RAM, "UNSUPPORTED");
    assert.equal(levels({ host: { ...host, swapLimit: false }, hostSwapBytes: 1 }).RAM, "ADVISORY");
    assert.equal(levels({ host: { ...host, swapLimit: false } }).RAM, "ENFORCED");
    assert.equal(levels({ host: { ...host, cpuQuota: false } }).CPU, "ADVISORY");
    assert.equal(levels({ host: { ...host, pidsLimit: false } }).PROCESSES, "UNSUPPORTED");
    assert.equal(levels({ probe: { storage: "engine-tmpfs", storageAdvice: "x" } }).STORAGE, "ADVISORY");
    assert.equal(levels({ gpus: [{ id: "GPU-1", model: "m", memoryBytes: 1 }] }).GPU, "ENFORCED");
  });

  test("gVisor outside of control groups promises nothing that the host would have to hold", () => {
    const limits = gvisorLimits(facts, gvisor);
    assert.deepEqual(
      [limits.CPU.level, limits.RAM.level, limits.PROCESSES.level],
      ["ADVISORY", "ADVISORY", "ADVISORY"],
    );
    assert.equal(gvisorLimits(facts, { ...gvisor, ignoresCgroups: false }).RAM.level, "ENFORCED");
  });
});

describe("specMessage", () => {
  const shape = sampleShape(`sha256:${"a".repeat(64)}`);

  test("is a length and the contract's JSON", () => {
    const spec = sampleRunnerSpec(shape, {
      program: { kind: "module", module: "pkg.mod", function: null },
      args: ["ü"],
      deadline: new Date(1234),
    });
    const message = specMessage(spec, 77);
    assert.equal(message.readUInt32BE(0), message.length - 4);
    const json: Record<string, unknown> = JSON.parse(message.subarray(4).toString());
    assert.deepEqual(Object.keys(json), [
      "version",
      "attempt_id",
      "program",
      "code",
      "args",
      "env",
      "stdin",
      "working_directory",
      "input_bytes",
      "outputs",
      "stop_grace_ms",
      "spans",
      "limits",
    ]);
    assert.deepEqual(json.program, { module: "pkg.mod", function: null });
    assert.equal(json.input_bytes, 77);
    assert.deepEqual(json.limits, {
      run_ms: 20_000,
      deadline_unix_ms: 1234,
      log_bytes: 16_777_216,
      artifact_bytes: 33_554_432,
      artifact_ms: 60_000,
      stage_in_ms: 60_000,
      open_files: 512,
      processes: 64,
      ram_bytes: 268_435_456,
      storage_bytes: 67_108_864,
    });
  });

  test("more than the runner takes is refused with a way out", () => {
    assert.throws(
      () => specMessage(sampleRunnerSpec(shape, { code: "x".repeat(9_000_000) }), 0),
      InvalidRequest,
    );
  });
});

test("a container's name tells installation and sandbox", () => {
  assert.equal(
    containerName("01JINSTALLATION", "01JABCDEFGHJKMNPQRSTVWXYZ0"),
    "longshore-01jinsta-01jabcdefghjkmnpqrstvwxyz0",
  );
  assert.throws(() => containerName("x", "a b"), RangeError);
});
