import { SystemFault } from "../../domain/errors.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** One of OpenTelemetry's signals, as its variables are named. */
export type Signal = "TRACES" | "METRICS";

/** Longest that one export may take, and so longest that a stop waits for a collector that does not answer. */
export const EXPORT_MILLIS = 3_000;

/** Whether the standard OTEL_* variables ask for this signal to be sent. Throws SystemFault for what cannot work. */
export function isExported(env: Environment, signal: Signal): boolean {
  const variable = `OTEL_${signal}_EXPORTER`;
  const exporters = (env[variable] ?? "")
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
  const unknown = exporters.filter((name) => name !== "otlp" && name !== "none");
  if (unknown.length > 0) {
    const instead = unknown.includes("prometheus") ? "; for Prometheus set LONGSHORE_METRICS_ADDRESS" : "";
    throw new SystemFault(`${variable} names ${unknown.join(", ")}; use otlp or none${instead}`);
  }
  if (env.OTEL_SDK_DISABLED?.trim().toLowerCase() === "true" || exporters.includes("none")) return false;
  return exporters.includes("otlp") || endpoint(env, signal) !== undefined;
}

const PROTOCOLS = ["grpc", "http/protobuf"] as const;
type Protocol = (typeof PROTOCOLS)[number];

interface ExporterSettings {
  readonly url?: string;
  readonly timeoutMillis: number;
}

/** Makes the exporter that the protocol asks for; headers and certificates it reads from the process itself. Throws SystemFault. */
export function openExporter<T>(
  env: Environment,
  signal: Signal,
  open: Readonly<Record<Protocol, (settings: ExporterSettings) => T>>,
): T {
  const asked = env[`OTEL_EXPORTER_OTLP_${signal}_PROTOCOL`] || env.OTEL_EXPORTER_OTLP_PROTOCOL || "grpc";
  const protocol = PROTOCOLS.find((known) => known === asked);
  if (protocol === undefined) {
    throw new SystemFault(
      `the OTLP protocol ${asked} is not supported; set OTEL_EXPORTER_OTLP_PROTOCOL=grpc (the collector's port 4317 as a rule) or http/protobuf (4318)`,
    );
  }
  const url = endpoint(env, signal, protocol);
  try {
    return open[protocol]({ ...(url === undefined ? {} : { url }), timeoutMillis: EXPORT_MILLIS });
  } catch (error) {
    throw new SystemFault(
      `OTEL_EXPORTER_OTLP_ENDPOINT is not an endpoint such as http://127.0.0.1:4317: ${error}`,
      {},
      { cause: error },
    );
  }
}

/** Over HTTP the common endpoint is a base that the signal's path is put to; a signal's own endpoint stands as it is. */
function endpoint(env: Environment, signal: Signal, protocol: Protocol = "grpc"): string | undefined {
  const own = env[`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`]?.trim();
  const common = env.OTEL_EXPORTER_OTLP_ENDPOINT?.trim();
  if (own || !common) return own || undefined;
  return protocol === "grpc" ? common : `${common.replace(/\/+$/, "")}/v1/${signal.toLowerCase()}`;
}
