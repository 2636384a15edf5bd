import { z } from "zod";
import { type AccessConfig, accessProblems, toAccessConfig } from "./access-config.ts";
import { type BucketConfig, bucketOf, bucketProblems } from "./bucket-config.ts";
import { type ArchiveLimits, DEFAULT_ARCHIVE_LIMITS } from "./domain/blob.ts";
import { formatIpRange, type IpRange, type IpTarget, LOCAL_RANGES, overlap } from "./domain/ip-range.ts";
import type { TaskLimits } from "./domain/limits.ts";
import type { Policy } from "./domain/policy.ts";
import type { PriceBook } from "./domain/price-book.ts";
import { NO_QUOTAS, type Quotas } from "./domain/quota.ts";
import type { Isolation } from "./domain/task.ts";
import { type EngineEntry, ONLY_DOCKER, readEnginesFile } from "./engines-file.ts";
import { FileProblems } from "./json-file.ts";
import {
  type NotificationConfig,
  notificationProblems,
  toNotificationConfig,
} from "./notification-config.ts";
import { readPriceFile } from "./price-file.ts";
import { readQuotaFile } from "./quota-file.ts";
import { pairProblems } from "./setting-pairs.ts";
import { SETTINGS, type Values } from "./settings.ts";

/** What EGRESS tasks may reach; the adapter turns it into packet rules. */
export interface EgressConfig {
  readonly allow: readonly IpTarget[];
  readonly deny: readonly IpRange[];
  readonly subnet: IpRange | null;
  readonly nameservers: readonly IpRange[];
}

/** How environments are built and how many are kept. */
export interface BuildConfig {
  readonly uv: string;
  /** Without EGRESS, or where it cannot be offered. */
  readonly network: "OPEN" | "NONE";
  readonly isolation: Isolation;
  readonly indexUrl: string;
  readonly extraIndexUrls: readonly string[];
  readonly wheels: string;
  readonly caBundle: string;
  readonly proxy: string;
  readonly noProxy: string;
  readonly sources: boolean;
  readonly urls: boolean;
  readonly limits: TaskLimits;
  readonly mostBytes: number;
}

export interface Config {
  readonly listen: string;
  /** Where Prometheus asks; absent where it is off. */
  readonly metricsListen?: string;
  readonly access: AccessConfig;
  readonly dataDirectory: string;
  readonly databaseUrl: string;
  /** Waits for the other server's end. */
  readonly standby: boolean;
  readonly docker: string;
  readonly traceUrl: string;
  readonly logLevel: "debug" | "info" | "warn" | "error";
  readonly policy: Policy;
  /** The default first. */
  readonly engines: readonly [EngineEntry, ...EngineEntry[]];
  /** Other names of engines. */
  readonly engineAliases: ReadonlyMap<string, string>;
  /** Empty: what the first engine has no room for waits. */
  readonly engineOverflow: string;
  /** Null: nothing has a price. */
  readonly prices: PriceBook | null;
  readonly quotas: Quotas;
  /** Null keeps them in the data folder. */
  readonly bucket: BucketConfig | null;
  readonly archiveLimits: ArchiveLimits;
  readonly warm: { readonly count: number; readonly ramBytes: number };
  readonly leastFreeBytes: number;
  readonly uids: { readonly first: number; readonly count: number };
  readonly builds: BuildConfig;
  /** Absent where it is off. */
  readonly egress?: EgressConfig;
  readonly notifications: NotificationConfig;
}

/** scikit-learn and pandas come to 10,000 files, each twice while they are installed. */
const BUILD_INODES = 500_000;
/** uv unpacks many wheels at once. */
const BUILD_OPEN_FILES = 4096;
const BUILD_LOG_BYTES = 4 * 2 ** 20;

