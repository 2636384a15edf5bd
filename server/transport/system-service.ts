import type { SystemServiceService } from "@longshore/proto/longshore/v1/system_service.ts";
import type { Application } from "./application.ts";
import type { ServiceHandlers } from "./service-handlers.ts";
import { capabilitiesToProto, capacityToProto } from "./translate/capabilities-to-proto.ts";
import { reconcileToProto } from "./translate/reconcile-to-proto.ts";

export function systemService(application: Application): ServiceHandlers<typeof SystemServiceService> {
  return {
    async getCapabilities() {
      return capabilitiesToProto(await application.getCapabilities());
    },

    async getCapacity(request) {
      return { capacity: capacityToProto(await application.getCapacity(request.engine)) };
    },

    async getReconcileReport() {
      return { report: reconcileToProto(await application.getReconcileReport()) };
    },

    async *watchCapacity(request, context) {
      const changes = application.watchCapacity(request.engine, context.endOnDrain());
      for await (const capacity of changes) yield { capacity: capacityToProto(capacity) };
    },
  };
}
