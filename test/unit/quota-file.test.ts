import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { ConfigError, readConfig } from "#server/config.ts";
import { NO_QUOTA } from "#server/domain/quota.ts";
import { FileProblems } from "#server/json-file.ts";
import { readQuotaFile } from "#server/quota-file.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

async function withFile<T>(content: unknown, use: (path: string) => T): Promise<T> {
  await using folder = await TemporaryFolder.create();
  const path = join(folder.path, "quotas.json");
  await writeFile(path, JSON.stringify(content));
  return use(path);
}

describe("the quota file", () => {
  test("has a default, and tenants that differ from it where they say so", async () => {
    const quotas = await withFile(
      {
        default: { cpu: "2.5", ram: "4GB", gpu: 0, queued_tasks: 10, monthly_spend: "12.50" },
        tenants: {
          acme: { cpu: "16", gpu: null, when_spent: "stop_running" },
          guest: { stored_bytes: "10MB" },
        },
      },
      readQuotaFile,
    );
    const nobody = {
      ...NO_QUOTA,
      cpuMillis: 2500,
      ramBytes: 4 * 2 ** 30,
      gpuCount: 0,
      queuedTasks: 10,
      monthlySpendNanos: 12_500_000_000n,
    };
    assert.deepEqual(quotas.of("nobody"), nobody);
    assert.deepEqual(quotas.of("acme"), { ...nobody, cpuMillis: 16_000, gpuCount: null, stopsRunning: true });
    assert.deepEqual(quotas.of("guest"), { ...nobody, storedBytes: 10 * 2 ** 20 });
  });

  test("names everything that is wrong with it, and where", async () => {
    const content = {
      default: { cpu: 8, ram: "16", queued_tasks: -1 },
      tenants: { acme: { monthly_spend: "ten", when_spent: "panic", cpus: "1" } },
    };
    await withFile(content, (path) =>
      assert.throws(
        () => readQuotaFile(path),
        (error) => {
          assert.ok(error instanceof FileProblems);
          for (const place of [
            "default.cpu",
            "default.ram",
            "default.queued_tasks",
            "tenants.acme.monthly_spend",
            "tenants.acme.when_spent",
            "cpus",
          ])
            assert.ok(
              error.problems.some((problem) => problem.includes(place)),
              `${place} in ${error.problems.join("\n")}`,
            );
          return true;
        },
      ),
    );
  });

  test("may have budgets only where there are prices", async () => {
    await withFile({ default: { monthly_spend: "1" } }, (path) =>
      assert.throws(
        () => readConfig({ LONGSHORE_QUOTAS: path }),
        (error) => {
          assert.ok(error instanceof ConfigError);
          assert.match(error.message, /monthly_spend needs prices/);
          return true;
        },
      ),
    );
  });
});
