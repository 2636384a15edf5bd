import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { Longshore, type Source, Unavailable } from "@longshore/client";
import { LINES, NumberedTask, numberedCode } from "../faults/numbered-task.ts";
import { CuttingProxy } from "../support/cutting-proxy.ts";
import { KubernetesLab, kubernetesMissing, NAMESPACE } from "../support/kubernetes-lab.ts";
import { runCli } from "../support/run-cli.ts";
import { type RunningServer, startServer } from "../support/running-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";
import { whyNoUv } from "../support/uv.ts";
import { makeWheel } from "../support/wheels.ts";

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, "../..");
const ENGINE = "atena02";
const noUv = (await whyNoUv()) ?? false;
/** As task.proto numbers it. */
const ENVIRONMENT_STAGE = 4;
/** The same cluster, of which it only knows what the operator says. */
const BLIND = "blind";
const GPU_MODEL = "NVIDIA-H200";
const PROJECT = join(ROOT, "test/fixtures/projects/training");
const python = process.env.LONGSHORE_TEST_PYTHON ?? "";

/** Both clients' way to a task, with what it needs of a cluster of two cores. */
const SMALL = { cpu: "0.5", ram: "128MB", storage: "32MB", timeout: "5m" } as const;

describe("tasks in a real Kubernetes cluster", { skip: await kubernetesMissing() }, () => {
  let lab: KubernetesLab;
  let folder: TemporaryFolder;
  let proxy: CuttingProxy;
  let server: RunningServer;
  let client: Longshore;
  let archive: string;
  before(async () => {
    lab = await KubernetesLab.start();
    await lab.pretendGpus(2, GPU_MODEL);
    folder = await TemporaryFolder.create();
    const kubeconfig = await readFile(lab.kubeconfig, "utf8");
    const api = /https:\/\/([0-9.:]+)/.exec(kubeconfig)?.[1] ?? "";
    proxy = await CuttingProxy.start(api);
    await writeFile(folder.at("kubeconfig"), kubeconfig.replace(api, proxy.address));
    const cluster = { kind: "kubernetes", kubeconfig: folder.at("kubeconfig"), start_timeout: "5s" };
    const capacity = { cpu: "2", ram: "8GB", storage: "20GB" };
    const engines = [
      { name: ENGINE, ...cluster },
      { name: BLIND, ...cluster, capacity },
    ];
    await writeFile(folder.at("engines.json"), JSON.stringify({ engines }));
    const wheels = folder.at("wheels");
    await mkdir(wheels);
    await makeWheel(wheels, {
      name: "harbour-sample",
      version: "1.0",
      files: { "harbour_sample/__init__.py": "def main():\n    print('from a command')\n" },
      scripts: { "harbour-hello": "harbour_sample:main" },
    });
    server = await startServer({
      LONGSHORE_ENGINES: folder.at("engines.json"),
      LONGSHORE_BUILD_NETWORK: "none",
      LONGSHORE_BUILD_WHEELS: wheels,
      LONGSHORE_BUILD_CPU: "1",
      LONGSHORE_BUILD_RAM: "256MB",
      LONGSHORE_COUNT_OTHERS: "true",
    });
    client = new Longshore(server.address);
    archive = folder.at("training.zip");
    await run(process.execPath, [join(ROOT, "scripts/lib/zip-folder.ts"), PROJECT, archive]);
  });
  after(async () => {
    client?.close();
    await server?.[Symbol.asyncDispose]();
    const left = await lab?.kubectl(
      "get",
      "jobs,pods",
      "-n",
      NAMESPACE,
      "-l",
      `longshore.dev/engine in (${ENGINE}, ${BLIND})`,
      "-o",
      "name",
    );
    await proxy?.[Symbol.asyncDispose]();
    await folder?.[Symbol.asyncDispose]();
    await lab?.[Symbol.asyncDispose]();
    assert.equal(left, "");
  });

  const checkTrained = async (id: string, weights: string) => {
    assert.equal(JSON.parse(weights).weights.length, 2);
    const record = await client.task(id).get();
    const [attempt] = record.attempts;
    assert.equal(attempt?.engine, ENGINE);
    assert.match(record.containerId, /^longshore-/);
    assert.match(record.result?.stdoutTail ?? "", /saved model\/weights\.json\n$/);
  };

  test("a zipped project runs from the TypeScript client", async () => {
    const task = await client.submit(archive, { ...SMALL, outputs: ["model/*"] });
    await task.result();
    await task.artifacts.downloadAll(folder.at("typescript"));
    await checkTrained(task.id, await readFile(folder.at("typescript/model/weights.json"), "utf8"));
  });

  test("a zipped project runs from the command line, and its output comes live", async () => {
    const { code, stdout, stderr } = await runCli(
      [
        "run",
        archive,
        "--cpu",
        "0.5",
        "--ram",
        "128MB",
        "--storage",
        "32MB",
        "--engine",
        ENGINE,
        "--",
        "--epochs",
        "2",
      ],
      { server: server.address },
    );
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^epoch 1: .*\nepoch 2: .*\nsaved model\/weights\.json\n$/);
  });

  test("a zipped project runs from the Python client", {
    skip: python === "" && "LONGSHORE_TEST_PYTHON names no Python with the client's packages",
  }, async () => {
    const program = `
import sys, longshore
with longshore.Client(sys.argv[1]) as client:
    task = client.submit(sys.argv[2], cpu=0.5, ram="128MB", storage="32MB", timeout="5m", outputs=["model/*"])
    task.wait().artifacts.download_all(sys.argv[3])
    print(task.id)
`;
    const { stdout } = await run(python, ["-c", program, server.address, archive, folder.at("python")], {
      env: { ...process.env, PYTHONPATH: join(ROOT, "clients/python/src"), PYTHONDONTWRITEBYTECODE: "1" },
    });
    await checkTrained(stdout.trim(), await readFile(folder.at("python/model/weights.json"), "utf8"));
  });

  const letGo = () =>
    lab.kubectl("delete", "pod", "squatter", "--grace-period=0", "--force", "--ignore-not-found");
  /** Holds most of the node. */
  const squatter = async () => {
    await lab.kubectl("apply", "-f", join(ROOT, "test/support/kubernetes-lab/squatter.yaml"));
    await lab.kubectl("wait", "--for=condition=Ready", "pod/squatter");
    return { [Symbol.asyncDispose]: async () => void (await letGo()) };
  };

  const numbered = (source: Source, onLine: (lines: number) => void) => {
    const told = new Set<number>();
    return NumberedTask.submit(client, source, { outputs: ["left.txt"] }, (_, { lines }) => {
      if (told.has(lines)) return;
      told.add(lines);
      onLine(lines);
    });
  };

  test("a server that is killed in the middle adopts its task, and no line is lost or told twice", async () => {
    let restarted: Promise<void> | undefined;
    const task = await numbered({ code: numberedCode(50) }, (lines) => {
      if (lines >= LINES / 3) restarted ??= server.kill().then(() => server.start());
    });
    await task.ended;
    await restarted;
    assert.deepEqual(await task.problems(), []);
    assert.equal((await task.task.get()).attempts.length, 1);
  });

  test("a task that ends while its server is away waits for the next one, artifacts and all", async () => {
    const task = await client.submit(
      {
        code: "import time\nprint('begun', flush=True)\ntime.sleep(1)\nopen('left.txt', 'w').write('kept')\nprint('done')",
      },
      { ...SMALL, outputs: ["left.txt"] },
    );
    for await (const event of task.watch()) if (event.kind === "log") break;
    await server.kill();
    const ended = async () =>
      await lab.kubectl(
        ...["get", "pods", "-n", NAMESPACE, "-l", `longshore.dev/task=${task.id}`],
        ...[
          "-o",
          "jsonpath={.items[*].status.containerStatuses[?(@.name=='runner')].state.terminated.exitCode}",
        ],
      );
    while ((await ended()) !== "0");
    await server.start();
    await task.result();
    const record = await task.get();
    assert.equal(record.result?.stdoutTail, "begun\ndone\n");
    await task.artifacts.downloadAll(folder.at("kept"));
    assert.equal(await readFile(folder.at("kept/left.txt"), "utf8"), "kept");
  });

  test("connections to the cluster that break again and again lose no line", async () => {
    const task = await numbered({ code: numberedCode(50) }, (lines) => {
      if (lines > 0 && lines % 10 === 0) proxy.cutAll();
    });
    await task.ended;
    assert.deepEqual(await task.problems(), []);
  });

  test("a cluster that is away when the server starts keeps nothing from starting, and is taken up when it is back", async () => {
    let restarted: Promise<void> | undefined;
    const away = async () => {
      await server.kill();
      proxy.refuses = true;
      proxy.cutAll();
      await server.start();
      const [engine] = (await client.capabilities()).engines;
      assert.match(engine?.unavailable ?? "", /engine atena02 is asked again in a moment: the Kubernetes/);
      assert.deepEqual(engine?.tiers, []);
      await assert.rejects(
        client.submit({ code: "print(1)" }, SMALL),
        (error) => error instanceof Unavailable && /has not answered since/.test(error.message),
      );
      proxy.refuses = false;
    };
    const task = await numbered({ code: numberedCode(50) }, (lines) => {
      if (lines >= LINES / 3) restarted ??= away();
    });
    await task.ended;
    await restarted;
    assert.deepEqual(await task.problems(), []);
    assert.equal((await task.task.get()).attempts.length, 1);
    const next = await client.submit({ code: "print('there')" }, SMALL);
    assert.equal((await next.result()).reason, "EXITED");
    assert.equal((await client.capabilities()).engines[0]?.unavailable, "");
  });

  test("a pod that is taken away ends its task as lost, with what it had said", async () => {
    const task = await client.submit(
      { code: "import time\nprint('begun', flush=True)\ntime.sleep(60)" },
      SMALL,
    );
    for await (const event of task.watch()) if (event.kind === "log") break;
    await lab.kubectl("delete", "pods", "-n", NAMESPACE, "-l", `longshore.dev/task=${task.id}`);
    const outcome = await task.result({ reject: false });
    assert.equal(outcome.reason, "LOST");
    assert.equal((await task.get()).result?.stdoutTail, "begun\n");
  });

  test("memory beyond the limit ends it as out of memory", async () => {
    const task = await client.submit(
      { code: "x = bytearray(400 * 2**20); print(len(x))" },
      { ...SMALL, ram: "64MB" },
    );
    assert.equal((await task.result({ reject: false })).reason, "OUT_OF_MEMORY");
  });

  test("a task beside pods of others waits without a pod, is told what they hold, and runs when they let go", async () => {
    await using _ = await squatter();
    for await (const { foreign } of client.watchCapacity({ engine: ENGINE }))
      if ((foreign?.cpuMillis ?? 0n) >= 1200n) break;
    const task = await client.submit({ code: "print('at last')" }, { ...SMALL, cpu: "1" });
    const { wait } = await task.get();
    assert.match(wait?.message ?? "", /1 CPU .* CPU free; other containers on the cluster's hosts hold 1\./);
    await letGo();
    assert.equal((await task.result()).reason, "EXITED");
    assert.equal((await task.get()).attempts.length, 1);
  });

  test("a task of an engine that does not know of them goes back to the queue with the scheduler's reason, and runs when there is room", async () => {
    await using _ = await squatter();
    const task = await client.submit(
      { code: "print('at last')" },
      { ...SMALL, cpu: "1", placement: { engine: BLIND } },
    );
    for await (const event of task.watch())
      if (
        event.kind === "task" &&
        event.task.attempts.some(({ result }) => /Insufficient cpu/.test(result?.message ?? ""))
      )
        break;
    await letGo();
    assert.equal((await task.result()).reason, "EXITED");
    assert.equal((await task.get()).result?.stdoutTail, "at last\n");
  });

  test("packages are installed there once, and are in the pods of all who ask for the same", {
    skip: noUv,
  }, async () => {
    const code = [
      "import subprocess, harbour_sample",
      "harbour_sample.main()",
      "print(subprocess.run(['harbour-hello'], capture_output=True, text=True).stdout, end='')",
      "try: open('/environment/x', 'w')",
      "except OSError as error: print(type(error).__name__)",
    ].join("\n");
    const notes: string[] = [];
    for (const end of ["", "\nprint('again')"]) {
      const task = await client.submit({ code: code + end }, { ...SMALL, requirements: "harbour-sample" });
      await task.result();
      const record = await task.get();
      assert.match(record.result?.stdoutTail ?? "", /^(from a command\n){2}OSError\n/);
      notes.push(record.stages.find(({ name }) => name === ENVIRONMENT_STAGE)?.note ?? "");
    }
    assert.match(notes[0] ?? "", /^built in/);
    assert.match(notes[1] ?? "", /^cached/);
  });

  test("GPUs are requested whole, on a node of the model asked for, and never more than others leave", async () => {
    const [engine] = (await client.capabilities()).engines;
    assert.deepEqual([engine?.largestTask?.gpuCount, engine?.gpuModels], [2, [GPU_MODEL]]);
    const onGpus = (gpu: string, code: string) =>
      client.submit({ code }, { ...SMALL, cpu: "0.1", gpu, gpuModel: GPU_MODEL });
    await assert.rejects(onGpus("3", "print(1)"), /3 GPU/);
    const first = await onGpus("1", "print('begun', flush=True)\nimport time\ntime.sleep(60)");
    for await (const event of first.watch()) if (event.kind === "log") break;
    const requested = "{.items[*].spec.containers[?(@.name=='runner')].resources.requests.nvidia\\.com/gpu}";
    const selected = "{.items[*].spec.nodeSelector.nvidia\\.com/gpu\\.product}";
    const pods = ["get", "pods", "-n", NAMESPACE, "-l", `longshore.dev/task=${first.id}`, "-o"];
    assert.equal(await lab.kubectl(...pods, `jsonpath=${requested} ${selected}`), `1 ${GPU_MODEL}`);
    const both = await onGpus("2", "print('both')");
    assert.match((await both.get()).wait?.message ?? "", /waiting for 2 GPU \(1 GPU free/);
    await first.cancel();
    assert.equal((await both.result()).reason, "EXITED");
  });

  test("what the cluster cannot give is refused at once, with why", async () => {
    const node = await client.capabilities();
    const [cluster] = node.engines;
    assert.ok(cluster?.largestTask !== undefined);
    await assert.rejects(client.submit({ code: "print(1)" }, { ...SMALL, cpu: "1000" }), /cpu/i);
    await assert.rejects(client.submit({ code: "print(1)" }, { ...SMALL, network: "egress" }), /egress/);
    await assert.rejects(
      client.submit({ code: "print(1)" }, { ...SMALL, requireEnforced: ["processes"] }),
      /processes/,
    );
  });
});
