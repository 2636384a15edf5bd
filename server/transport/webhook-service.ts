import { Task_State } from "@longshore/proto/longshore/v1/task.ts";
import { Delivery_State, type WebhookServiceService } from "@longshore/proto/longshore/v1/webhook_service.ts";
import type { Webhooks } from "./application.ts";
import { pageSize } from "./page-size.ts";
import type { ServiceHandlers } from "./service-handlers.ts";
import { FieldCheck } from "./translate/field-check.ts";
import { deliveryToProto, endpointToProto } from "./translate/webhook-to-proto.ts";

export function webhookService(webhooks: Webhooks): ServiceHandlers<typeof WebhookServiceService> {
  return {
    async createWebhook({ url, states, description }, { caller }) {
      const check = new FieldCheck();
      const wanted = { url, states: check.choices("states", Task_State, states), description };
      const { violations } = check;
      const { endpoint, secret } = await webhooks.create(caller, { ...wanted, violations });
      return { webhook: endpointToProto(endpoint), secret };
    },

    async listWebhooks(request, { caller }) {
      const check = new FieldCheck();
      const size = pageSize(request.pageSize, check);
      const { violations } = check;
      const { pageToken } = request;
      const page = await webhooks.list(caller, { pageSize: size, pageToken, violations });
      return { webhooks: page.endpoints.map(endpointToProto), nextPageToken: page.nextPageToken };
    },

    async deleteWebhook(request, { caller }) {
      const check = new FieldCheck();
      const id = check.required("id", request.id);
      check.throwIfAny();
      await webhooks.delete(caller, id);
      return {};
    },

    async rotateWebhookSecret(request, { caller }) {
      const check = new FieldCheck();
      const overlapMillis = check.duration("overlap", request.overlap, "0 or more");
      const { violations } = check;
      const { secret, previousExpireTime } = await webhooks.rotate(caller, { overlapMillis, violations });
      return { secret, previousExpireTime: previousExpireTime ?? undefined };
    },

    async listDeliveries(request, { caller }) {
      const check = new FieldCheck();
      const { webhookId, taskId, pageToken } = request;
      const states = check.choices("states", Delivery_State, request.states);
      const size = pageSize(request.pageSize, check);
      const { violations } = check;
      const wanted = { webhookId, taskId, states, pageSize: size, pageToken, violations };
      const page = await webhooks.deliveries(caller, wanted);
      return { deliveries: page.deliveries.map(deliveryToProto), nextPageToken: page.nextPageToken };
    },

    async redeliver(request, { caller }) {
      const check = new FieldCheck();
      const id = check.required("id", request.id);
      check.throwIfAny();
      return { delivery: deliveryToProto(await webhooks.redeliver(caller, id)) };
    },
  };
}