/** Thrown with every wrong setting named at once. */
export class ConfigError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(
      `${problems.length === 1 ? "1 setting is" : `${problems.length} settings are`} wrong:\n${problems.map((p) => `  ${p}`).join("\n")}`,
    );
    this.name = "ConfigError";
    this.problems = problems;
  }
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Reads and checks the environment; an empty variable counts as unset. */
export function readConfig(env: Environment): Config {
  const problems: string[] = [];
  const shape = Object.fromEntries(Object.entries(SETTINGS).map(([name, { schema }]) => [name, schema]));
  const raw = Object.fromEntries(
    Object.entries(SETTINGS).map(([name, { fallback }]) => [
      name,
      env[name] === undefined || env[name] === "" ? fallback : env[name],
    ]),
  );
  for (const name of Object.keys(env)) {
    if (TASK_TELEMETRY.test(name)) continue;
    if (name.startsWith("LONGSHORE_") && !(name in SETTINGS) && !CLIENT_SETTINGS.has(name)) {
      problems.push(`${name} is no setting of this server (scripts/serve --help lists them)`);
    }
  }
  const parsed = z.object(shape).safeParse(raw);
  if (!parsed.success) {
    const wrong = new Set(parsed.error.issues.map(({ path }) => String(path[0])));
    problems.push(
      ...parsed.error.issues.map(
        (issue) => `${issue.path.join(".")} ${shownValue(String(issue.path[0]), raw)}${issue.message}`,
      ),
      ...problemsWithout(wrong, env),
    );
    throw new ConfigError(problems);
  }
  // The shape was made of SETTINGS itself; zod cannot follow Object.fromEntries.
  const values = parsed.data as Values;
  const prices = readFile("LONGSHORE_PRICES", values.LONGSHORE_PRICES, readPriceFile, problems);
  const engines =
    readFile("LONGSHORE_ENGINES", values.LONGSHORE_ENGINES, readEnginesFile, problems) ?? ONLY_DOCKER;
  const quotas = readFile("LONGSHORE_QUOTAS", values.LONGSHORE_QUOTAS, readQuotaFile, problems) ?? NO_QUOTAS;
  if (quotas.haveBudgets && values.LONGSHORE_PRICES === "")
    problems.push(
      `LONGSHORE_QUOTAS ${values.LONGSHORE_QUOTAS}: monthly_spend needs prices to count with; set LONGSHORE_PRICES`,
    );
  problems.push(
    ...accessProblems(values),
    ...egressProblems(values),
    ...buildProblems(values),
    ...bucketProblems(values),
    ...databaseProblems(values),
    ...notificationProblems(values),
    ...pairProblems(values),
  );
  if (problems.length > 0) throw new ConfigError(problems);
  return Object.freeze({ ...toConfig(values, env), prices, quotas, engines });
}

/** What else is wrong, as far as it can be told with the wrong settings at their defaults. */
function problemsWithout(wrong: ReadonlySet<string>, env: Environment): readonly string[] {
  const others = Object.entries(env).filter(([name]) => name in SETTINGS && !wrong.has(name));
  try {
    readConfig(Object.fromEntries(others));
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const named = new RegExp(`\\b(${[...wrong].join("|")})\\b`);
    return error.problems.filter((problem) => !named.test(problem));
  }
}

/** Handed on to tasks without their prefix, so they are as many as OpenTelemetry has. */
const TASK_TELEMETRY = /^LONGSHORE_TASK_(OTEL_[A-Z][A-Z0-9_]{0,99})$/;

function taskTelemetry(env: Environment): ReadonlyMap<string, string> {
  return new Map(
    Object.entries(env).flatMap(([name, value = ""]) => {
      const handed = TASK_TELEMETRY.exec(name)?.[1];
      return handed === undefined || value === "" ? [] : [[handed, value] as const];
    }),
  );
}

/** The value itself, unless it may hold a password. */
function shownValue(name: string, raw: Readonly<Record<string, string | undefined>>): string {
  return MAY_HOLD_PASSWORD.has(name) ? "" : `"${raw[name]}" `;
}

const MAY_HOLD_PASSWORD = new Set([
  "LONGSHORE_BUILD_INDEX_URL",
  "LONGSHORE_BUILD_EXTRA_INDEX_URLS",
  "LONGSHORE_BUILD_PROXY",
  "LONGSHORE_SMTP_URL",
]);

/** Variables of the clients and scripts, which may share the environment. */
const CLIENT_SETTINGS = new Set([
  "LONGSHORE_SERVER",
  "LONGSHORE_DATASETS",
  "LONGSHORE_TOKEN",
  "LONGSHORE_TOKEN_FILE",
  "LONGSHORE_TLS",
  "LONGSHORE_TLS_CA",
  "LONGSHORE_TLS_CLIENT_CERT",
  "LONGSHORE_TLS_CLIENT_KEY",
  "LONGSHORE_CACHE_DIR",
  "LONGSHORE_DEBUG",
  "LONGSHORE_PYTHON_IMAGE",
  "LONGSHORE_DEBIAN_MIRROR",
  "LONGSHORE_DEBIAN_SUITE",
  "LONGSHORE_TEST_CONCURRENCY",
]);

/** Code and addresses that a client chose must not meet a network without rules. */
function buildProblems(v: Values): string[] {
  if (v.LONGSHORE_EGRESS === "on" || v.LONGSHORE_BUILD_NETWORK === "none") return [];
  return (["LONGSHORE_BUILD_SOURCES", "LONGSHORE_BUILD_URLS"] as const)
    .filter((name) => v[name])
    .map(
      (name) =>
        `${name} true lets clients decide what builds reach on Docker's own network, which has no rules; set LONGSHORE_EGRESS=on, or LONGSHORE_BUILD_NETWORK=none`,
    );
}

