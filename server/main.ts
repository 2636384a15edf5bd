import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setDefaultHighWaterMark } from "node:stream";
import packageJson from "../package.json" with { type: "json" };
import type { AccessConfig } from "./access-config.ts";
import { FileArchiveReader } from "./adapters/archive/file-archive-reader.ts";
import { TarArtifactReader } from "./adapters/archive/tar-artifact-reader.ts";
import { FileBlobStore } from "./adapters/blobs/file-blob-store.ts";
import { type Database, openDatabase } from "./adapters/database/database.ts";
import { openDockerEngine } from "./adapters/docker/docker-engine.ts";
import { DEFAULT_POOL, DEFAULT_RUNTIMES } from "./adapters/docker/options.ts";
import { openBuildKit } from "./adapters/environments/build-kit.ts";
import { FileEnvironmentStore } from "./adapters/environments/file-environment-store.ts";
import { FolderDisk } from "./adapters/host/data-disk.ts";
import { makeDataFolder } from "./adapters/host/data-folder.ts";
import { awaitLease, type Lease, takeLease } from "./adapters/lease/file-lease.ts";
import { MlflowTracker } from "./adapters/mlflow/mlflow-tracker.ts";
import { OidcAuthenticator } from "./adapters/oidc/oidc-authenticator.ts";
import { openSecretBox } from "./adapters/secrets/aes-secret-box.ts";
import { writeTokenFile } from "./adapters/secrets/token-file.ts";
import { createLog } from "./adapters/telemetry/log.ts";
import { openMetrics } from "./adapters/telemetry/metrics.ts";
import { openTelemetry } from "./adapters/telemetry/telemetry.ts";
import { WebhookSender } from "./adapters/webhook/webhook-sender.ts";
import { CertificateAuthenticator } from "./application/certificate-authenticator.ts";
import { composeApplication } from "./application/compose.ts";
import { composeAccess } from "./application/compose-access.ts";
import { DEFAULT_PAUSES_MILLIS } from "./application/delivery-schedule.ts";
import { createIds } from "./application/identity.ts";
import type { Parts } from "./application/parts.ts";
import { type BuildConfig, type Config, ConfigError, readConfig } from "./config.ts";
import { StoreAway, SystemFault } from "./domain/errors.ts";
import type { DeliveryChannel } from "./domain/ports/delivery-channel.ts";
import type { Engine } from "./domain/ports/engine.ts";
import type { Log } from "./domain/ports/telemetry.ts";
import type { DamagedTask } from "./domain/task-record.ts";
import type { EngineEntry, KubernetesEntry, SlurmEntry } from "./engines-file.ts";
import { helpText } from "./settings.ts";
import { startGrpcServer } from "./transport/server.ts";
import { TlsCredentials } from "./transport/tls.ts";

/** EX_TEMPFAIL of sysexits.h: a supervisor may start it again, as a standby. */
const EXIT_DEPOSED = 75;
const DRAIN_MILLIS = 5_000;
/**
 * Starts and removals in flight. Measured on two cores, containers a second: 3.9 with one, 5.0 with two, 6.7 with four, 6.6 with six;
 * beyond, they only wait for each other.
 */
const PARALLEL_ENGINE_CALLS = 4;
/**
 * Messages that are read of a client's stream before they are asked for, which grpc-js itself has no option for. By Node's own 16 each
 * upload held 16 MiB, long enough in memory to be freed by full collections alone.
 */
const READ_AHEAD_MESSAGES = 2;
const BUILD_PROGRAM = join(import.meta.dirname, "../executor-image/builder.py");
/** Of all files of an environment together, held in memory while it is unpacked. */
const MOST_ENVIRONMENT_PATH_BYTES = 64 * 2 ** 20;
const POD_DIRECTORY = join(import.meta.dirname, "../executor-image/pod");
const JOB_SCRIPT = join(import.meta.dirname, "../executor-image/slurm/job.sh");
const RUNNER_DIRECTORY = join(import.meta.dirname, "../executor-image/runner");

