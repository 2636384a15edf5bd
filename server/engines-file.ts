import { isAbsolute, resolve } from "node:path";
import { z } from "zod";
import type { Resources } from "./domain/resources.ts";
import { FileProblems, readJsonFile } from "./json-file.ts";
import { cpus, duration, size, text } from "./setting-readers.ts";

/** The Docker of this host, as the other settings have it. */
export interface DockerEntry {
  readonly name: string;
  readonly kind: "docker";
}

/** A Kubernetes cluster; docs/kubernetes.md tells of every field. */
export interface KubernetesEntry {
  readonly name: string;
  readonly kind: "kubernetes";
  /** Null: KUBECONFIG, then the pod that the server runs in, then ~/.kube/config. */
  readonly kubeconfig: string | null;
  readonly context: string;
  readonly namespace: string;
  /** Null: all tasks are in `namespace`. */
  readonly namespacePerTenant: {
    readonly prefix: string;
    readonly create: boolean;
    readonly resourceQuota: Readonly<Record<string, string>>;
  } | null;
  /** What images that tasks name are called in the cluster's registry. */
  readonly images: ReadonlyMap<string, string>;
  readonly imagePullPolicy: "IfNotPresent" | "Always" | "Never";
  readonly imagePullSecrets: readonly string[];
  /** Null adds up the nodes. */
  readonly capacity: Resources | null;
  readonly nodeSelector: Readonly<Record<string, string>>;
  readonly tolerations: readonly {
    readonly key?: string;
    readonly operator?: "Exists" | "Equal";
    readonly value?: string;
    readonly effect?: "NoSchedule" | "PreferNoSchedule" | "NoExecute";
  }[];
  readonly priorityClass: string;
  readonly runtimeClass: string;
  readonly gpuResource: string;
  readonly storage: "disk" | "memory";
  readonly networkPolicyHolds: boolean;
  readonly startMillis: number;
  readonly holdMillis: number;
  readonly nodeAwayMillis: number;
}

/** A Slurm cluster; docs/engines.md tells of every field. */
export interface SlurmEntry {
  readonly name: string;
  readonly kind: "slurm";
  /** slurm.conf; empty where Slurm's tools find it themselves. */
  readonly configFile: string;
  /** Null where the controller is asked by Slurm's tools. */
  readonly slurmrestd: {
    readonly url: string;
    readonly user: string;
    readonly tokenFile: string;
    readonly caFile: string | null;
  } | null;
  /** Seen by server and nodes under one path; null where the whole data folder is. */
  readonly sharedDirectory: string | null;
  /** Root file systems that every node sees, by the image names that they stand for. */
  readonly images: ReadonlyMap<string, string>;
  readonly account: string;
  readonly partition: string;
  /** What nodes must have, by instance type. */
  readonly constraints: ReadonlyMap<string, string>;
  readonly nodeNetwork: boolean;
  readonly scratchBytesPerNode: number;
  readonly uids: { readonly first: number; readonly count: number };
}

export type EngineEntry = DockerEntry | KubernetesEntry | SlurmEntry;

export const ONLY_DOCKER: readonly [EngineEntry] = [{ name: "docker", kind: "docker" }];

/** A name becomes part of labels and paths. */
const name = z
  .string("is missing")
  .regex(/^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/, "is no name of at most 40 small letters, digits and dashes");

const docker = z.strictObject({ name, kind: z.literal("docker") });

const toleration = z.strictObject({
  key: text.exactOptional(),
  operator: z.enum(["Exists", "Equal"]).exactOptional(),
  value: z.string().exactOptional(),
  effect: z.enum(["NoSchedule", "PreferNoSchedule", "NoExecute"]).exactOptional(),
});

const capacity = z
  .strictObject({ cpu: cpus, ram: size, storage: size, gpu: z.int().nonnegative().default(0) })
  .transform(
    ({ cpu, ram, storage, gpu }): Resources => ({
      cpuMillis: cpu,
      ramBytes: ram,
      storageBytes: storage,
      gpuCount: gpu,
    }),
  );

/** The rest of a namespace's 63 characters is the tenant's; the dash keeps the two apart. */
const namespacePrefix = z
  .string()
  .regex(
    /^[a-z]([a-z0-9-]{0,29}-)$/,
    "is no prefix of small letters, digits and dashes, at most 31, that ends with a dash",
  );

const namespacePerTenant = z
  .strictObject({
    prefix: namespacePrefix.default("longshore-tenant-"),
    create: z.boolean().default(false),
    resource_quota: z.record(text, text).default({}),
  })
  .refine(({ create, resource_quota: quota }) => create || Object.keys(quota).length === 0, {
    path: ["resource_quota"],
    error: 'is for namespaces that the server makes: say "create": true, or put the quota into them by hand',
  })
  .transform(({ prefix, create, resource_quota: resourceQuota }) => ({ prefix, create, resourceQuota }));

