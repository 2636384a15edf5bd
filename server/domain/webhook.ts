import type { FieldViolation } from "./errors.ts";
import { type Task, type TaskSpec, type TaskState, TERMINAL_STATES } from "./task.ts";

/** An address that every task of a tenant is told to. */
export interface WebhookEndpoint {
  readonly id: string;
  readonly tenant: string;
  readonly url: string;
  /** Empty means the terminal ones. */
  readonly states: readonly TaskState[];
  readonly description: string;
  readonly createTime: Date;
  readonly createdBy: string;
  /** Since when nothing has arrived; null while all is well. */
  readonly failingSince: Date | null;
  /** Since when nothing is sent any more; null while it is on. */
  readonly disableTime: Date | null;
  readonly disableReason: string;
}

/** What a tenant's deliveries are signed with, sealed (SecretBox). */
export interface SigningSecrets {
  readonly tenant: string;
  readonly current: string;
  readonly createTime: Date;
  /** Signs beside the current one until it ends; empty when there is none. */
  readonly previous: string;
  readonly previousExpireTime: Date | null;
}

export const DELIVERY_STATES = ["PENDING", "DELIVERED", "FAILED"] as const;
export type DeliveryState = (typeof DELIVERY_STATES)[number];

/** One state change on its way to one address. */
export interface Delivery {
  /** The same at every try, so that receivers can tell repeats. */
  readonly id: string;
  readonly tenant: string;
  /** Empty for an address that the task named itself. */
  readonly endpointId: string;
  readonly url: string;
  readonly taskId: string;
  readonly taskState: TaskState;
  readonly state: DeliveryState;
  readonly createTime: Date;
  /** All of them. */
  readonly tries: number;
  /** Tries since it was made or asked for again, which is what the schedule counts. */
  readonly triesOfRound: number;
  /** Null when it is not to be tried. */
  readonly nextTryTime: Date | null;
  readonly lastTryTime: Date | null;
  /** 0 without an answer. */
  readonly lastStatusCode: number;
  readonly lastError: string;
  readonly lastResponse: string;
  readonly body: string;
}

const MAX_TASK_WEBHOOKS = 10;

/** Adds what is wrong with the addresses that a task names; `problemOf` knows what can be sent to. */
export function checkTaskWebhooks(
  { webhooks }: TaskSpec,
  problemOf: (url: string) => string | undefined,
  violations: FieldViolation[],
): void {
  if (webhooks.length > MAX_TASK_WEBHOOKS) {
    const description = `has ${webhooks.length} entries; at most ${MAX_TASK_WEBHOOKS} are allowed`;
    violations.push({ field: "webhooks", description });
    return;
  }
  for (const [index, { url }] of webhooks.entries()) {
    const description = problemOf(url);
    if (description !== undefined) violations.push({ field: `webhooks[${index}].url`, description });
  }
}

/** Mail has nothing that a receiver could check a signature with. */
export function isSigned(url: string): boolean {
  return !url.toLowerCase().startsWith("mailto:");
}

/** What a slow receiver holds up: what its own tenant sends to the same host, and nothing else. */
export function targetOf({ tenant, url }: Pick<Delivery, "tenant" | "url">): string {
  // Whatever a record says, its task must be able to end.
  if (!URL.canParse(url)) return `${tenant} ${url}`;
  const { host, pathname } = new URL(url);
  return `${tenant} ${host === "" ? pathname : host}`;
}

function wants({ states }: Pick<WebhookEndpoint, "states">, state: TaskState): boolean {
  const wanted: readonly TaskState[] = states.length === 0 ? TERMINAL_STATES : states;
  return wanted.includes(state);
}

/** What is to be sent because a task came to its present state, to the tenant's addresses and to its own. */
export function deliveriesOf(task: Task, endpoints: readonly WebhookEndpoint[], now: Date): Delivery[] {
  const targets = [
    ...endpoints
      .filter((endpoint) => endpoint.disableTime === null && wants(endpoint, task.state))
      .map(({ id, url }) => ({ endpointId: id, url, mark: id })),
    ...task.spec.webhooks.flatMap((webhook, index) =>
      wants(webhook, task.state) ? [{ endpointId: "", url: webhook.url, mark: String(index) }] : [],
    ),
  ];
  if (targets.length === 0) return [];
  const body = JSON.stringify(cloudEvent(task, now));
  return targets.map(({ endpointId, url, mark }) => ({
    // Of the change itself and not by chance, so that the same change can never be stored for an address twice.
    id: `msg_${task.id}_${task.version}_${mark}`,
    tenant: task.tenant,
    endpointId,
    url,
    taskId: task.id,
    taskState: task.state,
    state: "PENDING",
    createTime: now,
    tries: 0,
    triesOfRound: 0,
    nextTryTime: now,
    lastTryTime: null,
    lastStatusCode: 0,
    lastError: "",
    lastResponse: "",
    body,
  }));
}

/**
 * CloudEvents 1.0 in its JSON format. Facts of the record alone: no code, no variables, no output, which may hold secrets and is for
 * those to read who may read the task.
 */
function cloudEvent(task: Task, time: Date): object {
  const { id, tenant, owner, version, state, spec, result } = task;
  const iso = (date: Date | null) => date?.toISOString() ?? null;
  return {
    specversion: "1.0",
    id: `${id}/${version}`,
    source: `/longshore/tenants/${tenant}`,
    type: `longshore.task.${state.toLowerCase()}`,
    subject: id,
    time: time.toISOString(),
    // Tells which of two events of a task came later, whatever the order of their arrival (CloudEvents extension "sequence").
    sequence: String(version).padStart(10, "0"),
    datacontenttype: "application/json",
    data: {
      task_id: id,
      state,
      display_name: spec.displayName,
      owner,
      labels: spec.labels,
      attempt: task.attempts.length,
      create_time: iso(task.createTime),
      start_time: iso(task.startTime),
      end_time: iso(task.endTime),
      result:
        result === null
          ? null
          : {
              reason: result.reason,
              exit_code: result.exitCode,
              signal: result.signal,
              message: result.message,
              advice: result.advice,
            },
      rerun_of: task.rerunOf,
      trace_id: task.traceId,
    },
  };
}
