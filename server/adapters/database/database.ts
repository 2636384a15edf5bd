import { SystemFault } from "../../domain/errors.ts";
import type { AuditLog, TokenStore } from "../../domain/ports/access-store.ts";
import type { BlobIndex } from "../../domain/ports/blob-store.ts";
import type { ArtifactStore, TaskStore } from "../../domain/ports/task-store.ts";
import type { UsageLedger } from "../../domain/ports/usage-ledger.ts";
import type { Outbox, WebhookStore } from "../../domain/ports/webhook-store.ts";
import { SqlArtifactStore } from "./artifact-store.ts";
import { SqlAuditLog } from "./audit-log.ts";
import { SqlBlobIndex } from "./blob-index.ts";
import type { Connections, DatabaseOptions } from "./connections.ts";
import { SqlOutbox } from "./outbox.ts";
import { OutboxWriter } from "./outbox-writer.ts";
import { openPostgres } from "./postgres.ts";
import { openSqlite } from "./sqlite.ts";
import { SqlTaskStore } from "./task-store.ts";
import { SqlTokenStore } from "./token-store.ts";
import { SqlUsageLedger } from "./usage-ledger.ts";
import { SqlWebhookStore } from "./webhook-store.ts";
import { Writer } from "./writer.ts";

export type { DatabaseOptions };

/** The records, open: disposing finishes the changes under way and closes the connections. */
export interface Database extends AsyncDisposable {
  readonly tasks: TaskStore;
  readonly artifacts: ArtifactStore;
  readonly blobs: BlobIndex;
  readonly ledger: UsageLedger;
  readonly tokens: TokenStore;
  readonly audit: AuditLog;
  readonly webhooks: WebhookStore;
  readonly outbox: Outbox;
  /** Binds a database that several servers can reach to one data folder. Throws SystemFault where it belongs to another. */
  claim(installationId: string): Promise<void>;
}

const DEFAULT_BUSY_TIMEOUT_MILLIS = 5_000;

/** Opens the database, brings its tables up to date and answers the stores on it. */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const busyTimeoutMillis = options.busyTimeoutMillis ?? DEFAULT_BUSY_TIMEOUT_MILLIS;
  const connections = await connect(options, busyTimeoutMillis);
  const { reader } = connections;
  const writer = new Writer(connections.writer, busyTimeoutMillis);
  const outbox = new OutboxWriter();
  return {
    tasks: new SqlTaskStore(reader, writer, outbox, {
      now: options.now ?? (() => new Date()),
      onDamaged: options.onDamaged ?? (() => undefined),
    }),
    artifacts: new SqlArtifactStore(reader, writer),
    blobs: new SqlBlobIndex(reader, writer),
    ledger: new SqlUsageLedger(reader),
    tokens: new SqlTokenStore(reader, writer),
    audit: new SqlAuditLog(reader, writer),
    webhooks: new SqlWebhookStore(reader, writer, outbox),
    outbox: new SqlOutbox(reader, writer, outbox),
    claim: (installationId) => connections.claim(installationId),
    async [Symbol.asyncDispose]() {
      await writer.close();
      await connections[Symbol.asyncDispose]();
    },
  };
}

function connect(options: DatabaseOptions, busyTimeoutMillis: number): Promise<Connections> {
  const { url } = options;
  if (/^postgres(ql)?:\/\//.test(url)) return openPostgres(options);
  if (url.startsWith("sqlite:")) return openSqlite(url, busyTimeoutMillis);
  // A URL may hold a password, so it is not repeated.
  const scheme = /^[a-z][a-z0-9+.-]*(?=:)/i.exec(url)?.[0] ?? "none";
  throw new SystemFault(
    `the database URL (scheme: ${scheme}) is not understood; use sqlite:///absolute/path/to/longshore.db, sqlite::memory: or postgres://user@host/database`,
  );
}