const kubernetes = z
  .strictObject({
    name,
    kind: z.literal("kubernetes"),
    kubeconfig: text.transform((path) => resolve(path)).optional(),
    context: text.default(""),
    namespace: text.default("longshore-tasks"),
    namespace_per_tenant: namespacePerTenant.optional(),
    images: z.record(text, text).default({}),
    image_pull_policy: z.enum(["IfNotPresent", "Always", "Never"]).default("IfNotPresent"),
    image_pull_secrets: z.array(text).default([]),
    capacity: capacity.optional(),
    node_selector: z.record(text, z.string()).default({}),
    tolerations: z.array(toleration).default([]),
    priority_class: z.string().default(""),
    runtime_class: z.string().default(""),
    gpu_resource: text.default("nvidia.com/gpu"),
    storage: z.enum(["disk", "memory"]).default("disk"),
    network_policy_holds: z.boolean().default(false),
    start_timeout: duration.default(5 * 60_000),
    hold: duration.default(24 * 3600_000),
    node_away: duration.default(60_000),
  })
  .refine(
    ({ namespace, namespace_per_tenant: own }) => own === undefined || !namespace.startsWith(own.prefix),
    {
      path: ["namespace_per_tenant", "prefix"],
      error: 'is how "namespace" begins, which is no tenant\'s',
    },
  )
  .transform(
    (one): KubernetesEntry => ({
      name: one.name,
      kind: one.kind,
      kubeconfig: one.kubeconfig ?? null,
      context: one.context,
      namespace: one.namespace,
      namespacePerTenant: one.namespace_per_tenant ?? null,
      images: new Map(Object.entries(one.images)),
      imagePullPolicy: one.image_pull_policy,
      imagePullSecrets: one.image_pull_secrets,
      capacity: one.capacity ?? null,
      nodeSelector: one.node_selector,
      tolerations: one.tolerations,
      priorityClass: one.priority_class,
      runtimeClass: one.runtime_class,
      gpuResource: one.gpu_resource,
      storage: one.storage,
      networkPolicyHolds: one.network_policy_holds,
      startMillis: one.start_timeout,
      holdMillis: one.hold,
      nodeAwayMillis: one.node_away,
    }),
  );

/** Accounts, partitions and features go into command lines. */
const word = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/, "is no name of letters, digits, dots, dashes");
const folder = z.string().refine(isAbsolute, "is no absolute path");
const slurmrestd = z
  .strictObject({
    url: z.string("is missing").superRefine((url, context) => {
      if (isRestAddress(url)) return;
      // Not repeated: whoever wrote a password into it did not mean to publish it.
      const message = "is none of http://HOST:PORT, https://HOST:PORT, unix:/PATH, without user and password";
      context.addIssue({ code: "custom", message });
    }),
    user: word.default("root"),
    token_file: folder,
    ca_file: folder.optional(),
  })
  .refine(({ url, ca_file }) => ca_file === undefined || url.startsWith("https:"), {
    path: ["ca_file"],
    error: "is for https alone",
  })
  .transform(({ url, user, token_file, ca_file }) => ({
    ...{ url, user, tokenFile: token_file, caFile: ca_file ?? null },
  }));
const slurm = z
  .strictObject({
    name,
    kind: z.literal("slurm"),
    config_file: folder.optional(),
    slurmrestd: slurmrestd.optional(),
    shared_directory: folder.optional(),
    images: z.record(text, folder).refine((images) => Object.keys(images).length > 0, "is empty"),
    account: word.optional(),
    partition: word.optional(),
    constraints: z.record(word, word).default({}),
    node_network: z.boolean().default(false),
    scratch: size.default(64 * 2 ** 30),
    first_uid: z
      .int()
      .min(1000)
      .max(2 ** 31)
      .default(72_000),
    uid_count: z.int().min(1).max(1_000_000).default(4000),
  })
  .refine((one) => one.config_file === undefined || one.slurmrestd === undefined, {
    path: ["config_file"],
    error: "is for Slurm's tools, which are not used where slurmrestd is",
  })
  .transform(
    (one): SlurmEntry => ({
      name: one.name,
      kind: one.kind,
      configFile: one.config_file ?? "",
      slurmrestd: one.slurmrestd ?? null,
      sharedDirectory: one.shared_directory ?? null,
      images: new Map(Object.entries(one.images)),
      account: one.account ?? "",
      partition: one.partition ?? "",
      constraints: new Map(Object.entries(one.constraints)),
      nodeNetwork: one.node_network,
      scratchBytesPerNode: one.scratch,
      uids: { first: one.first_uid, count: one.uid_count },
    }),
  );

const engine = z.discriminatedUnion("kind", [docker, kubernetes, slurm]);
const enginesFile = z.strictObject({ engines: z.tuple([engine], engine) });

function isRestAddress(text: string): boolean {
  if (text.startsWith("unix:/") && !text.startsWith("unix://")) return !text.includes("\0");
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return /^https?:$/.test(protocol) && [username, password, search, hash].every((part) => part === "");
}

/** Reads which engines there are, the default first. Throws FileProblems. */
export function readEnginesFile(path: string): readonly [EngineEntry, ...EngineEntry[]] {
  const { engines } = readJsonFile(path, enginesFile);
  const problems = engines.flatMap(({ name: own, kind }, index) => {
    const earlier = engines.slice(0, index);
    if (earlier.some((other) => other.name === own))
      return [`engines.${index}.name ${own} is another engine's already`];
    // Both would take the containers of the other for their own.
    if (kind === "docker" && earlier.some((other) => other.kind === "docker"))
      return [`engines.${index} is a second Docker; a server has that of its host alone`];
    return [];
  });
  if (problems.length > 0) throw new FileProblems(problems);
  return engines;
}
