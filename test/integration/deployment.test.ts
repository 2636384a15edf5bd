/** What deploy/ and .github/ hold: each file read by its own kind of tool, and every name in it one that the server knows. */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { describe, test } from "node:test";
import { loadAllYaml } from "@kubernetes/client-node";
import { z } from "zod";
import { LABELS } from "#server/adapters/kubernetes/naming.ts";
import { prometheusName } from "#server/adapters/telemetry/prometheus-name.ts";
import { METRICS } from "#server/domain/metrics.ts";
import { readEnginesFile } from "#server/engines-file.ts";
import { SETTINGS } from "#server/settings.ts";
import { type DeployTool, runTool, whyNoTool } from "../support/deploy-tool.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const ROOT = join(import.meta.dirname, "../..");
const CLUSTER = join(ROOT, "deploy/cluster");
const read = (path: string) => readFile(join(ROOT, path), "utf8");
const without = async (...tools: readonly DeployTool[]) => {
  const reasons = await Promise.all(tools.map(whyNoTool));
  return reasons.find((reason) => reason !== undefined) ?? false;
};

/** Settings of the server's that it does not have. */
function unknownSettings(names: readonly string[]): string[] {
  return names.filter((name) => name.startsWith("LONGSHORE_") && !Object.hasOwn(SETTINGS, name));
}

const composed = z.object({
  services: z.record(
    z.string(),
    z.object({
      image: z.string(),
      profiles: z.array(z.enum(["dev", "prod"])).min(1),
      environment: z.record(z.string(), z.string()).default({}),
      network_mode: z.string().optional(),
      ports: z.array(z.object({ host_ip: z.string().optional() })).default([]),
      volumes: z
        .array(
          z.object({
            source: z.string(),
            target: z.string(),
            bind: z.object({ propagation: z.string().optional() }).optional(),
          }),
        )
        .default([]),
    }),
  ),
});

const resource = z.looseObject({
  kind: z.string(),
  metadata: z.object({ name: z.string(), namespace: z.string().optional() }),
});
const subjects = z.array(z.object({ kind: z.string(), name: z.string(), namespace: z.string() }));
const pod = z.object({
  serviceAccountName: z.string(),
  securityContext: z.object({ runAsNonRoot: z.literal(true), runAsUser: z.number().positive() }),
  containers: z.tuple([
    z.object({
      image: z.string(),
      env: z.array(z.object({ name: z.string() })),
      startupProbe: z.object({ grpc: z.object({ port: z.number() }).optional() }).optional(),
      livenessProbe: z.object({}).optional(),
      securityContext: z.object({
        allowPrivilegeEscalation: z.literal(false),
        readOnlyRootFilesystem: z.literal(true),
        capabilities: z.object({ drop: z.tuple([z.literal("ALL")]) }),
      }),
    }),
  ]),
});
const deployment = z.object({
  spec: z.object({ replicas: z.number(), template: z.object({ spec: pod }) }),
});

class Manifests {
  readonly all: readonly z.infer<typeof resource>[];

  private constructor(all: readonly z.infer<typeof resource>[]) {
    this.all = all;
  }

  static parse(text: string): Manifests {
    return new Manifests(loadAllYaml(text).map((each) => resource.parse(each)));
  }

  get(kind: string, name: string): z.infer<typeof resource> {
    const found = this.all.find((each) => each.kind === kind && each.metadata.name === name);
    assert.ok(found !== undefined, `there is no ${kind} ${name}`);
    return found;
  }

  get server() {
    return deployment.parse(this.get("Deployment", "longshore")).spec;
  }
}

