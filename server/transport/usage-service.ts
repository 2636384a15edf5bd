import type { UsageFilter as WireFilter } from "@longshore/proto/longshore/v1/usage_service.ts";
import { UsageGrouping, type UsageServiceService } from "@longshore/proto/longshore/v1/usage_service.ts";
import type { Application, UsageFilter, UsageSumRequest } from "./application.ts";
import { pageSize } from "./page-size.ts";
import type { ServiceHandlers } from "./service-handlers.ts";
import { FieldCheck } from "./translate/field-check.ts";
import { specFromProto } from "./translate/spec-from-proto.ts";
import { entryToProto, estimateToProto, quotaToProto, sumToProto } from "./translate/usage-to-proto.ts";

export function usageService(application: Application): ServiceHandlers<typeof UsageServiceService> {
  return {
    async getUsage(request, { caller }) {
      const check = new FieldCheck();
      const { groups, total, nextPageToken } = await application.getUsage(caller, {
        filter: filterFromProto(request.filter, check),
        grouping: groupingOf(request.grouping, request.label, check),
        pageSize: pageSize(request.pageSize, check),
        pageToken: request.pageToken,
        violations: check.violations,
      });
      return {
        groups: groups.map(({ key, sum }) => ({ key, sum: sumToProto(sum) })),
        total: total === null ? undefined : sumToProto(total),
        nextPageToken,
      };
    },

    async listUsage(request, { caller }) {
      const check = new FieldCheck();
      const { entries, nextPageToken } = await application.listUsage(caller, {
        filter: filterFromProto(request.filter, check),
        pageSize: pageSize(request.pageSize, check),
        pageToken: request.pageToken,
        violations: check.violations,
      });
      return { entries: entries.map(entryToProto), nextPageToken };
    },

    async getQuota(_request, { caller }) {
      return { quotas: (await application.getQuota(caller)).map(quotaToProto) };
    },

    async estimateCost({ task }, { caller }) {
      const check = new FieldCheck();
      if (task === undefined) {
        check.add("task", "is required");
        throw check.failure();
      }
      return estimateToProto(await application.estimateCost(caller, specFromProto(task, check)));
    },
  };
}

function filterFromProto(filter: WireFilter | undefined, check: FieldCheck): UsageFilter {
  return {
    from: check.time("filter.start_time", filter?.startTime),
    to: check.time("filter.end_time", filter?.endTime),
    owner: filter?.owner ?? "",
    labels: filter?.labels ?? {},
  };
}

function groupingOf(grouping: number, label: string, check: FieldCheck): UsageSumRequest["grouping"] {
  const choice = check.choice("grouping", UsageGrouping, grouping);
  if (choice === "LABEL") {
    check.required("label", label);
    return { by: "label", label };
  }
  if (label !== "") check.add("label", "means something only with USAGE_GROUPING_LABEL; leave it out");
  switch (choice) {
    case "DAY":
      return { by: "day" };
    case "TASK":
      return { by: "task" };
    case "OWNER":
      return { by: "owner" };
    default:
      return null;
  }
}
