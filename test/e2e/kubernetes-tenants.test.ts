import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { Longshore, NotFound } from "@longshore/client";
import { ulid } from "ulid";
import { LABELS, TENANT_ANNOTATION, tenantNamespace } from "#server/adapters/kubernetes/naming.ts";
import { Unsupported } from "#server/domain/errors.ts";
import type { Engine } from "#server/domain/ports/engine.ts";
import { attempt, patience, sampleRunnerSpec, sampleShape, shell } from "../contract/engine-under-test.ts";
import { LINES, NumberedTask, numberedCode } from "../faults/numbered-task.ts";
import { EXECUTOR_IMAGE } from "../support/docker-engine.ts";
import { KubernetesBench, KubernetesLab, kubernetesMissing } from "../support/kubernetes-lab.ts";
import { startServer } from "../support/running-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const run = promisify(execFile);
const MANIFESTS = join(import.meta.dirname, "../../deploy/kubernetes");
const PREFIX = "longshore-tenant-";
const PER_TENANT = { prefix: PREFIX, create: false, resourceQuota: {} };

describe("a namespace for each tenant of a real Kubernetes cluster", {
  skip: await kubernetesMissing(),
}, () => {
  let lab: KubernetesLab;
  let folder: TemporaryFolder;
  let kubeconfig: string;
  before(async () => {
    lab = await KubernetesLab.start();
    folder = await TemporaryFolder.create();
    await lab.kubectl("apply", "-k", join(MANIFESTS, "tenants"));
    kubeconfig = await lab.accountKubeconfig();
  });
  after(async () => {
    const left = await lab?.kubectl("get", "jobs,pods", "-A", "-l", LABELS.installation, "-o", "name");
    await folder?.[Symbol.asyncDispose]();
    await lab?.[Symbol.asyncDispose]();
    assert.equal(left, "");
  });

  const create = async (engine: Engine, tenant: string) => {
    const { digest } = await engine.resolveImage(EXECUTOR_IMAGE);
    const shape = sampleShape(digest, { cpuMillis: 100, ramBytes: 64 * 2 ** 20 });
    const order = { sandboxId: ulid(), taskId: ulid(), attempt: 1, shape, tenant };
    return { shape, sandbox: await engine.create(order, patience()) };
  };

  test("where the operator makes them, the server says what is missing, and runs tasks once it is there", async () => {
    await using bench = await KubernetesBench.create(lab);
    const engine = await bench.open({ kubeconfig, namespacePerTenant: PER_TENANT });
    const tenant = "green.team_1";
    await assert.rejects(create(engine, tenant), (error) => {
      assert.ok(error instanceof Unsupported, String(error));
      assert.match(
        error.message,
        /namespace longshore-tenant-green-team-1--[0-9a-f]{16} .*green\.team_1 yet/,
      );
      return true;
    });
    const manifest = /"manifest":("(?:[^"\\]|\\.)*")/.exec(bench.log.lines.join("\n"))?.[1] ?? "";
    await writeFile(folder.at("tenant.json"), JSON.parse(manifest));
    await lab.kubectl("apply", "-f", folder.at("tenant.json"));
    const { shape, sandbox } = await create(engine, tenant);
    const outcome = await attempt(engine, sandbox, sampleRunnerSpec(shape, shell("echo in its place")));
    assert.equal(outcome.stdout, "in its place\n");
    const places = await lab.kubectl(
      ...["get", "pods", "-A", "-l", `${LABELS.sandbox}=${sandbox.id}`],
      ...["-o", "jsonpath={.items[*].metadata.namespace}"],
    );
    assert.equal(places, tenantNamespace(PREFIX, tenant));
    await engine.release(sandbox.id);
  });

  test("one that is not annotated as the tenant's takes none of its tasks", async () => {
    await using bench = await KubernetesBench.create(lab);
    const engine = await bench.open({ kubeconfig: lab.adminKubeconfig, namespacePerTenant: PER_TENANT });
    await lab.kubectl("create", "namespace", `${PREFIX}taken`);
    await assert.rejects(create(engine, "taken"), /annotates it with longshore\.dev\/tenant=taken/);
    await lab.kubectl("annotate", "namespace", `${PREFIX}taken`, `${TENANT_ANNOTATION}=another`);
    await assert.rejects(create(engine, "taken"), (error) => {
      assert.ok(error instanceof Unsupported && !error.message.includes("another tenant"));
      return true;
    });
  });

  test("pods elsewhere that are labelled like sandboxes are none", async () => {
    await using bench = await KubernetesBench.create(lab);
    const engine = await bench.open({ kubeconfig, namespacePerTenant: PER_TENANT });
    const labels = {
      [LABELS.role]: "sandbox",
      [LABELS.installation]: bench.installationId.toLowerCase(),
      [LABELS.engine]: engine.name,
      [LABELS.sandbox]: ulid(),
    };
    const pod = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "impostor", namespace: "default", labels },
      spec: { containers: [{ name: "courier", image: EXECUTOR_IMAGE, command: ["true"] }] },
    };
    await writeFile(folder.at("impostor.json"), JSON.stringify(pod));
    await lab.kubectl("apply", "-f", folder.at("impostor.json"));
    try {
      assert.deepEqual(await engine.list(), []);
    } finally {
      await lab.kubectl("delete", "-f", folder.at("impostor.json"), "--grace-period=0", "--force");
    }
  });

  test("where the server makes them, tasks of two tenants go on through its death, apart", async () => {
    await lab.kubectl("apply", "-k", join(MANIFESTS, "tenants-made-by-server"));
    const engine = "cluster";
    const entry = { name: engine, kind: "kubernetes", kubeconfig };
    const perTenant = { create: true, resource_quota: { pods: "10" } };
    const engines = [{ ...entry, namespace_per_tenant: perTenant }];
    await writeFile(folder.at("engines.json"), JSON.stringify({ engines }));
    await using server = await startServer({
      LONGSHORE_AUTH: "tokens",
      LONGSHORE_ENGINES: folder.at("engines.json"),
    });
    const token = (await readFile(join(server.dataDirectory, "admin.token"), "utf8")).trim();
    using stack = new DisposableStack();
    const connect = (secret: string) => {
      const client = new Longshore(server.address, { token: secret });
      stack.defer(() => client.close());
      return client;
    };
    const admin = connect(token);
    const tenants = ["blue", "red.team"];
    const clients = await Promise.all(
      tenants.map(async (tenant) => {
        const scopes = ["tasks:read", "tasks:write", "blobs"];
        return connect((await admin.access.createToken({ tenant, subject: "someone", scopes })).secret);
      }),
    );
    const middle = Promise.withResolvers<void>();
    const lines = new Map<string, number>();
    const tasks = await Promise.all(
      clients.map((client, index) =>
        NumberedTask.submit(client, { code: numberedCode(50) }, { outputs: ["left.txt"] }, (_, task) => {
          lines.set(tenants[index] ?? "", task.lines);
          if (lines.size === tenants.length && [...lines.values()].every((count) => count > LINES / 3))
            middle.resolve();
        }),
      ),
    );
    await Promise.race([middle.promise, ...tasks.map(({ ended }) => ended)]);
    await server.kill();
    const placeOf = ({ task }: NumberedTask) =>
      lab.kubectl(
        ...["get", "pods", "-A", "-l", `${LABELS.task}=${task.id}`],
        ...["-o", "jsonpath={.items[*].metadata.namespace}"],
      );
    const places = await Promise.all(tasks.map(placeOf));
    assert.deepEqual(
      places,
      tenants.map((tenant) => tenantNamespace(PREFIX, tenant)),
    );
    await server.start();
    for (const task of tasks) {
      await task.ended;
      // Also that it ran once: attempts that never began are free, and come about where the machine is busy.
      assert.deepEqual(await task.problems(), []);
    }
    await assert.rejects(async () => await clients[0]?.task(tasks[1]?.task.id ?? "").get(), NotFound);
    for (const place of places) {
      const walls = await lab.kubectl(
        ...["get", "networkpolicies,resourcequotas,poddisruptionbudgets", "-n", place, "-o", "name"],
      );
      assert.deepEqual(walls.split("\n").sort(), [
        "networkpolicy.networking.k8s.io/longshore-sandboxes",
        "poddisruptionbudget.policy/longshore-tasks",
        "resourcequota/longshore-tenant",
      ]);
    }
    for (const { task } of tasks) await task.delete();
  });

  test("a server that may make namespaces may do so under its prefix alone", async () => {
    const asServer = (...args: string[]) => run("kone", ["kubectl", "--kubeconfig", kubeconfig, ...args]);
    await assert.rejects(asServer("create", "namespace", "elsewhere"), /under longshore-tenant- alone/);
    await assert.rejects(
      asServer("create", "namespace", `${PREFIX}open`),
      /enforces the baseline or restricted/,
    );
    const bind = (name: string) =>
      asServer("create", "rolebinding", "own", "-n", "kube-system", "--clusterrole", name, "--user", "me");
    await assert.rejects(bind("longshore-tenant"), /under longshore-tenant- alone/);
    await assert.rejects(bind("cluster-admin"), /forbidden/);
  });
});