describe("the composition for one host", async () => {
  const skip = await without("compose-config");
  const compose = async () => {
    const output = await runTool(
      "compose-config",
      ["-format", "json", "compose.yaml"],
      join(ROOT, "deploy/compose"),
    );
    return composed.parse(JSON.parse(output)).services;
  };

  test("has a server for each profile, whose settings are the server's and whose data folder has one path", {
    skip,
  }, async () => {
    const services = await compose();
    for (const [name, profile] of [
      ["server-dev", "dev"],
      ["server", "prod"],
    ] as const) {
      const service = services[name];
      assert.deepEqual(service?.profiles, [profile]);
      assert.deepEqual(unknownSettings(Object.keys(service?.environment ?? {})), []);
      const data = service?.volumes.find(({ target }) => target === service.environment.LONGSHORE_DATA_DIR);
      assert.equal(data?.source, data?.target);
      assert.equal(data?.bind?.propagation, "rshared");
    }
  });

  test("opens nothing to other machines but the server with tokens and TLS", { skip }, async () => {
    const services = await compose();
    for (const [name, { ports }] of Object.entries(services))
      for (const { host_ip } of ports) assert.equal(host_ip, "127.0.0.1", `${name} is open to others`);
    assert.match(services["server-dev"]?.environment.LONGSHORE_LISTEN ?? "", /^127\.0\.0\.1:/);
    const { LONGSHORE_AUTH, LONGSHORE_TLS_CERT, LONGSHORE_ALLOW_INSECURE } =
      services.server?.environment ?? {};
    assert.deepEqual([LONGSHORE_AUTH, LONGSHORE_ALLOW_INSECURE], ["tokens", undefined]);
    assert.notEqual(LONGSHORE_TLS_CERT, undefined);
  });

  test("takes the variables that its .env.example names, and no others", async () => {
    const [text, example] = await Promise.all([
      read("deploy/compose/compose.yaml"),
      read("deploy/compose/.env.example"),
    ]);
    const taken = [...text.matchAll(/\$\{([A-Z_0-9]+)/g)].map(([, name]) => name);
    const named = [...example.matchAll(/^#([A-Z_0-9]+)=/gm)].map(([, name]) => name);
    assert.deepEqual([...new Set(taken)].sort(), [...new Set(named)].sort());
  });
});

describe("the manifests for a cluster", async () => {
  const skip = await without("kustomize");
  const noSchemas = await without("kustomize", "kubectl-validate");
  const build = (path: string) => runTool("kustomize", ["build", path], ROOT);
  /** The base with components, in a folder of its own: kustomize takes components by relative paths alone. */
  const withComponents = async (names: readonly string[]) => {
    await using folder = await TemporaryFolder.create();
    const to = (path: string) => relative(folder.at("overlay"), join(CLUSTER, path));
    await mkdir(folder.at("overlay"));
    const components = names.map((name) => to(`components/${name}`)).join(", ");
    await writeFile(
      folder.at("overlay", "kustomization.yaml"),
      `resources: [${to("base")}]\ncomponents: [${components}]\n`,
    );
    return await build(folder.at("overlay"));
  };
  const everything = async () => {
    const overlays = await readdir(join(CLUSTER, "overlays"));
    const components = await readdir(join(CLUSTER, "components"));
    return [
      ...(await Promise.all(overlays.map((name) => build(join(CLUSTER, "overlays", name))))),
      ...(await Promise.all(components.map((name) => withComponents([name])))),
    ];
  };

  test("are what Kubernetes' own schemas ask for", { skip: noSchemas }, async () => {
    await using folder = await TemporaryFolder.create();
    for (const [place, text] of (await everything()).entries())
      await writeFile(folder.at(`${place}.yaml`), text);
    await runTool("kubectl-validate", ["--version", "1.30", folder.at(".")], ROOT);
  });

  test("run the server as nobody in particular, with settings that it has and rights in the tasks' namespace", {
    skip,
  }, async () => {
    for (const text of await everything()) {
      const manifests = Manifests.parse(text);
      const { spec } = manifests.server.template;
      assert.deepEqual(unknownSettings(spec.containers[0].env.map(({ name }) => name)), []);
      for (const { kind, subjects: bound } of manifests.all.filter(({ kind }) => kind.endsWith("Binding")))
        if (kind !== "ValidatingAdmissionPolicyBinding")
          assert.deepEqual(subjects.parse(bound), [
            { kind: "ServiceAccount", name: spec.serviceAccountName, namespace: "longshore" },
          ]);
      const accounts = manifests.all.filter(({ kind }) => kind === "ServiceAccount");
      assert.deepEqual(
        accounts.map(({ metadata }) => metadata.namespace),
        ["longshore"],
      );
    }
  });

  test("keep the server that makes namespaces to those of tenants, by the account that it has there", {
    skip,
  }, async () => {
    const manifests = Manifests.parse(await withComponents(["tenants-made-by-server"]));
    const policy = JSON.stringify(manifests.get("ValidatingAdmissionPolicy", "longshore-tenant-maker"));
    assert.ok(policy.includes("system:serviceaccount:longshore:longshore"), policy);
  });

  test("keep the pods of attempts from being evicted, by the label that these have", { skip }, async () => {
    const budget = z.object({
      spec: z.object({ selector: z.object({ matchExpressions: z.array(z.object({ key: z.string() })) }) }),
    });
    const manifests = Manifests.parse(await build(join(CLUSTER, "base")));
    const { selector } = budget.parse(manifests.get("PodDisruptionBudget", "longshore-tasks")).spec;
    assert.deepEqual(
      selector.matchExpressions.map(({ key }) => key),
      [LABELS.attempt],
    );
  });

  test("ask a server without TLS for its health in Kubernetes' own way, and never restart a standby for not listening", {
    skip,
  }, async () => {
    const [plain, standby] = [
      Manifests.parse(await withComponents(["plaintext"])).server.template.spec.containers[0],
      Manifests.parse(await withComponents(["standby"])).server,
    ];
    assert.equal(plain.startupProbe?.grpc?.port, 50051);
    assert.ok(!plain.env.some(({ name }) => name.startsWith("LONGSHORE_TLS")));
    assert.equal(standby.replicas, 2);
    assert.equal(standby.template.spec.containers[0].livenessProbe, undefined);
  });

  test("name engines in a file that the server takes", () => {
    const engines = readEnginesFile(join(CLUSTER, "base/engines.json"));
    assert.deepEqual(
      engines.map(({ kind }) => kind),
      ["kubernetes"],
    );
  });

  test("scale by a figure that the server tells", async () => {
    const text = await read("deploy/prometheus/adapter.yaml");
    const { unit, kind } = METRICS["longshore.queue.depth"];
    assert.equal(kind, "gauge");
    assert.ok(text.includes(`sum(${prometheusName("longshore.queue.depth", unit, false)}{wait="capacity"`));
    const [, made] = /as: (\w+)/.exec(text) ?? [];
    assert.ok(
      (await read("deploy/cluster/components/node-room/room.yaml")).includes(`metric: { name: ${made} }`),
    );
  });
});

test("Dockerfiles are as hadolint wants them", { skip: await without("hadolint") }, async () => {
  await runTool("hadolint", ["deploy/image/Dockerfile", "executor-image/Dockerfile"], ROOT);
});

test("the server's image starts it with the options of server/node-options", async () => {
  const [options, dockerfile] = await Promise.all([
    read("server/node-options"),
    read("deploy/image/Dockerfile"),
  ]);
  const wanted = options.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  const [, command = "[]"] = /^CMD (\[.*\])$/m.exec(dockerfile) ?? [];
  assert.deepEqual(JSON.parse(command), ["node", ...wanted, "server/main.ts"]);
});

test("the workflows are as GitHub wants them", { skip: await without("actionlint") }, async () => {
  const files = await readdir(join(ROOT, ".github/workflows"));
  await runTool(
    "actionlint",
    files.map((file) => join(".github/workflows", file)),
    ROOT,
  );
});