function egressProblems(v: Values): string[] {
  const local = v.LONGSHORE_EGRESS_ALLOW.filter(({ range }) =>
    LOCAL_RANGES.some((never) => overlap(never, range)),
  );
  const problems = local.map(
    ({ range }) =>
      `LONGSHORE_EGRESS_ALLOW ${formatIpRange(range)} holds loopback, link-local (the clouds' metadata) or multicast addresses, which are never allowed`,
  );
  if (v.LONGSHORE_EGRESS_DNS.some(({ bits }) => bits !== 32))
    problems.push("LONGSHORE_EGRESS_DNS holds a range; name servers are single addresses");
  const [subnet, ...more] = v.LONGSHORE_EGRESS_SUBNET;
  if (more.length > 0 || (subnet !== undefined && subnet.bits > 28))
    problems.push(
      "LONGSHORE_EGRESS_SUBNET is not one range of at least 16 addresses (/28); each sandbox takes one",
    );
  return problems;
}

function databaseProblems({ LONGSHORE_DATABASE_URL: url, LONGSHORE_STANDBY: standby }: Values): string[] {
  const problems =
    url === "" || /^(sqlite|postgres(ql)?):/.test(url)
      ? []
      : ["LONGSHORE_DATABASE_URL begins with neither sqlite: nor postgres:"];
  if (standby && !/^postgres(ql)?:/.test(url))
    problems.push(
      "LONGSHORE_STANDBY needs a PostgreSQL database that both servers reach; set LONGSHORE_DATABASE_URL",
    );
  return problems;
}

/** Null where no file is named; what is wrong with it is added to the problems. */
function readFile<T>(setting: string, path: string, read: (path: string) => T, problems: string[]): T | null {
  if (path === "") return null;
  try {
    return read(path);
  } catch (error) {
    if (!(error instanceof FileProblems)) throw error;
    problems.push(...error.problems.map((problem) => `${setting} ${path}: ${problem}`));
    return null;
  }
}

function toConfig(v: Values, env: Environment): Omit<Config, "prices" | "quotas" | "engines"> {
  return {
    listen: v.LONGSHORE_LISTEN,
    ...(v.LONGSHORE_METRICS_ADDRESS !== "" && { metricsListen: v.LONGSHORE_METRICS_ADDRESS }),
    access: toAccessConfig(v),
    dataDirectory: v.LONGSHORE_DATA_DIR,
    databaseUrl:
      v.LONGSHORE_DATABASE_URL === ""
        ? `sqlite://${v.LONGSHORE_DATA_DIR}/longshore.db`
        : v.LONGSHORE_DATABASE_URL,
    standby: v.LONGSHORE_STANDBY,
    docker: v.LONGSHORE_DOCKER,
    traceUrl: v.LONGSHORE_TRACE_URL,
    logLevel: v.LONGSHORE_LOG_LEVEL,
    policy: toPolicy(v, env),
    engineAliases: v.LONGSHORE_ENGINE_ALIASES,
    engineOverflow: v.LONGSHORE_ENGINE_OVERFLOW,
    archiveLimits: {
      ...DEFAULT_ARCHIVE_LIMITS,
      maxEntries: v.LONGSHORE_MAX_ARCHIVE_ENTRIES,
      maxContentBytes: v.LONGSHORE_MAX_ARCHIVE_CONTENT,
      maxRatio: v.LONGSHORE_MAX_ARCHIVE_RATIO,
      maxHeaderBytes: v.LONGSHORE_MAX_ARCHIVE_HEADER,
    },
    warm: { count: v.LONGSHORE_WARM_COUNT, ramBytes: v.LONGSHORE_WARM_RAM },
    leastFreeBytes: v.LONGSHORE_LEAST_FREE_DISK,
    bucket: bucketOf(v, env),
    uids: { first: v.LONGSHORE_FIRST_UID, count: v.LONGSHORE_UID_COUNT },
    builds: toBuilds(v),
    notifications: toNotificationConfig(v),
    ...(v.LONGSHORE_EGRESS === "on" && {
      egress: {
        allow: v.LONGSHORE_EGRESS_ALLOW,
        deny: v.LONGSHORE_EGRESS_DENY,
        subnet: v.LONGSHORE_EGRESS_SUBNET[0] ?? null,
        nameservers: v.LONGSHORE_EGRESS_DNS,
      },
    }),
  };
}

function trackingServers({ LONGSHORE_TRACKING_ALIASES: servers }: Values) {
  return new Map([...servers].map(([name, server]) => [name, { name, ...server }]));
}

