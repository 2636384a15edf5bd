/** Prints docs/metrics.md: every figure of the server under both its names. */
import { prometheusName } from "../../server/adapters/telemetry/prometheus-name.ts";
import { METRICS, type MetricDefinition } from "../../server/domain/metrics.ts";

const catalogue: Readonly<Record<string, MetricDefinition>> = METRICS;
const code = (text: string) => `\`${text}\``;

const rows = Object.entries(catalogue).map(([name, { kind, unit, labels, about }]) => {
  const grows = kind === "counter" || kind === "total";
  const shown = labels.map((label) => code(label.replaceAll(".", "_"))).join(" ");
  const kindShown = grows ? "counter" : kind;
  return `| ${code(prometheusName(name, unit, grows))} | ${code(name)} | ${kindShown} | ${shown} | ${about} |`;
});

process.stdout.write(
  [
    "# Metrics",
    "",
    "`scripts/generate` makes this page of `server/domain/metrics.ts`.",
    "",
    "Two ways out, both off until they are configured: Prometheus asks under `http://ADDRESS/metrics` once `LONGSHORE_METRICS_ADDRESS` is set",
    "(such as `127.0.0.1:9464`; there is no password, so whoever reaches the port can read the figures), and OTLP sends to a collector as",
    "OpenTelemetry's standard variables say (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_METRIC_EXPORT_INTERVAL`, ...). A figure has the same name in",
    "Prometheus either way.",
    "",
    "Labels have few values: states, reasons, stages, configured names. None holds an id, a tenant, a user or anything that a client wrote.",
    "Figures count from the start of the server; what a restart finds again is not counted twice. The queue's wait is",
    '`longshore_stage_duration_seconds{stage="queue"}`, and the hits of the warm pool are `longshore_start_duration_seconds_count{pool="hit"}`.',
    "",
    "A dashboard for Grafana is `deploy/grafana/longshore.json`, alerts are in `deploy/prometheus/alerts.yaml`, and what to do about each in [runbook.md](runbook.md).",
    "",
    "A histogram has the three series `_bucket`, `_sum` and `_count`.",
    "",
    "| Prometheus | OpenTelemetry | kind | labels | what |",
    "|---|---|---|---|---|",
    ...rows,
    "",
  ].join("\n"),
);
