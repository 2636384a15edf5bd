import { listNames } from "./alias.ts";
import type { FieldViolation } from "./errors.ts";
import { LOCAL_RANGES, overlap, PRIVATE_RANGES, parseIpRange } from "./ip-range.ts";
import type { ExperimentRun, Network, TaskSpec } from "./task.ts";

/** An experiment tracking server (MLflow); tasks with an experiment reach it and nothing else. */
export interface TrackingServer {
  /** What requests call it; empty for one that the operator does not know of. */
  readonly name: string;
  /** Without a slash at its end. */
  readonly url: string;
  /** Name or IPv4 address in the URL. */
  readonly host: string;
  readonly port: number;
}

/** Set by us for the script; a request that brings its own would say two things at once. */
const OWN_VARIABLES = [
  "MLFLOW_TRACKING_URI",
  "MLFLOW_EXPERIMENT_NAME",
  "MLFLOW_EXPERIMENT_ID",
  "MLFLOW_RUN_ID",
] as const;
const HOST = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/;
/** Nothing that a terminal would obey. */
const EXPERIMENT_NAME = /^[^\p{Cc}]{1,250}$/u;

/** Reads the URL of a tracking server; undefined for one that no sandbox could use. */
export function parseTrackingUrl(text: string): Omit<TrackingServer, "name"> | undefined {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  const { protocol, hostname, port, username, password, search, hash } = url;
  if (protocol !== "http:" && protocol !== "https:") return undefined;
  // Credentials in a URL end up in records and logs.
  if (username !== "" || password !== "" || search !== "" || hash !== "" || !HOST.test(hostname))
    return undefined;
  // Each sandbox's own, where nobody listens.
  if (hostname === "localhost" || hostname.startsWith("127.")) return undefined;
  const standard = protocol === "https:" ? 443 : 80;
  return { url: url.href.replace(/\/+$/, ""), host: hostname, port: port === "" ? standard : Number(port) };
}

/** Which tracking servers there are: the operator's, and any public one where `publicTracking` says so. */
export interface TrackingPolicy {
  readonly trackingServers: ReadonlyMap<string, TrackingServer>;
  readonly publicTracking: boolean;
}

/** The operator's server that a task's experiment names, by its name or its URL. */
export function namedServerOf(
  { experiment }: TaskSpec,
  { trackingServers: servers }: TrackingPolicy,
): TrackingServer | undefined {
  if (experiment === null) return undefined;
  const url = parseTrackingUrl(experiment.trackingUri)?.url;
  return servers.get(experiment.trackingUri) ?? [...servers.values()].find((server) => server.url === url);
}

/** The server that a task's experiment names; undefined without an experiment, or for one that is not to be had. */
export function trackingServerOf(spec: TaskSpec, policy: TrackingPolicy): TrackingServer | undefined {
  const named = namedServerOf(spec, policy);
  if (named !== undefined || spec.experiment === null || !policy.publicTracking) return named;
  const given = parseTrackingUrl(spec.experiment.trackingUri);
  return given === undefined ? undefined : { name: "", ...given };
}

/** What the sandbox may reach: a task with an experiment reaches its tracking server unless it asked for more. */
export function networkOf(spec: TaskSpec): Network {
  return spec.network ?? (spec.experiment === null ? "NONE" : "TRACKING");
}

/** Adds everything that is wrong with the experiment and the network it needs. */
export function checkExperiment(spec: TaskSpec, policy: TrackingPolicy, violations: FieldViolation[]): void {
  const refuse = (field: string, description: string) => violations.push({ field, description });
  const { experiment } = spec;
  if (experiment === null) {
    if (spec.network === "TRACKING")
      refuse("network", "tracking reaches the tracking server of an experiment; give experiment, too");
    return;
  }
  if (!EXPERIMENT_NAME.test(experiment.name))
    refuse("experiment.name", "must have 1 to 250 characters, none of them a control character");
  if (spec.network === "NONE")
    refuse("network", "none keeps the task from its tracking server; leave network out, or experiment");
  for (const name of OWN_VARIABLES) {
    if (name in spec.env || name in spec.secretEnv)
      refuse(`env[${name}]`, "is made of experiment; give one of them");
  }
  if (namedServerOf(spec, policy) !== undefined) return;
  const uri = experiment.trackingUri.slice(0, 200);
  const known = `this server's tracking servers: ${listNames(policy.trackingServers.keys())}`;
  const given = parseTrackingUrl(experiment.trackingUri);
  if (uri === "") refuse("experiment.tracking_uri", `is empty; give a URL, or one of ${known}`);
  else if (given === undefined)
    refuse(
      "experiment.tracking_uri",
      `"${uri}" is neither the URL of a tracking server (http or https, without credentials, which go into secret_env) nor one of ${known}`,
    );
  else if ((!policy.publicTracking && spec.network !== "EGRESS") || isPrivate(given.host))
    refuse(
      "experiment.tracking_uri",
      `"${uri}" is none of ${known}; use one of those, or have the operator add it to LONGSHORE_TRACKING_ALIASES`,
    );
}

/** Of an address itself; what a name stands for is looked up when the task starts. */
function isPrivate(host: string): boolean {
  const address = parseIpRange(host);
  return address !== undefined && [...LOCAL_RANGES, ...PRIVATE_RANGES].some((one) => overlap(one, address));
}

/** What MLflow reads of its own accord. */
export function trackingVariables(
  { experiment }: TaskSpec,
  server: TrackingServer | undefined,
  { experimentRun }: { readonly experimentRun: ExperimentRun | null },
): Readonly<Record<string, string>> {
  if (experiment === null) return {};
  return {
    MLFLOW_TRACKING_URI: server?.url ?? experiment.trackingUri,
    MLFLOW_EXPERIMENT_NAME: experiment.name,
    ...(experimentRun !== null && { MLFLOW_RUN_ID: experimentRun.runId }),
    // It would try to report to its makers, whom the sandbox does not reach.
    MLFLOW_DISABLE_TELEMETRY: "true",
  };
}
