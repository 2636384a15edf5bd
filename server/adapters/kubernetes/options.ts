import type { Log } from "../../domain/ports/telemetry.ts";
import type { Resources } from "../../domain/resources.ts";

/** Where and how sandboxes of one engine are placed; all of it is the operator's. */
export interface KubernetesPlacement {
  readonly namespace: string;
  readonly nodeSelector: Readonly<Record<string, string>>;
  readonly tolerations: readonly Toleration[];
  /** Empty takes the cluster's default. */
  readonly priorityClass: string;
  readonly imagePullPolicy: "IfNotPresent" | "Always" | "Never";
  /** Names of secrets in the namespace. */
  readonly imagePullSecrets: readonly string[];
  /** Empty takes the cluster's default. */
  readonly runtimeClass: string;
  /** The extended resource that stands for a whole GPU. */
  readonly gpuResource: string;
  /** disk: an emptyDir that the kubelet looks after. memory: a tmpfs that is exactly as large as was asked for, and counts as RAM. */
  readonly storage: "disk" | "memory";
}

export interface Toleration {
  readonly key?: string;
  readonly operator?: "Exists" | "Equal";
  readonly value?: string;
  readonly effect?: "NoSchedule" | "PreferNoSchedule" | "NoExecute";
}

export interface KubernetesEngineOptions {
  readonly name: string;
  /** Path of a kubeconfig; null takes KUBECONFIG, then the pod's own service account, then ~/.kube/config. */
  readonly kubeconfig: string | null;
  /** Empty takes the kubeconfig's own. */
  readonly context: string;
  readonly placement: KubernetesPlacement;
  /** Null puts all tasks into the placement's namespace; else that has only the pods that try images out. */
  readonly namespacePerTenant: NamespacePerTenant | null;
  readonly dataDirectory: string;
  /** Tells our pods from another server's in the same namespace. */
  readonly installationId: string;
  readonly runnerDirectory: string;
  /** The programs of the pod's other containers. */
  readonly podDirectory: string;
  readonly defaultImage: string;
  /** Names or globs of images that tasks may ask for, besides the default. */
  readonly allowedImages: readonly string[];
  /** What an image that tasks name is called in the cluster's registry; its own name where it is not in here. */
  readonly imageReferences: ReadonlyMap<string, string>;
  /** Null adds up what the nodes offer. */
  readonly capacity: Resources | null;
  /** The operator's word that the cluster's network plugin holds to network policies. */
  readonly networkPolicyHolds: boolean;
  /** How long a pod may wait for a node and its image. */
  readonly startMillis: number;
  /** How long a pod whose server is away keeps what its task left. */
  readonly holdMillis: number;
  /** How long a node may be out of reach before its pods count as lost. */
  readonly nodeAwaySeconds: number;
  readonly log: Log;
}

/** A namespace for the tasks of each tenant; docs/kubernetes.md. */
export interface NamespacePerTenant {
  readonly prefix: string;
  /** The server makes those that are missing; else the operator does. */
  readonly create: boolean;
  /** What each that the server makes may hold, as a ResourceQuota has it; empty for none. */
  readonly resourceQuota: Readonly<Record<string, string>>;
}

/** The one network policy that must select our pods; deploy/kubernetes has it. */
export const NETWORK_POLICY = "longshore-sandboxes";
/** What the sandboxes of builds reach beyond that; deploy/kubernetes/builds has it. */
export const BUILD_NETWORK_POLICY = "longshore-builds";

export const DEFAULT_PLACEMENT: KubernetesPlacement = {
  namespace: "longshore-tasks",
  nodeSelector: {},
  tolerations: [],
  priorityClass: "",
  imagePullPolicy: "IfNotPresent",
  imagePullSecrets: [],
  runtimeClass: "",
  gpuResource: "nvidia.com/gpu",
  storage: "disk",
};

export const DEFAULT_TIMES = {
  startMillis: 5 * 60_000,
  holdMillis: 24 * 3600_000,
  nodeAwaySeconds: 60,
} as const;
