import { Task_State } from "@longshore/proto/longshore/v1/task.ts";
import {
  Delivery_State,
  type Delivery as DeliveryMessage,
  type WebhookEndpoint as EndpointMessage,
} from "@longshore/proto/longshore/v1/webhook_service.ts";
import type { Delivery, WebhookEndpoint } from "#server/domain/webhook.ts";

export function endpointToProto(endpoint: WebhookEndpoint): EndpointMessage {
  return {
    id: endpoint.id,
    url: endpoint.url,
    states: endpoint.states.map((state) => Task_State[state]),
    description: endpoint.description,
    createTime: endpoint.createTime,
    createdBy: endpoint.createdBy,
    failingSince: endpoint.failingSince ?? undefined,
    disableTime: endpoint.disableTime ?? undefined,
    disableReason: endpoint.disableReason,
  };
}

export function deliveryToProto(delivery: Delivery): DeliveryMessage {
  return {
    id: delivery.id,
    webhookId: delivery.endpointId,
    url: delivery.url,
    taskId: delivery.taskId,
    taskState: Task_State[delivery.taskState],
    state: Delivery_State[delivery.state],
    createTime: delivery.createTime,
    tries: delivery.tries,
    nextTryTime: delivery.nextTryTime ?? undefined,
    lastTryTime: delivery.lastTryTime ?? undefined,
    lastStatusCode: delivery.lastStatusCode,
    lastError: delivery.lastError,
    lastResponse: delivery.lastResponse,
    body: delivery.body,
  };
}
