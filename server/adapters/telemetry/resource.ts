import {
  defaultResource,
  detectResources,
  envDetector,
  type Resource,
  resourceFromAttributes,
} from "@opentelemetry/resources";
import type { Environment } from "./otlp-settings.ts";

/** Who tells: the same for traces and metrics, so that a backend joins them. */
export function describeResource(env: Environment, serviceVersion: string): Resource {
  return defaultResource()
    .merge(resourceFromAttributes({ "service.version": serviceVersion }))
    .merge(detectResources({ detectors: [envDetector] }))
    .merge(resourceFromAttributes({ "service.name": env.OTEL_SERVICE_NAME || "longshore" }));
}
