import { execFile } from "node:child_process";
import { mkdir, readFile, symlink } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Certificates } from "./certificates.ts";
import { EXECUTOR_IMAGE } from "./docker-engine.ts";
import { KubernetesLab } from "./kubernetes-lab.ts";
import { SERVER_IMAGE } from "./server-image.ts";
import { ServiceProxy } from "./service-proxy.ts";
import { TemporaryFolder } from "./temporary-folder.ts";

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, "../..");
const REGISTRY = "registry.example/longshore";
/** Where pods find the cluster's API: the first address of the lab's services. A bridge, since it needs no kernel module of its own. */
const SERVICES = { device: "kn-services", host: "10.96.0.1", port: 443 };
const SERVER_PODS = ["pods", "-n", "longshore", "-l", "app.kubernetes.io/component=server"] as const;

export interface ServerPod {
  readonly name: string;
  readonly address: string;
  readonly containerId: string;
  readonly release: string;
}

/** deploy/cluster in a real cluster as scripts/deploy puts it there: the server is a pod, and so is each of its tasks. */
export class ClusterDeployment implements AsyncDisposable {
  readonly lab: KubernetesLab;
  readonly #stack: AsyncDisposableStack;
  readonly #folder: TemporaryFolder;
  readonly #certificates: Certificates;
  readonly #entrance: ServiceProxy;

  private constructor(
    lab: KubernetesLab,
    stack: AsyncDisposableStack,
    folder: TemporaryFolder,
    certificates: Certificates,
    entrance: ServiceProxy,
  ) {
    this.lab = lab;
    this.#stack = stack;
    this.#folder = folder;
    this.#certificates = certificates;
    this.#entrance = entrance;
  }

  /** A cluster with all that docs/deployment.md wants to be there beforehand: a volume, a namespace, a certificate. */
  static async prepare(certificates: Certificates): Promise<ClusterDeployment> {
    await using stack = new AsyncDisposableStack();
    const lab = stack.use(await KubernetesLab.start(1, { images: [SERVER_IMAGE], bare: true }));
    const folder = stack.use(await TemporaryFolder.create());
    await run("ip", ["link", "add", SERVICES.device, "type", "bridge"]);
    stack.defer(async () => void (await run("ip", ["link", "del", SERVICES.device])));
    await run("ip", ["address", "add", `${SERVICES.host}/32`, "dev", SERVICES.device]);
    await run("ip", ["link", "set", SERVICES.device, "up"]);
    const api = /https:\/\/([0-9.:]+)/.exec(await readFile(lab.kubeconfig, "utf8"))?.[1] ?? "";
    stack.use(await ServiceProxy.start(async () => api, SERVICES));
    const entrance = stack.use(await ServiceProxy.start(async () => (await readyPod(lab)).address));
    const { certificate, key } = await certificates.issue("server");
    await mkdir(folder.at("volume"));
    await mkdir(folder.at("bin"));
    await symlink((await run("sh", ["-c", "command -v kone"])).stdout.trim(), folder.at("bin/kubectl"));
    const volume = await readFile(join(import.meta.dirname, "kubernetes-lab/volume.yaml"), "utf8");
    await folder.write({ "volume.yaml": volume.replace("VOLUME", folder.at("volume")) });
    await lab.kubectl("apply", "-f", folder.at("volume.yaml"));
    await lab.kubectl("apply", "-f", join(ROOT, "deploy/cluster/base/namespace.yaml"));
    await lab.kubectl(
      ...["create", "secret", "tls", "longshore-tls", "-n", "longshore", "--cert", certificate, "--key", key],
    );
    return new ClusterDeployment(lab, stack.move(), folder, certificates, entrance);
  }

  /** Where clients find the server, whichever pod it is. */
  get address(): string {
    return this.#entrance.address;
  }

  /** Runs scripts/deploy, with a task at its end where there is a token for it. `executor` is what the image of tasks is called there. */
  async deploy(executor: string, token?: string): Promise<string> {
    const images = await Promise.all([
      this.lab.nameByDigest(SERVER_IMAGE, `${REGISTRY}/server`),
      this.lab.nameByDigest(EXECUTOR_IMAGE, `${REGISTRY}/${executor}`),
    ]);
    const smoke = { LONGSHORE_SERVER: this.address, LONGSHORE_TLS_CA: this.#certificates.ca };
    const env = {
      ...process.env,
      PATH: `${this.#folder.at("bin")}:${process.env.PATH}`,
      KUBECONFIG: join(this.lab.folder, "kc/admin.kubeconfig"),
      ...(token !== undefined && { ...smoke, LONGSHORE_TOKEN: token }),
    };
    const { stdout, stderr } = await run(join(ROOT, "scripts/deploy"), ["staging", ...images], { env });
    return stdout + stderr;
  }

  /** As docs/deployment.md tells an operator to fetch it. */
  async firstToken(): Promise<string> {
    return await this.inServer("cat", "/var/lib/longshore/data/admin.token");
  }

  async inServer(...command: string[]): Promise<string> {
    return await this.lab.kubectl("-n", "longshore", "exec", "deployment/longshore", "--", ...command);
  }

  async pod(): Promise<ServerPod> {
    return await readyPod(this.lab);
  }

  /** No chance to tidy up, and no pod that could be started again: another one has to come. */
  async killServer(): Promise<void> {
    const { name, containerId } = await this.pod();
    await this.lab.killContainer(containerId);
    await this.lab.kubectl("delete", "pod", "-n", "longshore", name, "--grace-period=0", "--force");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** The pod that a service would lead to. */
async function readyPod(lab: KubernetesLab): Promise<ServerPod> {
  const fields = [
    ".metadata.name",
    ".status.podIP",
    ".status.containerStatuses[0].containerID",
    ".metadata.labels['longshore\\.dev/release']",
    ".status.conditions[?(@.type=='Ready')].status",
    ".metadata.deletionTimestamp",
  ];
  const line = `{range .items[*]}${fields.map((field) => `{${field}}`).join("{','}")}{'\\n'}{end}`;
  const pods = (await lab.kubectl("get", ...SERVER_PODS, "-o", `jsonpath=${line}`)).split("\n");
  for (const [name = "", ip, containerId = "", release = "", ready, leaving] of pods.map((each) =>
    each.split(","),
  ))
    if (ready === "True" && leaving === "") return { name, address: `${ip}:50051`, containerId, release };
  throw new Error("no pod of the server is ready");
}
