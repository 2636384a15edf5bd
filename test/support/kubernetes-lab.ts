import { execFile } from "node:child_process";
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { ulid } from "ulid";
import {
  type KubernetesEngine,
  openKubernetesEngine,
} from "#server/adapters/kubernetes/kubernetes-engine.ts";
import { LABELS } from "#server/adapters/kubernetes/naming.ts";
import {
  DEFAULT_PLACEMENT,
  DEFAULT_TIMES,
  type KubernetesEngineOptions,
} from "#server/adapters/kubernetes/options.ts";
import { dockerMissing, EXECUTOR_IMAGE } from "./docker-engine.ts";
import { CollectingLog } from "./fakes/collecting-log.ts";
import { TemporaryFolder } from "./temporary-folder.ts";

const run = promisify(execFile);
const SCRIPTS = join(import.meta.dirname, "kubernetes-lab");
const MANIFESTS = join(import.meta.dirname, "../../deploy/kubernetes");
const IMAGE_FOLDER = join(import.meta.dirname, "../../executor-image");
export const NAMESPACE = DEFAULT_PLACEMENT.namespace;

/** Why tests against a real cluster cannot run here; false when they can. */
export async function kubernetesMissing(): Promise<string | false> {
  const missing = await dockerMissing();
  if (missing !== false) return missing;
  for (const program of ["kone", "lab-pause", "containerd", "ctr", "openssl"]) {
    try {
      await run("sh", ["-c", `command -v ${program}`]);
    } catch {
      return `needs ${program} on PATH: scripts/test kubernetes builds and installs what the lab takes`;
    }
  }
  return false;
}

interface LabContents {
  /** Of Docker's, beside the executor image. */
  readonly images?: readonly string[];
  /** Without the manifests and rights of a server outside the cluster. */
  readonly bare?: boolean;
}

/** A real Kubernetes of one node on this machine, with what deploy/kubernetes puts into a cluster. */
export class KubernetesLab implements AsyncDisposable {
  readonly folder: string;

  readonly #own: string | null;

  private constructor(folder: string, own: string | null) {
    this.folder = folder;
    this.#own = own;
  }