/** Brings the server up, serves until a signal comes, and takes it down in reverse. */
async function serve(config: Config, stopped: Promise<string>): Promise<void> {
  setDefaultHighWaterMark(true, READ_AHEAD_MESSAGES);
  const log = createLog({ level: config.logLevel });
  await makeDataFolder(config.dataDirectory);
  await using stack = new AsyncDisposableStack();
  const { lease, database } = await hold(config, stack, stopped, log);
  // Before anything that takes time: a wrong path is told at once.
  const tls = config.access.tls && stack.use(await TlsCredentials.open(config.access.tls, log));
  const telemetry = openTelemetry({ serviceVersion: packageJson.version, env: process.env, log });
  stack.defer(() => telemetry.close());
  const { metrics, address: metricsAddress } = stack.use(
    await openMetrics({
      serviceVersion: packageJson.version,
      env: process.env,
      ...(config.metricsListen !== undefined && { listen: config.metricsListen }),
      log,
    }),
  );
  if (metricsAddress !== undefined) log.info("metrics", { prometheus: `http://${metricsAddress}/metrics` });
  const engines = await openEngines(config, lease.installationId, stack, log);
  const clock = () => new Date();
  const newId = createIds();
  const { builds } = config;
  const app = await composeApplication({
    environments: {
      store: await FileEnvironmentStore.open({
        directory: config.dataDirectory,
        reader: new TarArtifactReader({
          ...config.archiveLimits,
          maxContentBytes: builds.limits.storageBytes,
          maxEntries: builds.limits.inodes,
          maxAllPathsBytes: MOST_ENVIRONMENT_PATH_BYTES,
        }),
        log,
      }),
      mostBytes: builds.mostBytes,
      builds: await openBuildKit({
        ...builds,
        dataDirectory: config.dataDirectory,
        program: BUILD_PROGRAM,
        network: (await isGuarded(engines)) ? "GUARDED" : openNetwork(builds),
      }),
    },
    engines,
    engineAliases: config.engineAliases,
    engineOverflow: config.engineOverflow,
    store: database.tasks,
    artifacts: database.artifacts,
    index: database.blobs,
    ledger: database.ledger,
    ...(await openBlobs(config, stack, log)),
    archives: new FileArchiveReader({ directory: config.dataDirectory, limits: config.archiveLimits }),
    artifactReader: new TarArtifactReader(config.archiveLimits),
    tracker: new MlflowTracker(clock),
    secretBox: await openSecretBox(config.dataDirectory),
    webhooks: {
      store: database.webhooks,
      outbox: database.outbox,
      channels: await openChannels(config, stack),
      schedule: {
        pausesMillis: DEFAULT_PAUSES_MILLIS,
        disableAfterMillis: config.notifications.webhooks.disableAfterMillis,
      },
    },
    disk: { disk: new FolderDisk(config.dataDirectory), leastFreeBytes: config.leastFreeBytes },
    telemetry,
    metrics,
    log,
    auditsTasks: config.access.auth !== "none",
    policy: config.policy,
    prices: config.prices,
    quotas: config.quotas,
    version: packageJson.version,
    traceUrl: config.traceUrl,
    clock,
    newId,
  });
  stack.defer(() => app.close());
  const { access } = stack.use(
    await composeAccess({
      authenticators: authenticatorsOf(config.access, clock),
      tokens: database.tokens,
      audit: database.audit,
      deliverFirstToken: (token) => writeTokenFile(config.dataDirectory, token),
      log,
      clock,
      newId,
    }),
  );
  await app.start();
  const server = await startGrpcServer({
    listen: config.listen,
    application: app.application,
    access,
    tls,
    rateLimits: config.access.rateLimits,
    log,
    metrics,
    newId,
  });
  stack.defer(() => server.close());
  log.info("listening", { address: server.address, data: config.dataDirectory });
  const signal = await stopped;
  log.info("draining", { signal });
  app.pause("the server is shutting down; try again in a moment");
  await server.drain(DRAIN_MILLIS);
}

/** How each kind of address is reached. */
async function openChannels(
  { notifications }: Config,
  stack: AsyncDisposableStack,
): Promise<ReadonlyMap<string, DeliveryChannel>> {
  const { caBundle, ...options } = notifications.webhooks;
  const authorities = caBundle === "" ? "" : await readAuthorities(caBundle);
  const webhooks = new WebhookSender({
    ...options,
    authorities,
    userAgent: `longshore/${packageJson.version}`,
  });
  const channels = new Map<string, DeliveryChannel>([["https:", webhooks]]);
  if (options.allowHttp) channels.set("http:", webhooks);
  if (notifications.mail !== null) {
    const { SmtpSender } = await import("./adapters/mail/smtp-sender.ts");
    channels.set("mailto:", stack.use(new SmtpSender(notifications.mail)));
  }
  return channels;
}

