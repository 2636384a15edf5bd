import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Metadata } from "@grpc/grpc-js";
import { Limit } from "@longshore/proto/longshore/v1/resources.ts";
import { CreateTaskRequest, Isolation, Network, Task_State } from "@longshore/proto/longshore/v1/task.ts";
import { InvalidRequest } from "#server/domain/errors.ts";
import { traceparentOf } from "#server/transport/traceparent.ts";
import { specFromProto } from "#server/transport/translate/spec-from-proto.ts";
import { specToProto } from "#server/transport/translate/spec-to-proto.ts";
import { openUpload } from "#server/transport/upload-parts.ts";

function wrongFields(request: Parameters<typeof CreateTaskRequest.fromPartial>[0]): string[] {
  return specFromProto(CreateTaskRequest.fromPartial(request)).violations.map(({ field }) => field);
}

describe("a request to run something", () => {
  test("is the same after a way through the domain", () => {
    const request = CreateTaskRequest.fromPartial({
      taskType: "execute_code",
      code: "print()",
      resources: { cpu: "2", gpu: "0", ram: "512MB", storage: "1GB", gpuModel: "" },
      args: ["a"],
      env: { A: "1" },
      stdin: Buffer.from([0, 255, 10]),
      outputs: ["*.bin"],
      budgets: { maxProcesses: 5, maxLogBytes: 1_000_000 },
      timeout: { seconds: 1n, nanos: 500_000_000 },
      network: Network.EGRESS,
      isolation: Isolation.GVISOR,
      requireEnforced: [Limit.RAM, Limit.STORAGE],
      placement: { engine: "docker", account: "a", partition: "p", instanceType: "i" },
      priority: -5,
      maxAttempts: 2,
      labels: { team: "blue" },
      webhooks: [{ url: "https://a", states: [Task_State.FAILED] }],
      requestId: "r1",
    });
    const { spec, violations } = specFromProto(request);
    assert.deepEqual(violations, []);
    assert.deepEqual(specToProto(spec, "full"), request);
    assert.equal(spec.timeoutMillis, 1500);
    assert.deepEqual([specToProto(spec, "basic").code, specToProto(spec, "basic").stdin.length], ["", 0]);
  });

  test("names everything that is wrong at once", () => {
    const unknown = 99 as typeof Network.NONE;
    const fields = wrongFields({
      budgets: { maxProcesses: -1, maxInodes: -1n, maxLogBytes: 2n ** 60n },
      timeout: { seconds: -1n },
      queueTimeout: { seconds: 0n },
      totalTimeout: { nanos: 2_000_000_000 },
      network: unknown,
      requireEnforced: [Limit.RAM, Limit.UNSPECIFIED, unknown],
      maxAttempts: -1,
    });
    assert.deepEqual(fields.sort(), [
      "budgets.max_inodes",
      "budgets.max_log_bytes",
      "budgets.max_processes",
      "max_attempts",
      "network",
      "queue_timeout",
      "require_enforced[1]",
      "require_enforced[2]",
      "timeout",
      "total_timeout",
    ]);
  });

  test("rounds a timeout up, never down to nothing", () => {
    const { spec } = specFromProto(CreateTaskRequest.fromPartial({ timeout: { nanos: 1 } }));
    assert.equal(spec.timeoutMillis, 1);
  });
});

describe("an upload", () => {
  const header = { part: { $case: "header", value: "h" } } as const;
  const chunk = (size: number) => ({ part: { $case: "chunk", value: new Uint8Array(size) } }) as const;
  type Message = typeof header | ReturnType<typeof chunk> | { part: undefined };

  async function* stream(messages: readonly Message[]) {
    yield* messages;
  }

  test("is its header and its chunks", async () => {
    const upload = await openUpload(stream([header, chunk(3), chunk(0), chunk(2 ** 20)]));
    assert.equal(upload.header, "h");
    const chunks = await Array.fromAsync(upload.chunks);
    assert.deepEqual(
      chunks.map(({ length }) => length),
      [3, 2 ** 20],
    );
  });

  const wrong: readonly [string, readonly Message[], RegExp][] = [
    ["nothing", [], /header: is missing: the stream ended/],
    ["a chunk first", [chunk(1)], /header: is missing: the first message/],
    ["an empty part first", [{ part: undefined }], /header: is missing: the first message/],
    ["a second header", [header, chunk(1), header], /header: came again in message 3/],
    ["an empty part", [header, { part: undefined }], /chunk: is missing: message 2/],
    [
      "a large chunk",
      [header, chunk(2 ** 20 + 1)],
      /chunk: of message 2 has 1048577 bytes; the most is 1048576/,
    ],
  ];
  for (const [name, messages, expected] of wrong) {
    test(`of ${name} is refused`, async () => {
      const read = async () => Array.fromAsync((await openUpload(stream(messages))).chunks);
      await assert.rejects(read, (error) => error instanceof InvalidRequest && expected.test(error.message));
    });
  }
});

describe("a caller's traceparent", () => {
  const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
  const parent = "00f067aa0ba902b7";
  const of = (...values: string[]) => {
    const metadata = new Metadata();
    for (const value of values) metadata.add("traceparent", value);
    return traceparentOf(metadata);
  };

  test("is taken when it is well formed", () => {
    for (const value of [`00-${trace}-${parent}-01`, `cc-${trace}-${parent}-00-what-the-future-brings`]) {
      assert.equal(of(value), value);
    }
  });

  test("is ignored otherwise", () => {
    assert.equal(of(), undefined);
    assert.equal(of(`00-${trace}-${parent}-01`, `00-${trace}-${parent}-01`), undefined);
    const malformed = [
      `ff-${trace}-${parent}-01`,
      `00-${trace}-${parent}-01-more`,
      `00-${"0".repeat(32)}-${parent}-01`,
      `00-${trace}-${"0".repeat(16)}-01`,
      `00-${trace.toUpperCase()}-${parent}-01`,
      `00-${trace}-${parent}`,
      "nonsense",
      `cc-${trace}-${parent}-00-${"x".repeat(1000)}`,
    ];
    for (const value of malformed) assert.equal(of(value), undefined, value);
  });
});
