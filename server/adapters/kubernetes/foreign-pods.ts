import { setTimeout as delay } from "node:timers/promises";
import type { V1Node, V1Pod } from "@kubernetes/client-node";
import { addResources, type ForeignLoad, NO_RESOURCES, subtractResources } from "../../domain/capacity.ts";
import type { Resources } from "../../domain/resources.ts";
import type { Cluster } from "./cluster.ts";
import { SANDBOX_OVERHEAD } from "./job-manifest.ts";
import { LABELS } from "./naming.ts";
import { gpuIdsOf, offerOf, takes } from "./nodes.ts";
import type { KubernetesEngineOptions } from "./options.ts";
import { requestsOf } from "./pod-requests.ts";

/** Rarer than what a cluster's own scheduler does: all pods of a large one are megabytes. */
const POLL_MILLIS = 15_000;

type Source = Pick<Cluster, "nodes" | "placedPods">;
type Options = Pick<KubernetesEngineOptions, "name" | "installationId" | "placement" | "capacity" | "log">;

/** What pods of others hold of the nodes that take tasks, and what each of these nodes has beside them. */
export class ForeignPods {
  readonly #cluster: Source;
  readonly #options: Options;
  /** What the nodes had together when the engine was asked. */
  readonly #total: Resources;
  #mayNot = false;

  constructor(cluster: Source, options: Options, total: Resources) {
    this.#cluster = cluster;
    this.#options = options;
    this.#total = total;
  }

  async *watch(signal: AbortSignal): AsyncGenerator<ForeignLoad> {
    let told: string | undefined;
    while (!signal.aborted) {
      // What was told last stands until the cluster answers again.
      const load = (await this.#measure()) ?? (told === undefined ? NOTHING : undefined);
      const text = JSON.stringify(load);
      if (load !== undefined && text !== told) yield load;
      told = text ?? told;
      // The abort is the only way it rejects, and the loop looks at that.
      await delay(POLL_MILLIS, undefined, { signal }).catch(() => undefined);
    }
  }

  async #measure(): Promise<ForeignLoad | undefined> {
    const { name, log, capacity } = this.#options;
    // A share that the operator has named is ours, whoever else is there.
    if (capacity !== null) return NOTHING;
    try {
      const [nodes, pods] = await Promise.all([this.#cluster.nodes(), this.#cluster.placedPods()]);
      if (nodes !== undefined && pods !== undefined) return this.#load(nodes, pods);
      if (!this.#mayNot)
        log.warn(
          "the server may not list the cluster's pods: what others hold of its nodes is not counted, and tasks may wait for a node; deploy/kubernetes/nodes.yaml has the right",
          { engine: name },
        );
      this.#mayNot = true;
      return NOTHING;
    } catch (error) {
      log.debug("pods of others could not be counted", { engine: name, error: String(error) });
      return undefined;
    }
  }

  #load(all: readonly V1Node[], pods: readonly V1Pod[]): ForeignLoad {
    const { gpuResource } = this.#options.placement;
    const nodes = all.filter((node) => takes(node, this.#options));
    const ownPriority = pods.find((pod) => this.#isOurs(pod))?.spec?.priority ?? 0;
    const byNode = Map.groupBy(pods, ({ spec }) => spec?.nodeName ?? "");
    const gpuIds: string[] = [];
    const hosts = nodes.map((node) => {
      const here = byNode.get(node.metadata?.name ?? "") ?? [];
      const others = here
        // Pods of a lower priority make room, such as those that keep nodes ahead of the queue.
        .filter((pod) => !this.#isOurs(pod) && (pod.spec?.priority ?? 0) >= ownPriority)
        .map((pod) => requestsOf(pod, gpuResource))
        .reduce(addResources, NO_RESOURCES);
      const ids = gpuIdsOf(node, this.#options);
      gpuIds.push(...ids.slice(Math.max(0, ids.length - others.gpuCount)));
      return {
        resources: subtractResources(offerOf(node, this.#options), this.#counted(others)),
        taskIds: here.flatMap((pod) =>
          this.#isOurs(pod) ? [pod.metadata?.labels?.[LABELS.task] ?? ""] : [],
        ),
      };
    });
    const left = hosts.map(({ resources }) => resources).reduce(addResources, NO_RESOURCES);
    // Of a node that went away nothing is left, either.
    const resources = subtractResources(this.#total, left);
    return { resources, gpuIds, rooms: { hosts, each: SANDBOX_OVERHEAD } };
  }

  /** Where storage is memory, what others hold of memory is not there to store anything in. */
  #counted(others: Resources): Resources {
    return this.#options.placement.storage === "memory"
      ? { ...others, storageBytes: others.ramBytes }
      : others;
  }

  #isOurs({ metadata }: V1Pod): boolean {
    const { installationId, name } = this.#options;
    return (
      metadata?.labels?.[LABELS.role] === "sandbox" &&
      metadata.labels[LABELS.installation] === installationId.toLowerCase() &&
      metadata.labels[LABELS.engine] === name
    );
  }
}

const NOTHING: ForeignLoad = { resources: NO_RESOURCES, gpuIds: [] };