async function readAuthorities(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new SystemFault(`LONGSHORE_WEBHOOK_CA_BUNDLE cannot be read: ${error}`, {}, { cause: error });
  }
}

/** In their order, the default first. Those of clusters open whether or not the cluster answers; this host's own must be there. */
async function openEngines(
  config: Config,
  installationId: string,
  stack: AsyncDisposableStack,
  log: Log,
): Promise<[Engine, ...Engine[]]> {
  const open = async (entry: EngineEntry): Promise<Engine> => {
    const engine = await openEngine(entry, config, installationId, log);
    stack.defer(() => engine.close());
    return engine;
  };
  const [first, ...others] = config.engines;
  const engines: [Engine, ...Engine[]] = [await open(first)];
  for (const entry of others) engines.push(await open(entry));
  return engines;
}

function openEngine(entry: EngineEntry, config: Config, installationId: string, log: Log): Promise<Engine> {
  switch (entry.kind) {
    case "docker":
      return openDocker(entry.name, config, installationId, log);
    case "kubernetes":
      return openKubernetes(entry, config, installationId, log);
    case "slurm":
      return openSlurm(entry, config, installationId, log);
  }
}

async function openDocker(name: string, config: Config, installationId: string, log: Log): Promise<Engine> {
  return await openDockerEngine({
    name,
    connection: dockerConnection(config.docker),
    dataDirectory: config.dataDirectory,
    installationId,
    runnerDirectory: RUNNER_DIRECTORY,
    defaultImage: config.policy.defaultImage,
    allowedImages: [...config.policy.allowedImages, ...config.policy.imageAliases.values()],
    uids: config.uids,
    runtimes: DEFAULT_RUNTIMES,
    egress: config.egress,
    trackingServers: [...config.policy.trackingServers.values()],
    pool: { ...DEFAULT_POOL, maxIdle: config.warm.count, idleRamBytes: config.warm.ramBytes },
    parallelCalls: PARALLEL_ENGINE_CALLS,
    log,
  });
}

async function openKubernetes(
  entry: KubernetesEntry,
  { dataDirectory, policy }: Config,
  installationId: string,
  log: Log,
): Promise<Engine> {
  // Only where it is used: the client's models take a while to load.
  const { openKubernetesEngine } = await import("./adapters/kubernetes/kubernetes-engine.ts");
  return await openKubernetesEngine({
    ...entry,
    placement: entry,
    dataDirectory,
    installationId,
    runnerDirectory: RUNNER_DIRECTORY,
    podDirectory: POD_DIRECTORY,
    defaultImage: policy.defaultImage,
    allowedImages: [...policy.allowedImages, ...policy.imageAliases.values()],
    imageReferences: entry.images,
    nodeAwaySeconds: Math.ceil(entry.nodeAwayMillis / 1000),
    log,
  });
}

async function openSlurm(
  entry: SlurmEntry,
  { dataDirectory, policy }: Config,
  installationId: string,
  log: Log,
): Promise<Engine> {
  const { openSlurmEngine } = await import("./adapters/slurm/slurm-engine.ts");
  return await openSlurmEngine({
    ...entry,
    sharedDirectory: entry.sharedDirectory ?? join(dataDirectory, "engines", entry.name),
    seesEnvironments: entry.sharedDirectory === null,
    installationId,
    runnerDirectory: RUNNER_DIRECTORY,
    jobScript: JOB_SCRIPT,
    trackingServers: [...policy.trackingServers.keys()],
    log,
  });
}

/** Where the host's Docker can guard builds. */
async function isGuarded(engines: readonly Engine[]): Promise<boolean> {
  const docker = engines.find(({ kind }) => kind === "docker");
  const { tiers } = (await docker?.capabilities()) ?? { tiers: [] };
  return tiers.some(({ networks }) => networks.includes("EGRESS"));
}

