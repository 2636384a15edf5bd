import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { loadAllYaml } from "@kubernetes/client-node";
import { z } from "zod";
import { tenantNamespace } from "#server/adapters/kubernetes/naming.ts";
import { manifestList, TENANT_ROLE, tenantManifests } from "#server/adapters/kubernetes/tenant-manifests.ts";
import { tenantProblem } from "#server/domain/principal.ts";

const PREFIX = "longshore-tenant-";
const MANIFESTS = join(import.meta.dirname, "../../deploy/kubernetes");
const DNS_LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

describe("the namespace of a tenant", () => {
  test("is the tenant's own name where that is one of a namespace", () => {
    assert.equal(tenantNamespace(PREFIX, "research"), "longshore-tenant-research");
    assert.equal(tenantNamespace(PREFIX, "team-7"), "longshore-tenant-team-7");
  });

  test("is a DNS label of its own for every name that a tenant can have", () => {
    const tenants = [
      ...["a", "a-", "a.", "a_", "a--", "a.b", "a_b", "a-b", "a--b", "a.-b", "default", "0"],
      ...[46, 47, 62, 63].map((length) => "x".repeat(length)),
      ...["y", "z"].map((end) => "x".repeat(62) + end),
      ...["y", "z"].map((end) => `${"x-".repeat(31)}${end}`),
    ];
    for (const tenant of tenants) assert.equal(tenantProblem(tenant), undefined, tenant);
    // What one tenant's name becomes can be another tenant's name.
    const all = [...tenants, ...tenants.map((tenant) => tenantNamespace("t-", tenant).slice(2))];
    const names = new Map(all.map((tenant) => [tenant, tenantNamespace(PREFIX, tenant)]));
    for (const [tenant, name] of names) {
      assert.match(name, DNS_LABEL, tenant);
      assert.ok(name.startsWith(PREFIX));
    }
    assert.equal(new Set(names.values()).size, names.size);
  });
});

describe("the manifests of a tenant", () => {
  const plan = { namespace: "longshore-tenant-a", tenant: "a", user: "someone", resourceQuota: {} };

  test("shut the network before anybody may start a pod, and hold to the pod security standard of all tasks", () => {
    const { namespace, content } = tenantManifests({ ...plan, resourceQuota: { pods: "5" } });
    assert.deepEqual(
      content.map(({ kind }) => kind),
      ["NetworkPolicy", "ResourceQuota", "PodDisruptionBudget", "RoleBinding"],
    );
    assert.ok(content.every(({ metadata }) => metadata?.namespace === plan.namespace));
    assert.equal(namespace.metadata?.labels?.["pod-security.kubernetes.io/enforce"], "baseline");
    assert.deepEqual(namespace.metadata?.annotations, { "longshore.dev/tenant": "a" });
  });

  test("have a quota only where one is set, and are one list for kubectl", () => {
    const list = z
      .object({ kind: z.literal("List"), items: z.array(z.object({ kind: z.string() })) })
      .parse(JSON.parse(manifestList(tenantManifests(plan))));
    const kinds = list.items.map(({ kind }) => kind);
    assert.deepEqual(kinds, ["Namespace", "NetworkPolicy", "PodDisruptionBudget", "RoleBinding"]);
  });
});

describe("the rights in deploy/kubernetes", () => {
  const role = z.looseObject({
    kind: z.string(),
    metadata: z.object({ name: z.string() }),
    rules: z.array(z.unknown()).default([]),
  });
  const roleOf = async (path: string, name: string) => {
    const all = z.array(role).parse(loadAllYaml(await readFile(join(MANIFESTS, path), "utf8")));
    const found = all.find(({ kind, metadata }) => kind.endsWith("Role") && metadata.name === name);
    assert.ok(found !== undefined, `${name} in ${path}`);
    // Without the classes of the client.
    return z.array(z.unknown()).parse(JSON.parse(JSON.stringify(found.rules)));
  };

  test("are in a tenant's namespace those of the one for all, and to look whose it is", async () => {
    const shared = await roleOf("access.yaml", "longshore-engine");
    const own = await roleOf("tenants/access.yaml", TENANT_ROLE);
    assert.deepEqual(own, [...shared, { apiGroups: [""], resources: ["namespaces"], verbs: ["get"] }]);
  });

  test("let the server bind the tenants' role alone, under the prefix that it has by itself", async () => {
    const rules = await roleOf("tenants-made-by-server/access.yaml", "longshore-tenant-maker");
    const bind = rules.filter((rule) => JSON.stringify(rule).includes('"bind"'));
    assert.equal(bind.length, 1);
    assert.deepEqual(z.object({ resourceNames: z.array(z.string()) }).parse(bind[0]).resourceNames, [
      TENANT_ROLE,
    ]);
    const admission = await readFile(join(MANIFESTS, "tenants-made-by-server/admission.yaml"), "utf8");
    assert.ok(admission.includes(`startsWith("${PREFIX}")`));
  });
});
