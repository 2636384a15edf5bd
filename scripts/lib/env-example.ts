/** Prints .env.example: every setting of the server with its default, commented out. */
import { SETTINGS } from "../../server/settings.ts";

/** Defaults that depend on who runs this and where; the file must be the same for everybody. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  LONGSHORE_DATA_DIR: "/var/lib/longshore",
  LONGSHORE_DOCKER: "unix:///var/run/docker.sock",
};

const settings = Object.entries(SETTINGS).map(
  ([name, { about, fallback }]) => `# ${about}\n#${name}=${ELSEWHERE[name] ?? fallback}\n`,
);

process.stdout.write(
  [
    "# Copy this file to .env and change what you need: scripts/serve, quickstart and build-image read it. A variable of the environment wins.",
    "# scripts/generate makes it of server/settings.ts. Without root the data folder is ~/.local/share/longshore.",
    "",
    ...settings,
    "# Where traces and metrics go (OpenTelemetry's standard variables); off when unset",
    "#OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317",
    "",
    "# Handed to tasks with network EGRESS as OTEL_*, like every other LONGSHORE_TASK_OTEL_*; such tasks can read them",
    "#LONGSHORE_TASK_OTEL_EXPORTER_OTLP_ENDPOINT=http://10.1.2.3:4317",
    "",
  ].join("\n"),
);
