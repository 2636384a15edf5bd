import { createHash, randomUUID } from "node:crypto";
import { readFile, rename, writeFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import type { V1Pod } from "@kubernetes/client-node";
import picomatch from "picomatch";
import { z } from "zod";
import { ImageRefused, SystemFault, Unavailable } from "../../domain/errors.ts";
import type { ImageInfo } from "../../domain/ports/engine.ts";
import type { Log } from "../../domain/ports/telemetry.ts";
import { errnoOf } from "../sandbox/errno.ts";
import type { Cluster } from "./cluster.ts";
import { hardenedContainer, hardenedPod, PYTHON } from "./job-manifest.ts";
import { LABELS } from "./naming.ts";
import type { KubernetesPlacement } from "./options.ts";
import { containerOf, unschedulable, waitingFor } from "./pod-state.ts";

const LEAST_PYTHON_EXIT = 41;
const PROBE_COMMAND = [
  ...PYTHON,
  "-c",
  `import sys; sys.exit(0 if sys.version_info >= (3, 9) else ${LEAST_PYTHON_EXIT})`,
];
/** What a name of an image may look like; anything else never gets to the cluster. */
const IMAGE_NAME = /^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}$/;
const DIGEST = /sha256:[0-9a-f]{64}$/;
const POLL_MILLIS = 150;
/** A tag may come to mean another image. */
const KNOWN_MILLIS = 10 * 60_000;
/** A caller waits for it: a large image is pulled on all the same, and is there at the next try. */
const PROBE_MILLIS = 60_000;
const PROBE = "probe";

export interface ImagePolicy {
  readonly defaultImage: string;
  readonly allowed: readonly string[];
  readonly references: ReadonlyMap<string, string>;
  readonly installationId: string;
  readonly engine: string;
  readonly placement: KubernetesPlacement;
}

interface Known {
  readonly digest: string;
  readonly until: number;
}

/**
 * Decides which images may run and finds out what they are: only a kubelet knows that, so a pod of each image is started once, which
 * also shows that the runner can work in it.
 */
export class Images {
  readonly #cluster: Cluster;
  readonly #policy: ImagePolicy;
  readonly #log: Log;
  readonly #isAllowed: (name: string) => boolean;
  readonly #known = new Map<string, Promise<Known>>();
  readonly #references: Map<string, string>;
  readonly #file: string;
  #saving: Promise<unknown> = Promise.resolve();

  private constructor(
    cluster: Cluster,
    policy: ImagePolicy,
    log: Log,
    file: string,
    references: Map<string, string>,
  ) {
    this.#cluster = cluster;
    this.#file = file;
    this.#references = references;
    this.#policy = policy;
    this.#log = log;
    const matches = policy.allowed.map((pattern) =>
      picomatch(pattern, { dot: true, nobrace: true, noext: true }),
    );
    this.#isAllowed = (name) =>
      name === policy.defaultImage || policy.references.has(name) || matches.some((match) => match(name));
  }

  /** `file` keeps what digests are called, for tasks that an earlier server resolved the image of. */
  static async open(cluster: Cluster, policy: ImagePolicy, log: Log, file: string): Promise<Images> {
    return new Images(cluster, policy, log, file, await readReferences(file));
  }

  /** Throws ImageRefused with what to do about it. */
  async resolve(name: string): Promise<ImageInfo> {
    if (!IMAGE_NAME.test(name))
      throw new ImageRefused(name, "name", `${JSON.stringify(name)} is no name of an image`);
    if (!this.#isAllowed(name)) {
      const allowed = [this.#policy.defaultImage, ...this.#policy.references.keys(), ...this.#policy.allowed];
      throw new ImageRefused(
        name,
        "not_allowed",
        `image ${name} is not among those this server allows (${[...new Set(allowed)].join(", ")}); ask its operator to add it`,
      );
    }
    let known = this.#known.get(name);
    if (known === undefined || (await known).until < Date.now()) {
      known = this.#examine(name);
      this.#known.set(name, known);
      // What went wrong may be another matter the next time.
      known.catch(() => this.#known.delete(name));
    }
    return { name, digest: (await known).digest };
  }

  /** How the kubelets are told of it. */
  reference(digest: string): string {
    const reference = this.#references.get(digest);
    if (reference === undefined) throw new Unavailable(`image ${digest} is not known to this server yet`);
    return reference;
  }

  /** Probes that an earlier server could not take away. */
  async sweep(): Promise<void> {
    const { pods } = await this.#cluster.listPods(this.#selector);
    for (const { metadata } of pods)
      if (metadata?.name !== undefined) await this.#cluster.deletePod(metadata.name, metadata.uid ?? "");
  }

  get #selector(): string {
    const { installationId, engine } = this.#policy;
    return `${LABELS.role}=image,${LABELS.installation}=${installationId.toLowerCase()},${LABELS.engine}=${engine}`;
  }

  async #examine(name: string): Promise<Known> {
    const asked = this.#policy.references.get(name) ?? name;
    const made = await this.#cluster.createPod(this.#probe(asked));
    const pod = made.metadata?.name ?? "";
    try {
      const imageId = await this.#outcome(name, pod);
      const digest = DIGEST.exec(imageId)?.[0];
      if (digest === undefined)
        throw new ImageRefused(name, "digest", `image ${name} has no digest in the cluster: ${imageId}`);
      // By its digest where the registry has one: another node would else pull what the tag means by then.
      await this.#remember(digest, imageId.includes("@") ? imageId.replace(/^[a-z-]+:\/\//, "") : asked);
      return { digest, until: Date.now() + KNOWN_MILLIS };
    } finally {
      await this.#cluster
        .deletePod(pod, made.metadata?.uid ?? "")
        .catch((error: unknown) =>
          this.#log.warn("a probe of an image is left for the next start", { pod, error: String(error) }),
        );
    }
  }

