/** GPUs of the host this runs on: given whole, to one task at a time, and to nobody who did not ask. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { Longshore, limitName, NeverFits } from "@longshore/client";
import { startServer, whyNoServer } from "../support/running-server.ts";

const run = promisify(execFile);
const SMALL = { cpu: "0.5", ram: "256MB", storage: "32MB", timeout: "60s" } as const;

/** Why no GPU can be given to a container here; undefined where one can. */
async function whyNoGpu(): Promise<string | undefined> {
  const missing = await whyNoServer();
  if (missing !== undefined) return missing;
  try {
    const { stdout } = await run("nvidia-smi", ["-L"]);
    if (!stdout.includes("GPU-")) return "nvidia-smi knows no GPU";
  } catch {
    return "this host has no GPU (nvidia-smi is not there, or fails)";
  }
  const { stdout } = await run("docker", ["info", "--format", "{{json .Runtimes}}"]);
  return stdout.includes('"nvidia"') ? undefined : "Docker has no nvidia runtime";
}

const missing = await whyNoGpu();

describe("GPUs", { skip: missing ?? false }, () => {
  test("one is seen by the task that asked for it, whole and alone, and by no other task", async () => {
    await using server = await startServer();
    await using client = new Longshore(server.address);
    const { engines } = await client.capabilities();
    const count = engines[0]?.largestTask?.gpuCount ?? 0;
    assert.ok(count > 0 && (engines[0]?.gpuModels.length ?? 0) > 0);
    const command = ["sh", "-c", "nvidia-smi -L"];
    const one = await client.submit({ code: "" }, { ...SMALL, command, gpu: 1 });
    const { stdoutTail, record } = await one.result();
    const seen = [...stdoutTail.matchAll(/UUID: (GPU-[0-9a-f-]+)/g)].map(([, id]) => id);
    assert.deepEqual(seen, record.effectiveResources?.gpuIds);
    assert.equal(seen.length, 1);
    const blind = await client.submit({ code: "import os; print(os.path.exists('/dev/nvidia0'))" }, SMALL);
    assert.equal((await blind.result()).stdoutTail, "False\n");
    const all = await client.submit(
      { code: "import time; time.sleep(60)" },
      { ...SMALL, gpu: count, gpuModel: engines[0]?.gpuModels.length === 1 ? engines[0].gpuModels[0] : "" },
    );
    const next = await client.submit({ code: "print('mine now')" }, { ...SMALL, gpu: 1 });
    for await (const event of next.watch())
      if (event.kind === "task" && event.task.wait?.limit !== undefined && event.task.wait.limit !== 0) {
        assert.equal(limitName(event.task.wait.limit), "gpu");
        break;
      }
    await all.cancel({ grace: "0s" });
    assert.equal((await next.result()).stdoutTail, "mine now\n");
    await assert.rejects(
      client.submit({ code: "1" }, { ...SMALL, gpu: 1, gpuModel: "none such" }),
      NeverFits,
    );
    await server.stop();
    assert.deepEqual(await server.leftovers(), []);
  });
});

const withGpu = missing === undefined ? "this host has a GPU" : await whyNoServer();

describe("a host without GPUs", { skip: withGpu ?? false }, () => {
  test("says so, and refuses tasks that ask for one", async () => {
    await using server = await startServer({ LONGSHORE_WARM_COUNT: "0" });
    await using client = new Longshore(server.address);
    const { engines } = await client.capabilities();
    assert.deepEqual([engines[0]?.gpuModels, engines[0]?.largestTask?.gpuCount], [[], 0]);
    const support = engines[0]?.tiers[0]?.limits.find(({ limit }) => limitName(limit) === "gpu");
    assert.equal(support?.mechanism, "the host offers no GPU");
    await assert.rejects(client.submit({ code: "1" }, { ...SMALL, gpu: 1 }), (error) => {
      assert.ok(error instanceof NeverFits);
      assert.match(error.message, /resources\.gpu: this server has no GPU/);
      return true;
    });
    await server.stop();
    assert.deepEqual(await server.leftovers(), []);
  });
});
