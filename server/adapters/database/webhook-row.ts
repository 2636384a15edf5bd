import type { Selectable } from "kysely";
import { z } from "zod";
import { TASK_STATES } from "../../domain/task.ts";
import {
  DELIVERY_STATES,
  type Delivery,
  type SigningSecrets,
  targetOf,
  type WebhookEndpoint,
} from "../../domain/webhook.ts";
import type { Tables } from "./schema.ts";
import { checked, whole } from "./task-row.ts";

const time = whole.pipe(z.transform((value) => new Date(value)));
const states = z
  .string()
  .transform((text) => (text === "" ? [] : text.split(",")))
  .pipe(z.array(z.enum(TASK_STATES)));

const endpointColumns = z.object({
  id: z.string(),
  tenant: z.string(),
  url: z.string(),
  states,
  description: z.string(),
  created_by: z.string(),
  create_time: time,
  failing_since: time.nullable(),
  disable_time: time.nullable(),
  disable_reason: z.string(),
});

const secretColumns = z.object({
  tenant: z.string(),
  current_secret: z.string(),
  create_time: time,
  previous_secret: z.string(),
  previous_expire_time: time.nullable(),
});

const deliveryColumns = z.object({
  id: z.string(),
  tenant: z.string(),
  endpoint_id: z.string(),
  url: z.string(),
  task_id: z.string(),
  task_state: z.enum(TASK_STATES),
  state: z.enum(DELIVERY_STATES),
  create_time: time,
  tries: whole,
  tries_of_round: whole,
  next_try_time: time.nullable(),
  last_try_time: time.nullable(),
  last_status_code: whole,
  last_error: z.string(),
  last_response: z.string(),
  body: z.string(),
});

export function toEndpointRow(endpoint: WebhookEndpoint) {
  return {
    id: endpoint.id,
    tenant: endpoint.tenant,
    url: endpoint.url,
    states: endpoint.states.join(","),
    description: endpoint.description,
    created_by: endpoint.createdBy,
    create_time: endpoint.createTime.getTime(),
    failing_since: endpoint.failingSince?.getTime() ?? null,
    disable_time: endpoint.disableTime?.getTime() ?? null,
    disable_reason: endpoint.disableReason,
  };
}

export function fromEndpointRow(row: Selectable<Tables["webhook_endpoint"]>): WebhookEndpoint {
  const found = checked(endpointColumns, row, `webhook ${row.id}`);
  return {
    id: found.id,
    tenant: found.tenant,
    url: found.url,
    states: found.states,
    description: found.description,
    createdBy: found.created_by,
    createTime: found.create_time,
    failingSince: found.failing_since,
    disableTime: found.disable_time,
    disableReason: found.disable_reason,
  };
}

export function toSecretRow(secrets: SigningSecrets) {
  return {
    tenant: secrets.tenant,
    current_secret: secrets.current,
    create_time: secrets.createTime.getTime(),
    previous_secret: secrets.previous,
    previous_expire_time: secrets.previousExpireTime?.getTime() ?? null,
  };
}

export function fromSecretRow(row: Selectable<Tables["webhook_secret"]>): SigningSecrets {
  const found = checked(secretColumns, row, `the webhook secret of ${row.tenant}`);
  return {
    tenant: found.tenant,
    current: found.current_secret,
    createTime: found.create_time,
    previous: found.previous_secret,
    previousExpireTime: found.previous_expire_time,
  };
}

export function toDeliveryRow(delivery: Delivery) {
  return {
    id: delivery.id,
    tenant: delivery.tenant,
    endpoint_id: delivery.endpointId,
    url: delivery.url,
    target: targetOf(delivery),
    task_id: delivery.taskId,
    task_state: delivery.taskState,
    state: delivery.state,
    create_time: delivery.createTime.getTime(),
    tries: delivery.tries,
    tries_of_round: delivery.triesOfRound,
    next_try_time: delivery.nextTryTime?.getTime() ?? null,
    last_try_time: delivery.lastTryTime?.getTime() ?? null,
    last_status_code: delivery.lastStatusCode,
    last_error: delivery.lastError,
    last_response: delivery.lastResponse,
    body: delivery.body,
  };
}

export function fromDeliveryRow(row: Selectable<Tables["delivery"]>): Delivery {
  const found = checked(deliveryColumns, row, `delivery ${row.id}`);
  return {
    id: found.id,
    tenant: found.tenant,
    endpointId: found.endpoint_id,
    url: found.url,
    taskId: found.task_id,
    taskState: found.task_state,
    state: found.state,
    createTime: found.create_time,
    tries: found.tries,
    triesOfRound: found.tries_of_round,
    nextTryTime: found.next_try_time,
    lastTryTime: found.last_try_time,
    lastStatusCode: found.last_status_code,
    lastError: found.last_error,
    lastResponse: found.last_response,
    body: found.body,
  };
}