  async #remember(digest: string, reference: string): Promise<void> {
    if (this.#references.get(digest) === reference) return;
    this.#references.set(digest, reference);
    // One after the other, so that the file never goes back to what was known before.
    const saved = this.#saving.then(() => this.#save());
    this.#saving = saved.catch(() => undefined);
    await saved;
  }

  async #save(): Promise<void> {
    const fresh = `${this.#file}.new`;
    await writeFile(fresh, JSON.stringify(Object.fromEntries(this.#references)), { mode: 0o600 });
    await rename(fresh, this.#file);
  }

  async #outcome(name: string, podName: string): Promise<string> {
    const giveUp = Date.now() + PROBE_MILLIS;
    for (;;) {
      const pod = await this.#cluster.readPod(podName);
      if (pod === undefined) throw new Unavailable(`the pod that tries image ${name} out was removed`);
      const imageId = this.#verdict(name, pod);
      if (imageId !== undefined) return imageId;
      if (Date.now() > giveUp) {
        const why = waitingFor(pod);
        throw new Unavailable(
          `image ${name} could not be tried out within ${PROBE_MILLIS / 1000} s${why === "" ? "" : `: ${why}`}`,
        );
      }
      await delay(POLL_MILLIS);
    }
  }

  /** Undefined while there is none. */
  #verdict(name: string, pod: V1Pod): string | undefined {
    const status = containerOf(pod, PROBE);
    const ended = status?.state?.terminated;
    if (ended?.exitCode === 0) return status?.imageID ?? "";
    if (ended?.exitCode === LEAST_PYTHON_EXIT)
      throw new ImageRefused(
        name,
        "python",
        `image ${name} has a python3 older than 3.9, which the runner needs`,
      );
    if (ended !== undefined)
      throw new ImageRefused(
        name,
        "python",
        `image ${name} cannot run python3, which the runner needs (${ended.reason ?? ""} ${ended.message ?? `exit code ${ended.exitCode}`})`,
      );
    const why = unschedulable(pod) === "" ? waitingFor(pod) : "";
    if (why !== "")
      throw new ImageRefused(
        name,
        "missing",
        `image ${name}: ${why}; ask the server's operator to make it available to the cluster's nodes`,
      );
    return undefined;
  }

  #probe(image: string): V1Pod {
    const { placement, installationId, engine } = this.#policy;
    const hash = createHash("sha256").update(image).digest("hex").slice(0, 10);
    return {
      metadata: {
        name: `longshore-image-${hash}-${randomUUID().slice(0, 8)}`,
        labels: {
          [LABELS.role]: "image",
          [LABELS.installation]: installationId.toLowerCase(),
          [LABELS.engine]: engine,
        },
      },
      spec: {
        ...hardenedPod(placement),
        tolerations: placement.tolerations.map((toleration) => ({ ...toleration })),
        activeDeadlineSeconds: 600,
        containers: [
          {
            ...hardenedContainer({ image, placement }, PROBE, []),
            command: PROBE_COMMAND,
            resources: { requests: { cpu: "10m", memory: "32Mi" }, limits: { cpu: "1", memory: "64Mi" } },
          },
        ],
      },
    };
  }
}

async function readReferences(file: string): Promise<Map<string, string>> {
  try {
    const known = z.record(z.string(), z.string()).parse(JSON.parse(await readFile(file, "utf8")));
    return new Map(Object.entries(known));
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return new Map();
    throw new SystemFault(
      `${file} cannot be read; remove it: images are looked at again`,
      {},
      { cause: error },
    );
  }
}
