import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { z } from "zod";
import { type RunningServer, startServer, whyNoServer } from "../support/running-server.ts";

const REQUESTS = join(import.meta.dirname, "../fixtures/requests");

interface Answer {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function grpcurl(args: readonly string[], input = ""): Promise<Answer> {
  const child = spawn("grpcurl", ["-plaintext", ...args], { stdio: "pipe" });
  child.stdin.end(input);
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  return { code: child.exitCode, stdout, stderr };
}

async function whyNoGrpcurl(): Promise<string | undefined> {
  try {
    return (await grpcurl(["-version"])).code === 0 ? undefined : "grpcurl does not run";
  } catch {
    return "grpcurl is not installed";
  }
}

const event = z.object({
  event: z.object({
    cursor: z.string(),
    log: z.object({ stream: z.string(), text: z.string() }).partial().optional(),
    task: z
      .object({
        id: z.string(),
        state: z.string(),
        result: z.looseObject({ stdoutTail: z.string().optional() }).optional(),
      })
      .optional(),
  }),
});

/** grpcurl prints one JSON object after the other. */
function objects(output: string): unknown[] {
  return output
    .split(/^(?=\{$)/m)
    .filter((part) => part.trim() !== "")
    .map((part) => JSON.parse(part));
}

const skip = (await whyNoServer()) ?? (await whyNoGrpcurl());

describe("the seeds' requests through grpcurl", { skip: skip ?? false }, () => {
  let server: RunningServer;
  before(async () => {
    server = await startServer();
  });
  after(async () => {
    await server?.stop();
    const left = await server?.leftovers();
    await server?.[Symbol.asyncDispose]();
    assert.deepEqual(left, []);
  });

  for (const [file, output] of [
    ["example-1.json", "Hello, World!\n"],
    ["example-2.json", "Count 0\nCount 1\nCount 2\nCount 3\nCount 4\n"],
  ] as const) {
    test(`RunTask with ${file} streams readable output and ends with the terminal snapshot`, async () => {
      const request = await readFile(join(REQUESTS, file), "utf8");
      const answer = await grpcurl(["-d", "@", server.address, "longshore.v1.TaskService/RunTask"], request);
      assert.equal(answer.code, 0, answer.stderr);
      const events = objects(answer.stdout).map((item) => event.parse(item).event);
      const printed = events.flatMap((item) =>
        item.log?.stream === "STREAM_STDOUT" ? [item.log.text ?? ""] : [],
      );
      assert.equal(printed.join(""), output);
      assert.equal(events.at(-1)?.task?.state, "STATE_SUCCEEDED");
    });

    test(`CreateTask with ${file}, then GetTask, answers its output`, async () => {
      const request = await readFile(join(REQUESTS, file), "utf8");
      const created = await grpcurl(
        ["-d", "@", server.address, "longshore.v1.TaskService/CreateTask"],
        request,
      );
      assert.equal(created.code, 0, created.stderr);
      const { task } = z.object({ task: z.object({ id: z.string() }) }).parse(JSON.parse(created.stdout));
      const id = JSON.stringify({ id: task.id });
      // A watch ends with the task: no polling.
      await grpcurl(["-d", id, server.address, "longshore.v1.TaskService/WatchTask"]);
      const got = await grpcurl(["-d", id, server.address, "longshore.v1.TaskService/GetTask"]);
      const record = z
        .object({ task: z.object({ state: z.string(), result: z.object({ stdoutTail: z.string() }) }) })
        .parse(JSON.parse(got.stdout));
      assert.equal(record.task.state, "STATE_SUCCEEDED");
      assert.equal(record.task.result.stdoutTail, output);
    });
  }

  test("each line of a slow program comes back as it is printed", async () => {
    const code = "import time\nfor i in range(5):\n    print(f'Count {i}')\n    time.sleep(0.2)";
    const answer = await grpcurl(
      ["-d", "@", server.address, "longshore.v1.TaskService/RunTask"],
      JSON.stringify({ code }),
    );
    const events = objects(answer.stdout).map((item) => event.parse(item).event);
    const printed = events.flatMap((item) => (item.log?.text === undefined ? [] : [item.log.text]));
    assert.equal(printed.join(""), "Count 0\nCount 1\nCount 2\nCount 3\nCount 4\n");
    // Python may write a line and its end separately; two lines of different moments never come together.
    for (const part of printed) assert.ok((part?.match(/Count/g) ?? []).length <= 1, `"${part}" came late`);
  });

  test("a wrong request names every wrong field at once", async () => {
    const request = { task_type: "x", resources: { cpu: "many", ram: "512" }, timeout: "-1s" };
    const answer = await grpcurl(
      ["-d", "@", server.address, "longshore.v1.TaskService/RunTask"],
      JSON.stringify(request),
    );
    assert.match(answer.stderr, /InvalidArgument/);
    for (const field of ["task_type", "code", "resources.cpu", "resources.ram", "timeout"]) {
      assert.ok(answer.stderr.includes(`"${field}"`), `${field} is not named in ${answer.stderr}`);
    }
  });

  test("reflection lists the services and describes them with their comments, health answers", async () => {
    const list = await grpcurl([server.address, "list"]);
    for (const service of ["TaskService", "BlobService", "SystemService", "AccessService"]) {
      assert.match(list.stdout, new RegExp(`longshore\\.v1\\.${service}`));
    }
    const described = await grpcurl([server.address, "describe", "longshore.v1.TaskService.CreateTask"]);
    assert.match(described.stdout, /\/\/ .*commit/i);
    const health = await grpcurl([server.address, "grpc.health.v1.Health/Check"]);
    assert.match(health.stdout, /SERVING/);
  });
});
