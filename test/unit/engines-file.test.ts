import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { ConfigError, readConfig } from "#server/config.ts";
import { GIBIBYTE } from "#server/domain/resources.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

async function enginesOf(content: unknown) {
  await using folder = await TemporaryFolder.create();
  const path = folder.at("engines.json");
  await writeFile(path, JSON.stringify(content));
  return readConfig({ LONGSHORE_ENGINES: path }).engines;
}

describe("LONGSHORE_ENGINES", () => {
  test("without it there is this host's Docker", () => {
    assert.deepEqual(readConfig({}).engines, [{ name: "docker", kind: "docker" }]);
  });

  test("names engines, the default first, with a default for everything else", async () => {
    const [cluster, docker] = await enginesOf({
      engines: [
        {
          name: "cluster",
          kind: "kubernetes",
          capacity: { cpu: "64", ram: "256GB", storage: "1TB" },
          hold: "2h",
        },
        { name: "docker", kind: "docker" },
      ],
    });
    assert.ok(cluster?.kind === "kubernetes");
    assert.equal(cluster.namespace, "longshore-tasks");
    assert.equal(cluster.capacity?.cpuMillis, 64_000);
    assert.equal(cluster.capacity?.ramBytes, 256 * GIBIBYTE);
    assert.equal(cluster.capacity?.gpuCount, 0);
    assert.equal(cluster.holdMillis, 2 * 3_600_000);
    assert.equal(cluster.networkPolicyHolds, false);
    assert.equal(cluster.namespacePerTenant, null);
    assert.deepEqual(docker, { name: "docker", kind: "docker" });
  });

  test("everything that is wrong is told at once, each with its place", async () => {
    await assert.rejects(
      enginesOf({
        engines: [
          { name: "Cluster One", kind: "kubernetes", hold: "long", namespace: "" },
          { name: "swarm", kind: "swarm" },
        ],
      }),
      (error) => {
        assert.ok(error instanceof ConfigError);
        for (const place of ["engines.0.name", "engines.0.hold", "engines.0.namespace", "engines.1.kind"])
          assert.ok(error.message.includes(place), `${place} in ${error.message}`);
        return true;
      },
    );
    await assert.rejects(enginesOf({ engines: [] }), ConfigError);
  });

  test("a namespace for each tenant has a prefix that is not that of all tasks, and a quota where the server makes it", async () => {
    const withTenants = (namespace_per_tenant: object) =>
      enginesOf({ engines: [{ name: "cluster", kind: "kubernetes", namespace_per_tenant }] });
    const [cluster] = await withTenants({});
    assert.ok(cluster?.kind === "kubernetes");
    assert.deepEqual(cluster.namespacePerTenant, {
      ...{ prefix: "longshore-tenant-", create: false, resourceQuota: {} },
    });
    await assert.rejects(withTenants({ prefix: "longshore-" }), /prefix is how "namespace" begins/);
    await assert.rejects(withTenants({ prefix: "tenant" }), /ends with a dash/);
    await assert.rejects(withTenants({ resource_quota: { pods: "5" } }), /"create": true/);
  });

  test("no two engines have one name, and no two are this host's Docker", async () => {
    await assert.rejects(
      enginesOf({
        engines: [
          { name: "a", kind: "docker" },
          { name: "a", kind: "kubernetes" },
          { name: "b", kind: "docker" },
        ],
      }),
      /engines\.1\.name a is another engine's already[\s\S]*engines\.2 is a second Docker/,
    );
  });
});
