import type { Cluster } from "./cluster.ts";
import type { KubernetesEngineOptions } from "./options.ts";
import { readPrograms } from "./program-volume.ts";
import { type SandboxNamespaces, SharedNamespace } from "./sandbox-namespaces.ts";
import { TenantNamespaces } from "./tenant-namespaces.ts";

/** As the operator wants it: one for all, or one for each tenant. `file` keeps which of the latter there are. Asks nothing of the cluster. */
export async function openNamespaces(
  cluster: Cluster,
  options: Pick<KubernetesEngineOptions, "runnerDirectory" | "podDirectory" | "namespacePerTenant" | "log">,
  file: string,
): Promise<SandboxNamespaces> {
  const { runnerDirectory: runner, podDirectory, namespacePerTenant: policy, log } = options;
  const programs = await readPrograms({ runner, programs: podDirectory });
  if (policy === null) return new SharedNamespace(cluster, programs);
  return await TenantNamespaces.open(cluster, programs, { policy, file, log });
}
