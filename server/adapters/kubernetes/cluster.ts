import {
  AuthenticationV1Api,
  BatchV1Api,
  type Configuration,
  CoreV1Api,
  createConfiguration,
  Exec,
  KubeConfig,
  type KubernetesObject,
  KubernetesObjectApi,
  NetworkingV1Api,
  type RequestContext,
  type ResponseContext,
  ServerConfiguration,
  type V1ConfigMap,
  type V1Job,
  type V1Namespace,
  type V1Node,
  type V1Pod,
  VersionApi,
  Watch,
} from "@kubernetes/client-node";
import { SystemFault } from "../../domain/errors.ts";
import { clusterError, statusOf } from "./cluster-errors.ts";
import { ExecChannel } from "./exec-channel.ts";

/** No answer for so long means that none comes. */
const ANSWER_MILLIS = 30_000;
/** The client gives a watch up after 30 s of silence: the cluster ends it sooner, and it goes on from there. */
const WATCH_SECONDS = 20;
const EXEC_MILLIS = 30_000;
export const ALL_NAMESPACES = "";

interface ClusterAddress {
  readonly kubeconfig: string | null;
  readonly context: string;
}

/** The cluster's API as far as the engine uses it, in one namespace. Rejects with Unavailable where it does not answer. */
export class Cluster {
  /** Empty, for lists and watches alone: all of them. */
  readonly namespace: string;
  readonly #config: KubeConfig;
  readonly #api: Configuration;
  readonly #core: CoreV1Api;
  readonly #batch: BatchV1Api;
  readonly #networking: NetworkingV1Api;

  static connect({ namespace, ...address }: ClusterAddress & { namespace: string }): Cluster {
    const config = readKubeconfig(address);
    const server = config.getCurrentCluster()?.server;
    if (server === undefined)
      throw new SystemFault(
        `the kubeconfig names no cluster${address.context === "" ? "" : ` for context ${address.context}`}: set KUBECONFIG, or run the server in the cluster`,
      );
    // As the client itself makes it, with a deadline: by itself it waits for an answer for ever.
    const api = createConfiguration({
      baseServer: new ServerConfiguration(server, {}),
      authMethods: { default: config },
      promiseMiddleware: [DEADLINE],
    });
    return new Cluster(config, api, namespace);
  }

  private constructor(config: KubeConfig, api: Configuration, namespace: string) {
    this.namespace = namespace;
    this.#config = config;
    this.#api = api;
    this.#core = new CoreV1Api(api);
    this.#batch = new BatchV1Api(api);
    this.#networking = new NetworkingV1Api(api);
  }

  /** The same cluster, in another namespace. */
  in(namespace: string): Cluster {
    return namespace === this.namespace ? this : new Cluster(this.#config, this.#api, namespace);
  }

  async version(): Promise<string> {
    return (await this.#ask("tell its version", () => new VersionApi(this.#api).getCode({}))).gitVersion;
  }

  /** Who the server is there. */
  async userName(): Promise<string> {
    const review = await this.#ask("tell who the server is", () =>
      new AuthenticationV1Api(this.#api).createSelfSubjectReview({ body: {} }),
    );
    return review.status?.userInfo?.username ?? "";
  }

  /** Its own namespace's object. */
  async readNamespace(): Promise<V1Namespace | undefined> {
    return await this.#unlessMissing("read a namespace", () =>
      this.#core.readNamespace({ name: this.namespace }),
    );
  }

  /** Of any kind. True unless there was one of that name already. */
  async createObject(body: KubernetesObject): Promise<boolean> {
    return await this.#unlessThere(`make ${body.kind} ${body.metadata?.name}`, () =>
      new KubernetesObjectApi(this.#api).create(body),
    );
  }

  /** Undefined where the server may not see nodes. */
  async nodes(): Promise<V1Node[] | undefined> {
    try {
      return (await this.#ask("list its nodes", () => this.#core.listNode({}))).items;
    } catch (error) {
      if (error instanceof Error && statusOf(error.cause) === 403) return undefined;
      throw error;
    }
  }

  /** Of all namespaces, those that a node has and that have not ended; undefined where the server may not see them. */
  async placedPods(): Promise<V1Pod[] | undefined> {
    const fieldSelector = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed";
    try {
      // From the API server's memory: a moment old, and no work for etcd.
      const list = () => this.#core.listPodForAllNamespaces({ fieldSelector, resourceVersion: "0" });
      return (await this.#ask("list all pods", list)).items;
    } catch (error) {
      if (error instanceof Error && statusOf(error.cause) === 403) return undefined;
      throw error;
    }
  }

  async hasNetworkPolicy(name: string): Promise<boolean> {
    const { namespace } = this;
    const found = await this.#unlessMissing("read a network policy", () =>
      this.#networking.readNamespacedNetworkPolicy({ name, namespace }),
    );
    return found !== undefined;
  }

  /** True unless there was one of that name already. */
  async createConfigMap(body: V1ConfigMap): Promise<boolean> {
    const { namespace } = this;
    return await this.#unlessThere("keep the runner's source", () =>
      this.#core.createNamespacedConfigMap({ namespace, body }),
    );
  }

  /** True unless there was one of that name already. */
  async createJob(body: V1Job): Promise<boolean> {
    const { namespace } = this;
    return await this.#unlessThere("create a job", () =>
      this.#batch.createNamespacedJob({ namespace, body }),
    );
  }

  async readJob(name: string): Promise<V1Job | undefined> {
    const { namespace } = this;
    return await this.#unlessMissing("read a job", () => this.#batch.readNamespacedJob({ name, namespace }));
  }

