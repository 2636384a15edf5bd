import { Limit } from "@longshore/proto/longshore/v1/resources.ts";
import {
  type Engine,
  type GetCapabilitiesResponse,
  LimitSupport_Level,
  type Tier,
  type Capacity as WireCapacity,
} from "@longshore/proto/longshore/v1/system_service.ts";
import { Isolation, Network } from "@longshore/proto/longshore/v1/task.ts";
import type {
  Capabilities,
  Capacity,
  EngineSummary,
  EnvironmentSupport,
} from "#server/domain/capabilities.ts";
import type { EngineTier } from "#server/domain/ports/engine.ts";
import { budgetsToProto } from "./spec-to-proto.ts";
import { resourcesToProto } from "./task-to-proto.ts";
import { durationOfMillis, int64 } from "./to-wire.ts";

export function capabilitiesToProto(capabilities: Capabilities): GetCapabilitiesResponse {
  return {
    version: capabilities.version,
    engines: capabilities.engines.map(engineToProto),
    defaultResources: resourcesToProto(capabilities.defaultResources),
    defaultBudgets: budgetsToProto(capabilities.defaultBudgets),
    maxBudgets: budgetsToProto(capabilities.maxBudgets),
    defaultTimeout: durationOfMillis(capabilities.defaultTimeoutMillis),
    maxTimeout: durationOfMillis(capabilities.maxTimeoutMillis),
    maxCodeBytes: int64(capabilities.maxCodeBytes),
    maxUploadBytes: int64(capabilities.maxUploadBytes),
    maxChunkBytes: int64(capabilities.maxChunkBytes),
    allowedImages: [...capabilities.allowedImages],
    imageAliases: [...capabilities.imageAliases],
    instanceTypes: Object.fromEntries(capabilities.instanceTypes),
    presignedUrls: capabilities.presignedUrls,
    traceUrl: capabilities.traceUrl,
    environments: environmentsToProto(capabilities.environments),
    archiveFormats: ["TAR", "TAR_GZ", "ZIP"],
  };
}

function environmentsToProto(support: EnvironmentSupport) {
  const { unsupported, installer, sources, addresses, resources, timeoutMillis } = support;
  return {
    ...{ unsupported, installer, sources, addresses },
    resources: resourcesToProto(resources),
    timeout: durationOfMillis(timeoutMillis),
  };
}

function engineToProto(engine: EngineSummary): Engine {
  return {
    name: engine.name,
    kind: engine.kind,
    version: engine.version,
    tiers: engine.tiers.map(tierToProto),
    largestTask: resourcesToProto(engine.largestTask),
    gpuModels: [...engine.gpuModels],
    aliases: [...engine.aliases],
    trackingServers: [...engine.trackers].map(([name, whyNot]) => ({ name, whyNot })),
    unavailable: engine.unavailable,
  };
}

function tierToProto(tier: EngineTier): Tier {
  return {
    isolation: Isolation[tier.isolation],
    runtime: tier.runtime,
    limits: tier.limits.map(({ limit, level, mechanism, advice }) => ({
      limit: Limit[limit],
      level: LimitSupport_Level[level],
      mechanism,
      advice,
    })),
    networks: tier.networks.map((network) => Network[network]),
  };
}

export function capacityToProto(capacity: Capacity): WireCapacity {
  return {
    total: resourcesToProto(capacity.total),
    reserve: resourcesToProto(capacity.reserve),
    held: resourcesToProto(capacity.held),
    foreign: resourcesToProto(capacity.foreign),
    free: resourcesToProto(capacity.free),
    running: capacity.running,
    queued: capacity.queued,
    warm: capacity.warm,
  };
}