/** Where EGRESS was asked for but does not hold on this host, builds that may reach anything have no network. */
function openNetwork({ network, sources, urls }: BuildConfig): "OPEN" | "NONE" {
  return sources || urls ? "NONE" : network;
}

async function openBlobs(
  { bucket: options, dataDirectory: directory }: Config,
  stack: AsyncDisposableStack,
  log: Log,
): Promise<Pick<Parts, "blobs" | "addresses">> {
  if (options === null) return { blobs: new FileBlobStore({ directory }) };
  // Only where it is used: loading the SDK takes a tenth of a second and 30 MB.
  const [{ S3Bucket }, { S3BlobStore }, { S3Addresses }] = await Promise.all([
    import("./adapters/blobs/s3-bucket.ts"),
    import("./adapters/blobs/s3-blob-store.ts"),
    import("./adapters/blobs/s3-addresses.ts"),
  ]);
  const bucket = stack.adopt(new S3Bucket(options), (opened) => opened.close());
  await bucket.probe().catch((error: unknown) => {
    // Tasks without uploads, inputs and artifacts run all the same until it answers.
    if (!(error instanceof StoreAway)) throw error;
    log.warn("the store of blobs is away", { error: error.message });
  });
  const blobs = new S3BlobStore({ bucket, directory });
  const { lifetimeMillis, maxLifetimeMillis } = options;
  return {
    blobs,
    addresses: { of: new S3Addresses({ bucket, store: blobs }), lifetimeMillis, maxLifetimeMillis },
  };
}

/** Besides the server's own tokens; null where nobody is asked. */
function authenticatorsOf({ auth, oidc, certificateScopes }: AccessConfig, clock: () => Date) {
  if (auth === "none") return null;
  return [
    ...(oidc === null ? [] : [new OidcAuthenticator(oidc, clock)]),
    ...(certificateScopes === null ? [] : [new CertificateAuthenticator(certificateScopes)]),
  ];
}

interface Held {
  readonly lease: Lease;
  readonly database: Database;
}

/** The data folder and the database, against every other server. A standby waits here for the other one's end. */
async function hold(
  config: Config,
  stack: AsyncDisposableStack,
  stopped: Promise<string>,
  log: Log,
): Promise<Held> {
  const options = {
    url: config.databaseUrl,
    onDeposed: (reason: string) => {
      log.error("another server has taken over; this one ends at once", { reason });
      // Nothing may be tidied up any more: all of it belongs to the other one.
      process.exit(EXIT_DEPOSED);
    },
    onDamaged: ({ id, tenant, damage }: DamagedTask) =>
      log.error("the record of a task cannot be read", { task: id, tenant, damage }),
  };
  if (!config.standby) {
    const lease = stack.use(await takeLease(config.dataDirectory));
    const database = stack.use(await openDatabase(options));
    await database.claim(lease.installationId);
    return { lease, database };
  }
  const giveUp = new AbortController();
  void stopped.then((signal) => giveUp.abort(new SystemFault(`stopped by ${signal} while standing by`)));
  const waiting = () => log.info("standing by", { data: config.dataDirectory });
  const database = stack.use(await openDatabase({ ...options, standby: { waiting, signal: giveUp.signal } }));
  const lease = stack.use(await awaitLease(config.dataDirectory, giveUp.signal));
  await database.claim(lease.installationId);
  return { lease, database };
}

function dockerConnection(address: string): { socketPath: string } {
  if (address.startsWith("unix://")) return { socketPath: address.slice("unix://".length) };
  throw new ConfigError([
    `LONGSHORE_DOCKER ${address} is not a local socket such as unix:///var/run/docker.sock`,
  ]);
}

async function main(): Promise<number> {
  if (process.argv.slice(2).some((argument) => argument === "--help" || argument === "-h")) {
    process.stdout.write(helpText());
    return 0;
  }
  const stopped = new Promise<string>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve(signal));
  });
  try {
    await serve(readConfig(process.env), stopped);
    return 0;
  } catch (error) {
    if (!(error instanceof ConfigError || error instanceof SystemFault)) throw error;
    process.stderr.write(`error: ${error.message}\n`);
    return 1;
  }
}

process.exitCode = await main();
