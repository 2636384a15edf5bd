import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { z } from "zod";
import { ACCESS_SETTINGS } from "./access-settings.ts";
import { parseInstanceType } from "./domain/instance-type.ts";
import { parseTrackingUrl } from "./domain/tracking.ts";
import { NOTIFICATION_SETTINGS } from "./notification-settings.ts";
import {
  address,
  addresses,
  aliases,
  count,
  cpus,
  duration,
  flag,
  httpUrl,
  list,
  ranges,
  setting,
  size,
  someCpus,
  targets,
  text,
  weights,
} from "./setting-readers.ts";

const ADDRESS = /^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$/;

const isRoot = process.getuid?.() === 0;

/** Every setting there is; `scripts/serve --help` and .env.example are made of it. */
export const SETTINGS = {
  LONGSHORE_LISTEN: setting(
    z.string().regex(ADDRESS, "is not host:port"),
    "127.0.0.1:50051",
    "address and port of the gRPC service",
  ),
  ...ACCESS_SETTINGS,
  LONGSHORE_DATA_DIR: setting(
    text.transform((path) => resolve(path)),
    isRoot ? "/var/lib/longshore" : join(homedir(), ".local/share/longshore"),
    "folder for the database, uploads, journals and artifacts; must be a path that Docker can mount from",
  ),
  LONGSHORE_DATABASE_URL: setting(
    z.string(),
    "",
    "database; empty means SQLite in the data folder (sqlite:///path/to/file.db); or postgres://user:password@host/database",
  ),
  LONGSHORE_STANDBY: setting(
    flag,
    "false",
    "true waits for the server that holds the PostgreSQL database to end, and takes over; it has the same data folder. Until then it does not listen",
  ),
  LONGSHORE_ENGINES: setting(
    z.string(),
    "",
    "JSON file with the engines that tasks may name, the default first (docs/engines.md); empty means this host's Docker alone, as docker",
  ),
  LONGSHORE_DOCKER: setting(
    text,
    process.env.DOCKER_HOST ?? "unix:///var/run/docker.sock",
    "Docker's own address; a local daemon, because sandboxes mount from the data folder",
  ),
  LONGSHORE_EXECUTOR_IMAGE: setting(
    text,
    "longshore/executor:dev",
    "image of sandboxes when a request names none (scripts/build-image)",
  ),
  LONGSHORE_ALLOWED_IMAGES: setting(
    list,
    "",
    "other images that a request may name: exact names or globs, separated by commas",
  ),
  LONGSHORE_IMAGE_ALIASES: setting(
    aliases((image) => image || undefined, "not NAME=IMAGE, each name once"),
    "",
    "names that requests may use for images, such as sklearn=registry.example/team/sklearn:1.7; these are allowed, too",
  ),
  LONGSHORE_ENGINE_OVERFLOW: setting(
    z.string(),
    "",
    "engine for tasks that name none and for which the first one has no room when they come; empty keeps them waiting for it",
  ),
  LONGSHORE_ENGINE_ALIASES: setting(
    aliases((engine) => engine || undefined, "not NAME=ENGINE, each name once"),
    "",
    "other names that requests may use for engines, such as atena02=docker",
  ),
  LONGSHORE_INSTANCE_TYPES: setting(
    aliases(parseInstanceType, "not NAME=cpu:2/ram:4GB/storage:10GB/gpu:1, of which parts may be left out"),
    "",
    "kinds of machines that requests may name, with what their tasks get of resources they do not ask for, such as small=cpu:1/ram:1GB; empty takes any name",
  ),
  LONGSHORE_TRACKING_ALIASES: setting(
    aliases(
      parseTrackingUrl,
      "not NAME=URL, each name once; a URL starts with http:// or https://, has no credentials, and no loopback address, which is each sandbox's own",
    ),
    "",
    "experiment tracking servers (MLflow) that requests may name, such as experiments=http://10.1.2.3:5000; a task with an experiment reaches that address alone, also where it is private or this host's own",
  ),
  LONGSHORE_DEFAULT_CPU: setting(someCpus, "1", "CPUs of a task that asks for none"),
  LONGSHORE_DEFAULT_RAM: setting(size, "512MB", "memory of a task that asks for none"),
  LONGSHORE_DEFAULT_STORAGE: setting(size, "1GB", "disk of a task that asks for none"),
  LONGSHORE_RESERVE_CPU: setting(cpus, "0", "CPUs kept back for the host"),
  LONGSHORE_RESERVE_RAM: setting(size, "1GB", "memory kept back for the host and this server"),
  LONGSHORE_RESERVE_STORAGE: setting(size, "2GB", "disk kept back for the host and this server"),
  LONGSHORE_LEAST_FREE_DISK: setting(
    size,
    "256MB",
    "free space of the data folder's disk below which nothing is taken or started",
  ),
  LONGSHORE_COUNT_OTHERS: setting(
    flag,
    "true",
    "whether what other containers on this host are limited to, and what other pods and jobs of a cluster ask for, is kept from tasks",
  ),
  LONGSHORE_DEFAULT_TIMEOUT: setting(duration, "30s", "longest run of a task that says nothing"),
  LONGSHORE_MAX_TIMEOUT: setting(duration, "24h", "longest run that a task may ask for"),
  LONGSHORE_DEFAULT_ISOLATION: setting(
    z.enum(["container", "gvisor"], "is neither container nor gvisor"),
    "container",
    "isolation tier of a task that asks for none",
  ),
  LONGSHORE_STOP_GRACE: setting(
    duration,
    "5s",
    "time between SIGTERM and SIGKILL when a cancel says nothing",
  ),
  LONGSHORE_MAX_STOP_GRACE: setting(duration, "60s", "longest such time that a cancel may ask for"),
  LONGSHORE_STAGE_IN_TIMEOUT: setting(
    duration,
    "5m",
    "longest unpacking of project and inputs inside the sandbox",
  ),
  LONGSHORE_COLLECT_TIMEOUT: setting(duration, "5m", "longest collecting of a task's artifacts"),
  LONGSHORE_RETENTION: setting(duration, "7d", "how long record, logs and artifacts stay after the end"),
  LONGSHORE_MAX_RETENTION: setting(duration, "90d", "longest retention that a task may ask for"),
  LONGSHORE_QUEUE_AGING: setting(
    duration,
    "5m",
    "queued tasks of one more priority go as if they had come so much earlier, so that whoever waits longer gets ahead; 0s lets priority alone decide",
  ),
  LONGSHORE_TENANT_WEIGHTS: setting(
    weights,
    "",
    "shares of tenants of which several have tasks queued, such as research=2,batch=0.5; 1 for all others",
  ),
  LONGSHORE_MAX_QUEUED: setting(count, "20000", "most tasks in the queue"),
  LONGSHORE_MAX_CODE: setting(size, "1MB", "longest snippet; larger code comes as a project"),
  LONGSHORE_MAX_UPLOAD: setting(size, "10GB", "largest upload"),
  LONGSHORE_MAX_ARCHIVE_ENTRIES: setting(count, "100000", "most files and folders in an archive"),
  LONGSHORE_MAX_ARCHIVE_CONTENT: setting(size, "20GB", "most bytes that an archive may hold unpacked"),
  LONGSHORE_MAX_ARCHIVE_RATIO: setting(count, "500", "most unpacked bytes per uploaded byte"),
  LONGSHORE_MAX_ARCHIVE_HEADER: setting(size, "1MB", "most header bytes of one archive entry"),
  LONGSHORE_PROCESSES: setting(count, "256", "processes and threads of a task that says nothing"),
  LONGSHORE_MAX_PROCESSES: setting(count, "4096", "most that a task may ask for"),
  LONGSHORE_OPEN_FILES: setting(count, "1024", "open files per process of a task that says nothing"),
  LONGSHORE_MAX_OPEN_FILES: setting(count, "65536", "most that a task may ask for"),
  LONGSHORE_INODES: setting(count, "65536", "files and folders of a task that says nothing"),
  LONGSHORE_MAX_INODES: setting(count, "4000000", "most that a task may ask for"),
  LONGSHORE_LOG_BUDGET: setting(size, "64MB", "output kept of a task that says nothing"),
  LONGSHORE_MAX_LOG_BUDGET: setting(size, "4GB", "most that a task may ask for"),
  LONGSHORE_ARTIFACT_BUDGET: setting(size, "1GB", "artifact bytes of a task that says nothing"),
  LONGSHORE_MAX_ARTIFACT_BUDGET: setting(size, "10GB", "most that a task may ask for"),
  LONGSHORE_WARM_COUNT: setting(
    count,
    "24",
    "most warm sandboxes that idle, of the shapes asked for lately; 0 turns warm starts off",
  ),
  LONGSHORE_WARM_RAM: setting(
    size,
    "2GB",
    "most memory that idle warm sandboxes may hold together, 32MB each, 224MB with modules preloaded; they give way to tasks",
  ),
  LONGSHORE_FIRST_UID: setting(
    count,
    "700000",
    "first of the user ids that sandboxes run as; must be used by nobody else",
  ),
  LONGSHORE_UID_COUNT: setting(count, "10000", "how many there are"),
  LONGSHORE_PRICES: setting(
    z.string(),
    "",
    "JSON file with what an hour of a CPU, a GB of memory and of disk, and a GPU costs, and from when (docs/billing.md); empty means that nothing has a price",
  ),
  LONGSHORE_QUOTAS: setting(
    z.string(),
    "",
    "JSON file with the most that tenants may hold, queue, store and spend (docs/billing.md); empty means no quotas",
  ),
  LONGSHORE_EGRESS: setting(
    z.enum(["on", "off"], "is neither on nor off"),
    "off",
    "network EGRESS: tasks that ask for it reach public addresses, and this host's address is what those see; sets up a Docker network and packet rules; tasks with an experiment may then name any public tracking server, which is all that they reach",
  ),
  LONGSHORE_EGRESS_ALLOW: setting(
    targets,
    "",
    "private addresses that such tasks may reach all the same, such as 10.1.2.3:5000 for an experiment tracker; never this host itself",
  ),
  LONGSHORE_EGRESS_DENY: setting(
    ranges,
    "",
    "public addresses that they may not reach, such as a company's own 198.51.100.0/24",
  ),
  LONGSHORE_EGRESS_DNS: setting(
    ranges,
    "",
    "their name servers, reached on port 53 alone; empty means this host's",
  ),
  LONGSHORE_EGRESS_SUBNET: setting(
    ranges,
    "",
    "addresses of their network, such as 10.200.0.0/20; empty lets Docker choose",
  ),
  LONGSHORE_BLOBS: setting(
    z
      .string()
      .regex(
        /^(files|s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/[A-Za-z0-9._=-]+)*\/?)$/,
        "is neither files nor s3://BUCKET/PREFIX",
      ),
    "files",
    "where uploads and artifacts are kept: files (in the data folder) or s3://BUCKET/PREFIX, used by this server alone; credentials as for AWS' own tools (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE and its files)",
  ),
  LONGSHORE_S3_ENDPOINT: setting(
    httpUrl("is not an address such as http://minio:9000"),
    "",
    "address of an S3-compatible store; empty means AWS, or AWS_ENDPOINT_URL_S3",
  ),
  LONGSHORE_S3_PUBLIC_ENDPOINT: setting(
    httpUrl("is not an address such as https://s3.example.com"),
    "",
    "address by which clients reach it, for presigned addresses; empty means the same",
  ),
  LONGSHORE_S3_REGION: setting(
    z.string(),
    "",
    "region that requests to it are signed for; empty means AWS_REGION, else us-east-1",
  ),
  LONGSHORE_S3_PATH_STYLE: setting(
    z.enum(["auto", "true", "false"], "is none of auto, true, false"),
    "auto",
    "https://host/bucket/key in place of https://bucket.host/key; auto means where an endpoint is set",
  ),
  LONGSHORE_URL_LIFETIME: setting(
    duration,
    "15m",
    "how long a presigned address works when its request says nothing",
  ),
  LONGSHORE_MAX_URL_LIFETIME: setting(duration, "12h", "longest that it may be asked for"),
  LONGSHORE_METRICS_ADDRESS: setting(
    z.string().refine((given) => given === "" || ADDRESS.test(given), "is not host:port"),
    "",
    "where Prometheus finds the server's figures, such as 127.0.0.1:9464 (path /metrics); whoever reaches it can read them; empty turns it off",
  ),
  LONGSHORE_UV: setting(
    z.string(),
    "",
    "the program uv, statically linked, which installs the packages of a requirements.txt; empty looks for it on PATH",
  ),
  LONGSHORE_BUILD_CPU: setting(someCpus, "1", "CPUs of the sandbox that installs an environment"),
  LONGSHORE_BUILD_RAM: setting(size, "1GB", "its memory"),
  LONGSHORE_BUILD_STORAGE: setting(size, "8GB", "its disk, and so the largest environment that can be"),
  LONGSHORE_BUILD_TIMEOUT: setting(duration, "10m", "longest installation of an environment"),
  LONGSHORE_BUILD_NETWORK: setting(
    z.enum(["docker", "none"], "is neither docker nor none"),
    "docker",
    "network of such sandboxes where EGRESS is off: Docker's own, where nothing but uv runs, or none; with EGRESS they have its rules",
  ),
  LONGSHORE_BUILD_ISOLATION: setting(
    z.enum(["container", "gvisor"], "is neither container nor gvisor"),
    "container",
    "isolation tier of such sandboxes",
  ),
  LONGSHORE_BUILD_INDEX_URL: setting(
    address,
    "",
    "package index in place of PyPI; may hold a user and password, which are never recorded or logged",
  ),
  LONGSHORE_BUILD_EXTRA_INDEX_URLS: setting(addresses, "", "further package indexes, looked at first"),
  LONGSHORE_BUILD_WHEELS: setting(z.string(), "", "folder of wheels on this host to install from, too"),
  LONGSHORE_BUILD_CA_BUNDLE: setting(
    z.string(),
    "",
    "file of certificates that package indexes are checked with, such as /etc/ssl/certs/ca-certificates.crt behind a company's proxy",
  ),
  LONGSHORE_BUILD_PROXY: setting(address, "", "HTTP proxy on the way to the package index"),
  LONGSHORE_BUILD_NO_PROXY: setting(z.string(), "", "hosts that are reached without it"),
  LONGSHORE_BUILD_SOURCES: setting(
    flag,
    "false",
    "whether packages that come as source are built; runs their code, so it needs EGRESS on, or no network",
  ),
  LONGSHORE_BUILD_URLS: setting(
    flag,
    "false",
    'whether requirements may name addresses ("name @ https://..."); needs EGRESS on, or no network',
  ),
  LONGSHORE_ENVIRONMENTS_SIZE: setting(
    size,
    "20GB",
    "disk that installed environments may take together; those used longest ago give way, never one in use",
  ),
  ...NOTIFICATION_SETTINGS,
  LONGSHORE_TRACE_URL: setting(
    z.string().regex(/^$|^https?:\/\/\S*\{trace_id\}\S*$/, "is not an http address with {trace_id} in it"),
    "",
    "where people look at a task's trace, such as http://localhost:16686/trace/{trace_id}; clients show it",
  ),
  LONGSHORE_LOG_LEVEL: setting(
    z.enum(["debug", "info", "warn", "error"], "is none of debug, info, warn, error"),
    "info",
    "least level of the server's own log",
  ),
} as const;

type SettingName = keyof typeof SETTINGS;
/** Every setting as it was read. */
export type Values = { [K in SettingName]: z.output<(typeof SETTINGS)[K]["schema"]> };

/** The text of `--help`. */
export function helpText(): string {
  const lines = Object.entries(SETTINGS).map(
    ([name, { about, fallback }]) => `  ${name}=${fallback}\n      ${about}`,
  );
  return [
    "Longshore server: runs other people's code, each task alone in a container made for it.",
    "",
    "usage: scripts/serve [--help]",
    "",
    "It is set by environment variables, or by a file .env in the current folder. With their defaults:",
    "",
    ...lines,
    "",
    "  OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_EXPORTER, OTEL_METRICS_EXPORTER and the other standard OTEL_* variables",
    "      where traces and metrics go; off when none is set",
    "  LONGSHORE_TASK_OTEL_EXPORTER_OTLP_ENDPOINT and the like",
    "      handed to tasks with network EGRESS as OTEL_*, for programs that export by themselves; every such task can read them",
    "",
  ].join("\n");
}
