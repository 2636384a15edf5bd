import { readFile, rename, writeFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import type { V1Namespace, V1Pod } from "@kubernetes/client-node";
import { z } from "zod";
import { SystemFault, Unsupported } from "../../domain/errors.ts";
import type { Log } from "../../domain/ports/telemetry.ts";
import { storageError } from "../../domain/storage-error.ts";
import { errnoOf } from "../sandbox/errno.ts";
import { ALL_NAMESPACES, type Cluster } from "./cluster.ts";
import { statusOf } from "./cluster-errors.ts";
import type { ProgramVolume } from "./job-manifest.ts";
import { TENANT_ANNOTATION, tenantNamespace } from "./naming.ts";
import { type NamespacePerTenant, NETWORK_POLICY } from "./options.ts";
import type { Programs } from "./program-volume.ts";
import type { SandboxNamespaces, SandboxSource } from "./sandbox-namespaces.ts";
import { manifestList, type TenantManifests, tenantManifests } from "./tenant-manifests.ts";

/** The API server takes a moment to act on rights that were just given. */
const RIGHTS_MILLIS = 15_000;
const RIGHTS_PAUSE_MILLIS = 50;

interface TenantNamespacesOptions {
  readonly policy: NamespacePerTenant;
  /** Keeps which namespaces have held sandboxes of ours. */
  readonly file: string;
  readonly log: Log;
}

/**
 * One for each tenant, made by the server or by the operator. Pods and jobs are looked for in the whole cluster, by their labels; those
 * count alone that are in namespaces which this server has used: anybody who has a namespace could label a pod like a sandbox, and
 * would be sent the spec of a task.
 */
export class TenantNamespaces implements SandboxNamespaces {
  readonly source: SandboxSource;
  readonly #cluster: Cluster;
  readonly #programs: Programs;
  readonly #options: TenantNamespacesOptions;
  /** Also the shared one: it has what ran before each tenant got its own. */
  readonly #used: Set<string>;
  readonly #ready = new Map<string, Promise<Cluster>>();
  #saving: Promise<unknown> = Promise.resolve();

  static async open(
    cluster: Cluster,
    programs: Programs,
    options: TenantNamespacesOptions,
  ): Promise<TenantNamespaces> {
    const used = new Set([...(await readUsed(options.file)), cluster.namespace]);
    return new TenantNamespaces(cluster, programs, options, used);
  }

  private constructor(
    cluster: Cluster,
    programs: Programs,
    options: TenantNamespacesOptions,
    used: Set<string>,
  ) {
    this.#cluster = cluster;
    this.#programs = programs;
    this.#options = options;
    this.#used = used;
    this.source = onlyIn(used, cluster.in(ALL_NAMESPACES));
  }

  get volume(): ProgramVolume {
    return this.#programs.volume;
  }

  /** Each is looked at when its tenant first has a task; builds of environments are in the shared one. */
  async join(): Promise<void> {
    await this.#cluster.createConfigMap(this.#programs.configMap);
  }

  async of(tenant: string | undefined): Promise<Cluster> {
    if (tenant === undefined) throw new SystemFault("a sandbox without a tenant has no namespace");
    let ready = this.#ready.get(tenant);
    if (ready === undefined) {
      ready = this.#prepare(tenant);
      this.#ready.set(tenant, ready);
      // The operator may mend it meanwhile.
      ready.catch(() => this.doubt(tenant));
    }
    return await ready;
  }

  doubt(tenant: string | undefined): void {
    if (tenant !== undefined) this.#ready.delete(tenant);
  }

  async #prepare(tenant: string): Promise<Cluster> {
    const { prefix, create, resourceQuota } = this.#options.policy;
    const namespace = tenantNamespace(prefix, tenant);
    const place = this.#cluster.in(namespace);
    const user = await this.#cluster.userName();
    const manifests = tenantManifests({ namespace, tenant, user, resourceQuota });
    if (create) await this.#make(place, tenant, manifests);
    else await this.#check(place, tenant, manifests);
    await onceAllowed(() => place.createConfigMap(this.#programs.configMap), create ? RIGHTS_MILLIS : 0);
    // Before the first job: a server that is killed right after it must find it again.
    await this.#remember(namespace);
    return place;
  }

  async #make(place: Cluster, tenant: string, { namespace, content }: TenantManifests): Promise<void> {
    const isNew = await place.createObject(namespace);
    if (!isNew) refuseForeign(await place.readNamespace(), place.namespace, tenant);
    else this.#options.log.info("made a namespace", { tenant, namespace: place.namespace });
    // All of them even where it was there: the server that made it may have been killed before it made the rest.
    for (const object of content) await place.createObject(object);
  }

  async #check(place: Cluster, tenant: string, manifests: TenantManifests): Promise<void> {
    try {
      const found = await place.readNamespace();
      refuseForeign(found, place.namespace, tenant);
      if (found !== undefined && (await place.hasNetworkPolicy(NETWORK_POLICY))) return;
    } catch (error) {
      // Without rights in it the cluster does not even tell whether it is there.
      if (!isForbidden(error)) throw error;
    }
    this.#options.log.warn(
      "a namespace is not there, or not complete; kubectl apply -f - takes what it needs",
      {
        ...{ tenant, namespace: place.namespace },
        manifest: manifestList(manifests),
      },
    );
    throw new Unsupported(
      `the cluster has no namespace ${place.namespace} for tasks of tenant ${tenant} yet, or not all that belongs into it; the server's operator applies the manifest that its log has (docs/kubernetes.md)`,
    );
  }

  async #remember(namespace: string): Promise<void> {
    if (this.#used.has(namespace)) return;
    this.#used.add(namespace);
    // One after the other, so that the file never goes back to what was known before.
    const saved = this.#saving.then(() => this.#save());
    this.#saving = saved.catch(() => undefined);
    try {
      await saved;
    } catch (error) {
      this.#used.delete(namespace);
      throw storageError(error, "noting a tenant's namespace");
    }
  }

  async #save(): Promise<void> {
    const fresh = `${this.#options.file}.new`;
    await writeFile(fresh, JSON.stringify([...this.#used]), { mode: 0o600 });
    await rename(fresh, this.#options.file);
  }
}

/** What is elsewhere in the cluster does not count. */
function onlyIn(namespaces: ReadonlySet<string>, all: SandboxSource): SandboxSource {
  const counts = ({ metadata }: { metadata?: V1Pod["metadata"] }) =>
    namespaces.has(metadata?.namespace ?? "");
  return {
    listPods: async (selector) => {
      const { pods, version } = await all.listPods(selector);
      return { pods: pods.filter(counts), version };
    },
    listJobs: async (selector) => (await all.listJobs(selector)).filter(counts),
    watchPods: (selector, version, tell, signal) =>
      all.watchPods(
        selector,
        version,
        (type, object) => {
          // A bookmark tells of the time alone. The API's own object; what is used of it is optional in its type.
          const isNews = type === "ERROR" || type === "BOOKMARK" || counts(object as V1Pod);
          tell(isNews ? type : "BOOKMARK", object);
        },
        signal,
      ),
  };
}

/** Whose it is instead is not for tenants to know. */
function refuseForeign(found: V1Namespace | undefined, name: string, tenant: string): void {
  if (found === undefined) return;
  if (found.metadata?.annotations?.[TENANT_ANNOTATION] !== tenant)
    throw new Unsupported(
      `namespace ${name} of the cluster is not annotated as that of tenant ${tenant}; the server's operator looks whose it is, and annotates it with ${TENANT_ANNOTATION}=${tenant} or sets another prefix (docs/kubernetes.md)`,
    );
  if (found.status?.phase === "Terminating")
    throw new Unsupported(
      `namespace ${name} of the cluster is being deleted; tasks of tenant ${tenant} can start once it is gone`,
    );
}

function isForbidden(error: unknown): boolean {
  return error instanceof Error && statusOf(error.cause) === 403;
}

async function onceAllowed(act: () => Promise<unknown>, millis: number): Promise<void> {
  const giveUp = Date.now() + millis;
  for (;;) {
    try {
      await act();
      return;
    } catch (error) {
      if (!isForbidden(error) || Date.now() >= giveUp) throw error;
    }
    await delay(RIGHTS_PAUSE_MILLIS);
  }
}

async function readUsed(file: string): Promise<string[]> {
  try {
    return z.array(z.string()).parse(JSON.parse(await readFile(file, "utf8")));
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return [];
    throw new SystemFault(
      `${file} cannot be read; put the namespaces of the tenants into it, as a JSON list: tasks that run there are found by it`,
      {},
      { cause: error },
    );
  }
}