  /** Of its own, or the one that somebody has started by hand at KUBERNETES_LAB (up.sh), which then stays. */
  static async start(nodes = 1, { images = [], bare = false }: LabContents = {}): Promise<KubernetesLab> {
    const running = process.env.KUBERNETES_LAB;
    // Short: the path of a Unix socket has 108 bytes.
    const folder = running === undefined ? await mkdtemp(join(tmpdir(), "k8s-")) : null;
    const lab = new KubernetesLab(running ?? join(folder ?? "", "r"), folder);
    try {
      if (folder !== null) {
        const archive = join(folder, "images.tar");
        await run(join(SCRIPTS, "images.sh"), [archive, EXECUTOR_IMAGE, ...images]);
        await run(join(SCRIPTS, "up.sh"), [lab.folder, archive, String(nodes)]);
      }
      if (bare) return lab;
      await lab.kubectl("apply", "-k", MANIFESTS);
      await lab.kubectl("apply", "-f", join(SCRIPTS, "bindings.yaml"));
      return lab;
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Of the user who has the rights of deploy/kubernetes alone. */
  get kubeconfig(): string {
    return join(this.folder, "kc/longshore.kubeconfig");
  }

  get adminKubeconfig(): string {
    return join(this.folder, "kc/admin.kubeconfig");
  }

  /** As the cluster's administrator: the tests' own way beside the engine's. */
  async kubectl(...args: string[]): Promise<string> {
    return (await run("kone", ["kubectl", "--kubeconfig", this.adminKubeconfig, ...args])).stdout.trim();
  }

  /** Of the service account that deploy/kubernetes makes for a server, with nothing but what manifests give it. */
  async accountKubeconfig(): Promise<string> {
    const token = await this.kubectl("create", "token", "longshore", "-n", NAMESPACE, "--duration=1h");
    const config = await readFile(this.adminKubeconfig, "utf8");
    const path = join(this.folder, "kc/account.kubeconfig");
    await writeFile(path, config.replace(/^users:.*$/m, `users: [{name: u, user: {token: ${token}}}]`), {
      mode: 0o600,
    });
    return path;
  }

  /** The first node says that it has so many, as a device plugin would have it: the scheduler counts them, and no pod finds one. */
  async pretendGpus(count: number, model: string): Promise<void> {
    const patch = [{ op: "add", path: "/status/capacity/nvidia.com~1gpu", value: String(count) }];
    await this.kubectl(
      "patch",
      "node/n1",
      "--subresource=status",
      "--type=json",
      "-p",
      JSON.stringify(patch),
    );
    await this.kubectl("label", "node/n1", `nvidia.com/gpu.product=${model}`);
    const allocatable = "jsonpath={.status.allocatable.nvidia\\.com/gpu}";
    // The kubelet takes it over with its next report.
    while ((await this.kubectl("get", "node/n1", "-o", allocatable)) !== String(count));
  }

  /** Lets the first node find an image under a name with its digest, as one that came from a registry has it. */
  async nameByDigest(image: string, name: string): Promise<string> {
    const local = `docker.io/${image}`;
    const table = await this.#ctr("images", "ls", `name==${local}`);
    const digest = /sha256:[0-9a-f]{64}/.exec(table)?.[0];
    if (digest === undefined) throw new Error(`the node has no image ${local}`);
    const reference = `${name}@${digest}`;
    await this.#ctr("images", "tag", "--force", local, reference);
    return reference;
  }

  /** SIGKILL to the first process of a container of the first node, by the id that the cluster gives it. */
  async killContainer(id: string): Promise<void> {
    await this.#ctr("tasks", "kill", "--signal", "SIGKILL", id.replace("containerd://", ""));
  }

  async #ctr(...args: string[]): Promise<string> {
    const socket = join(this.folder, "n1/c.sock");
    return (await run("ctr", ["--address", socket, "--namespace", "k8s.io", ...args])).stdout;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#own === null) return;
    await run(join(SCRIPTS, "down.sh"), [this.folder]);
    await run("rm", ["-rf", "--one-file-system", this.#own]);
  }
}

/** A data folder and an installation of its own on a lab; servers on it may come and go. */
export class KubernetesBench implements AsyncDisposable {
  readonly path: string;
  readonly installationId = ulid();
  readonly log = new CollectingLog();
  readonly #lab: KubernetesLab;
  readonly #folder: TemporaryFolder;
  readonly #engines = new Set<KubernetesEngine>();

  private constructor(lab: KubernetesLab, folder: TemporaryFolder) {
    this.#lab = lab;
    this.#folder = folder;
    this.path = folder.path;
  }

  static async create(lab: KubernetesLab): Promise<KubernetesBench> {
    return new KubernetesBench(lab, await TemporaryFolder.create());
  }

  async open(changes: Partial<KubernetesEngineOptions> = {}): Promise<KubernetesEngine> {
    const engine = await openKubernetesEngine({
      name: "cluster",
      kubeconfig: this.#lab.kubeconfig,
      context: "",
      placement: DEFAULT_PLACEMENT,
      namespacePerTenant: null,
      dataDirectory: this.path,
      installationId: this.installationId,
      runnerDirectory: join(IMAGE_FOLDER, "runner"),
      podDirectory: join(IMAGE_FOLDER, "pod"),
      defaultImage: EXECUTOR_IMAGE,
      allowedImages: ["longshore/*:*"],
      imageReferences: new Map(),
      capacity: null,
      networkPolicyHolds: false,
      ...DEFAULT_TIMES,
      log: this.log,
      ...changes,
    });
    this.#engines.add(engine);
    await engine.capabilities();
    return engine;
  }

  /** Jobs and pods of a sandbox that are still there, in words. */
  async leftovers(sandboxId: string): Promise<string[]> {
    const found = await this.#lab.kubectl(
      ...["get", "jobs,pods", "-n", NAMESPACE, "-o", "name", "-l", `${LABELS.sandbox}=${sandboxId}`],
    );
    return found.split("\n").filter((name) => name !== "");
  }

  async removeFromOutside(sandboxId: string): Promise<void> {
    await this.#lab.kubectl(
      ...["delete", "jobs", "-n", NAMESPACE, "-l", `${LABELS.sandbox}=${sandboxId}`, "--cascade=foreground"],
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const engine of this.#engines) {
      for (const { id } of await engine.list()) await engine.release(id);
      await engine.close();
    }
    await this.#folder[Symbol.asyncDispose]();
  }
}