function toBuilds(v: Values): BuildConfig {
  return {
    uv: v.LONGSHORE_UV,
    network: v.LONGSHORE_BUILD_NETWORK === "docker" ? "OPEN" : "NONE",
    isolation: v.LONGSHORE_BUILD_ISOLATION === "gvisor" ? "GVISOR" : "CONTAINER",
    indexUrl: v.LONGSHORE_BUILD_INDEX_URL,
    extraIndexUrls: v.LONGSHORE_BUILD_EXTRA_INDEX_URLS,
    wheels: v.LONGSHORE_BUILD_WHEELS,
    caBundle: v.LONGSHORE_BUILD_CA_BUNDLE,
    proxy: v.LONGSHORE_BUILD_PROXY,
    noProxy: v.LONGSHORE_BUILD_NO_PROXY,
    sources: v.LONGSHORE_BUILD_SOURCES,
    urls: v.LONGSHORE_BUILD_URLS,
    limits: {
      cpuMillis: v.LONGSHORE_BUILD_CPU,
      ramBytes: v.LONGSHORE_BUILD_RAM,
      storageBytes: v.LONGSHORE_BUILD_STORAGE,
      gpuCount: 0,
      processes: v.LONGSHORE_PROCESSES,
      openFiles: Math.max(v.LONGSHORE_OPEN_FILES, BUILD_OPEN_FILES),
      inodes: BUILD_INODES,
      logBytes: BUILD_LOG_BYTES,
      artifactBytes: v.LONGSHORE_BUILD_STORAGE,
      runMillis: v.LONGSHORE_BUILD_TIMEOUT,
      queueMillis: null,
      totalMillis: null,
    },
    mostBytes: v.LONGSHORE_ENVIRONMENTS_SIZE,
  };
}

function toPolicy(v: Values, env: Environment): Policy {
  return {
    defaultResources: {
      cpuMillis: v.LONGSHORE_DEFAULT_CPU,
      ramBytes: v.LONGSHORE_DEFAULT_RAM,
      storageBytes: v.LONGSHORE_DEFAULT_STORAGE,
      gpuCount: 0,
    },
    defaultBudgets: {
      processes: v.LONGSHORE_PROCESSES,
      openFiles: v.LONGSHORE_OPEN_FILES,
      inodes: v.LONGSHORE_INODES,
      logBytes: v.LONGSHORE_LOG_BUDGET,
      artifactBytes: v.LONGSHORE_ARTIFACT_BUDGET,
    },
    maxBudgets: {
      processes: v.LONGSHORE_MAX_PROCESSES,
      openFiles: v.LONGSHORE_MAX_OPEN_FILES,
      inodes: v.LONGSHORE_MAX_INODES,
      logBytes: v.LONGSHORE_MAX_LOG_BUDGET,
      artifactBytes: v.LONGSHORE_MAX_ARTIFACT_BUDGET,
    },
    defaultTimeoutMillis: v.LONGSHORE_DEFAULT_TIMEOUT,
    maxTimeoutMillis: v.LONGSHORE_MAX_TIMEOUT,
    maxCodeBytes: v.LONGSHORE_MAX_CODE,
    maxStdinBytes: 2 ** 20,
    maxUploadBytes: v.LONGSHORE_MAX_UPLOAD,
    defaultIsolation: v.LONGSHORE_DEFAULT_ISOLATION === "gvisor" ? "GVISOR" : "CONTAINER",
    defaultImage: v.LONGSHORE_EXECUTOR_IMAGE,
    allowedImages: v.LONGSHORE_ALLOWED_IMAGES,
    imageAliases: v.LONGSHORE_IMAGE_ALIASES,
    taskTelemetry: taskTelemetry(env),
    trackingServers: trackingServers(v),
    publicTracking: v.LONGSHORE_EGRESS === "on",
    instanceTypes: v.LONGSHORE_INSTANCE_TYPES,
    defaultRetentionMillis: v.LONGSHORE_RETENTION,
    maxRetentionMillis: v.LONGSHORE_MAX_RETENTION,
    maxStageInMillis: v.LONGSHORE_STAGE_IN_TIMEOUT,
    maxCollectMillis: v.LONGSHORE_COLLECT_TIMEOUT,
    defaultStopGraceMillis: v.LONGSHORE_STOP_GRACE,
    maxStopGraceMillis: v.LONGSHORE_MAX_STOP_GRACE,
    reserve: {
      cpuMillis: v.LONGSHORE_RESERVE_CPU,
      ramBytes: v.LONGSHORE_RESERVE_RAM,
      storageBytes: v.LONGSHORE_RESERVE_STORAGE,
      gpuCount: 0,
    },
    maxQueuedTasks: v.LONGSHORE_MAX_QUEUED,
    agingMillis: v.LONGSHORE_QUEUE_AGING,
    tenantWeights: v.LONGSHORE_TENANT_WEIGHTS,
    countForeign: v.LONGSHORE_COUNT_OTHERS,
  };
}