  async listJobs(labelSelector: string): Promise<V1Job[]> {
    const { namespace } = this;
    const { items } = await this.#ask("list its jobs", () =>
      namespace === ALL_NAMESPACES
        ? this.#batch.listJobForAllNamespaces({ labelSelector })
        : this.#batch.listNamespacedJob({ namespace, labelSelector }),
    );
    return items;
  }

  /** Background: its pod goes a moment later. Foreground: it stays until its pod is gone, and makes none any more. */
  async deleteJob(name: string, propagationPolicy: "Background" | "Foreground"): Promise<void> {
    const { namespace } = this;
    await this.#unlessMissing("delete a job", () =>
      this.#batch.deleteNamespacedJob({ name, namespace, propagationPolicy }),
    );
  }

  async deletePod(name: string, uid: string): Promise<void> {
    const { namespace } = this;
    try {
      await this.#unlessMissing("delete a pod", () =>
        this.#core.deleteNamespacedPod({ name, namespace, body: { preconditions: { uid } } }),
      );
    } catch (error) {
      // Another pod has the name by now, so ours is gone.
      if (!(error instanceof Error) || statusOf(error.cause) !== 409) throw error;
    }
  }

  async createPod(body: V1Pod): Promise<V1Pod> {
    const { namespace } = this;
    return await this.#ask("create a pod", () => this.#core.createNamespacedPod({ namespace, body }));
  }

  async readPod(name: string): Promise<V1Pod | undefined> {
    const { namespace } = this;
    return await this.#unlessMissing("read a pod", () => this.#core.readNamespacedPod({ name, namespace }));
  }

  /** The pods with these labels, and from which version on to watch them. */
  async listPods(labelSelector: string): Promise<{ pods: V1Pod[]; version: string }> {
    const { namespace } = this;
    const { items, metadata } = await this.#ask("list its pods", () =>
      namespace === ALL_NAMESPACES
        ? this.#core.listPodForAllNamespaces({ labelSelector })
        : this.#core.listNamespacedPod({ namespace, labelSelector }),
    );
    return { pods: items, version: metadata?.resourceVersion ?? "" };
  }

  /** Tells of changes since `version` until the cluster ends it or `signal` aborts; the rejection of an old version has status 410. */
  async watchPods(
    labelSelector: string,
    resourceVersion: string,
    tell: (type: string, object: unknown) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const watch = new Watch(this.#config);
    const path =
      this.namespace === ALL_NAMESPACES
        ? "/api/v1/pods"
        : `/api/v1/namespaces/${encodeURIComponent(this.namespace)}/pods`;
    const query = {
      labelSelector,
      resourceVersion,
      allowWatchBookmarks: true,
      timeoutSeconds: WATCH_SECONDS,
    };
    const ended = Promise.withResolvers<void>();
    const done = (error: unknown) => (error ? ended.reject(error) : ended.resolve());
    // The client drops what its callback throws.
    const guarded = (type: string, object: unknown) => {
      try {
        tell(type, object);
      } catch (error) {
        ended.reject(error);
      }
    };
    const stop = () => ended.resolve();
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    const request = await watch.watch(path, query, guarded, done);
    try {
      await ended.promise;
    } finally {
      request.abort();
      signal.removeEventListener("abort", stop);
    }
  }

  /** Runs a program in a container of a pod, connected to its stdin and stdout. */
  async exec(pod: string, container: string, command: readonly string[]): Promise<ExecChannel> {
    const query = new URLSearchParams({
      container,
      stdin: "true",
      stdout: "true",
      stderr: "true",
      tty: "false",
    });
    for (const word of command) query.append("command", word);
    const at = `/api/v1/namespaces/${encodeURIComponent(this.namespace)}/pods/${encodeURIComponent(pod)}/exec?${query}`;
    const channel = new ExecChannel();
    // Its own streams write on whether or not anybody reads.
    const connecting = new Exec(this.#config).handler.connect(at, null, (stream, data) =>
      channel.take(stream, data),
    );
    try {
      channel.open(await within(EXEC_MILLIS, connecting));
      return channel;
    } catch (error) {
      // One that comes up after all must not stay.
      connecting.then(
        (socket) => socket.close(),
        () => undefined,
      );
      throw clusterError(error, `reach container ${container} of pod ${pod}`);
    }
  }

  async #ask<T>(doing: string, call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      throw clusterError(error, doing);
    }
  }

  async #unlessMissing<T>(doing: string, call: () => Promise<T>): Promise<T | undefined> {
    try {
      return await call();
    } catch (error) {
      if (statusOf(error) === 404) return undefined;
      throw clusterError(error, doing);
    }
  }

  async #unlessThere(doing: string, call: () => Promise<unknown>): Promise<boolean> {
    try {
      await call();
      return true;
    } catch (error) {
      if (statusOf(error) === 409) return false;
      throw clusterError(error, doing);
    }
  }
}

function readKubeconfig({ kubeconfig, context }: ClusterAddress): KubeConfig {
  const config = new KubeConfig();
  try {
    if (kubeconfig === null) config.loadFromDefault();
    else config.loadFromFile(kubeconfig);
    if (context !== "") config.setCurrentContext(context);
    return config;
  } catch (error) {
    throw new SystemFault(`the kubeconfig cannot be read: ${String(error)}`, {}, { cause: error });
  }
}

const DEADLINE = {
  pre: async (context: RequestContext) => {
    context.setSignal(AbortSignal.timeout(ANSWER_MILLIS));
    return context;
  },
  post: async (context: ResponseContext) => context,
};

async function within<T>(millis: number, promise: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`no answer within ${millis / 1000} s`)), millis);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
