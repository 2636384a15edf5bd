import type {
  V1Namespace,
  V1NetworkPolicy,
  V1PodDisruptionBudget,
  V1ResourceQuota,
  V1RoleBinding,
} from "@kubernetes/client-node";
import { LABELS, TENANT_ANNOTATION } from "./naming.ts";
import { NETWORK_POLICY } from "./options.ts";

/** deploy/kubernetes/tenants has it: what the server may do in each tenant's namespace. */
export const TENANT_ROLE = "longshore-tenant";
const QUOTA = "longshore-tenant";
const BUDGET = "longshore-tasks";
const RBAC = "rbac.authorization.k8s.io";

export interface TenantPlan {
  readonly namespace: string;
  readonly tenant: string;
  /** Who the server is in the cluster. */
  readonly user: string;
  readonly resourceQuota: Readonly<Record<string, string>>;
}

export interface TenantManifests {
  readonly namespace: V1Namespace;
  /** In the order in which they are to be made: nothing runs there before the network is shut. */
  readonly content: readonly (V1NetworkPolicy | V1ResourceQuota | V1PodDisruptionBudget | V1RoleBinding)[];
}

/** The same walls around each tenant that deploy/kubernetes puts around the tasks of all. */
export function tenantManifests({ namespace, tenant, user, resourceQuota }: TenantPlan): TenantManifests {
  const labels = { "app.kubernetes.io/managed-by": "longshore" };
  const metadata = (name: string) => ({ name, namespace, labels });
  const policy: V1NetworkPolicy = {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: metadata(NETWORK_POLICY),
    spec: { podSelector: {}, policyTypes: ["Ingress", "Egress"] },
  };
  const quota: V1ResourceQuota = {
    apiVersion: "v1",
    kind: "ResourceQuota",
    metadata: metadata(QUOTA),
    spec: { hard: { ...resourceQuota } },
  };
  // As deploy/cluster has it: a drained node waits for its tasks, since an attempt is no replica that another could stand in for.
  const budget: V1PodDisruptionBudget = {
    apiVersion: "policy/v1",
    kind: "PodDisruptionBudget",
    metadata: metadata(BUDGET),
    spec: {
      minAvailable: 1_000_000,
      unhealthyPodEvictionPolicy: "AlwaysAllow",
      selector: { matchExpressions: [{ key: LABELS.attempt, operator: "Exists" }] },
    },
  };
  const binding: V1RoleBinding = {
    apiVersion: `${RBAC}/v1`,
    kind: "RoleBinding",
    metadata: metadata(TENANT_ROLE),
    roleRef: { apiGroup: RBAC, kind: "ClusterRole", name: TENANT_ROLE },
    // A service account is a user, too, by the name that the cluster calls it.
    subjects: [{ apiGroup: RBAC, kind: "User", name: user }],
  };
  return {
    namespace: {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: {
        name: namespace,
        labels: {
          ...labels,
          "pod-security.kubernetes.io/enforce": "baseline",
          "pod-security.kubernetes.io/enforce-version": "latest",
        },
        annotations: { [TENANT_ANNOTATION]: tenant },
      },
    },
    content: [policy, ...(Object.keys(resourceQuota).length === 0 ? [] : [quota]), budget, binding],
  };
}

/** What kubectl apply -f takes. */
export function manifestList({ namespace, content }: TenantManifests): string {
  return JSON.stringify({ apiVersion: "v1", kind: "List", items: [namespace, ...content] });
}
