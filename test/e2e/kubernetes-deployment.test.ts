/** deploy/cluster for real: the server as a pod of a cluster, with its own account's rights and no others, and tasks as pods beside it. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { Longshore } from "@longshore/client";
import { LINES, NumberedTask, numberedCode } from "../faults/numbered-task.ts";
import { Certificates } from "../support/certificates.ts";
import { ClusterDeployment } from "../support/cluster-deployment.ts";
import { kubernetesMissing, NAMESPACE } from "../support/kubernetes-lab.ts";
import { serverImageMissing } from "../support/server-image.ts";

/** A client whose server never comes back asks for ever. */
const timeout = 120_000;

describe("a server that runs in a cluster itself", {
  skip: (await kubernetesMissing()) || (await serverImageMissing()),
}, () => {
  const stack = new AsyncDisposableStack();
  let cluster: ClusterDeployment;
  let token: string;
  let client: Longshore;
  before(async () => {
    const certificates = stack.use(await Certificates.create());
    cluster = stack.use(await ClusterDeployment.prepare(certificates));
    await cluster.deploy("executor");
    token = await cluster.firstToken();
    const ca = await readFile(certificates.ca);
    client = stack.adopt(new Longshore(cluster.address, { token, tls: { ca } }), (opened) => opened.close());
  });
  after(async () => {
    await stack.disposeAsync();
  });

  /** Lines numbered through, and what happens when a third of them has come. */
  const meanwhile = async (happens: () => Promise<unknown>) => {
    let happened: Promise<unknown> | undefined;
    const options = { outputs: ["left.txt"] };
    const task = await NumberedTask.submit(client, { code: numberedCode(100) }, options, (_, { lines }) => {
      if (lines >= LINES / 3) happened ??= happens();
    });
    await task.ended;
    await happened;
    assert.deepEqual(await task.problems(), []);
    assert.equal((await task.task.get()).attempts.length, 1);
  };

  test("is nobody in particular there, and says which limits do not hold", async () => {
    assert.equal(await cluster.inServer("id", "-u"), "10001");
    await assert.rejects(cluster.inServer("touch", "/opt/longshore/a"), /Read-only file system/);
    const { engines, environments } = await client.capabilities();
    assert.deepEqual(
      engines.map(({ name, kind }) => [name, kind]),
      [["cluster", "kubernetes"]],
    );
    const log = await cluster.lab.kubectl("-n", "longshore", "logs", "deployment/longshore");
    assert.match(log, /"advisory":\["storage","processes","network"\],"unsupported":\["gpu","inodes"\]/);
    assert.equal(environments?.unsupported, "");
  });

  test("has the rights it needs in the tasks' namespace, and none elsewhere", async () => {
    const may = async (verb: string, what: string, namespace: string) => {
      const as = "--as=system:serviceaccount:longshore:longshore";
      // Its exit status says the same as its output.
      return await cluster.lab.kubectl("auth", "can-i", verb, what, "-n", namespace, as).catch(() => "no");
    };
    assert.equal(await may("create", "jobs.batch", NAMESPACE), "yes");
    for (const [verb, what, namespace] of [
      ["create", "jobs.batch", "longshore"],
      ["get", "secrets", "longshore"],
      ["get", "secrets", NAMESPACE],
      ["create", "pods", "default"],
      ["create", "pods", "longshore"],
      ["get", "nodes", "default"],
    ] as const)
      assert.equal(await may(verb, what, namespace), "no", `it may ${verb} ${what} in ${namespace}`);
  });

  test("killed in the middle of a task with its pod, it comes back as another pod, and no line is lost or told twice", {
    timeout,
  }, async () => {
    const before = await cluster.pod();
    await meanwhile(() => cluster.killServer());
    assert.notEqual((await cluster.pod()).name, before.name);
  });

  test("the next release takes over in the middle of a task, and runs one of its own before it counts as deployed", {
    timeout,
  }, async () => {
    const before = await cluster.pod();
    await meanwhile(async () => {
      assert.match(await cluster.deploy("executor-next", token), /^deployed +staging/m);
    });
    const after = await cluster.pod();
    assert.notEqual(after.name, before.name);
    assert.notEqual(after.release, before.release);
  });
});
