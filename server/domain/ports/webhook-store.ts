import type { AuditEvent } from "../audit.ts";
import type { Delivery, DeliveryState, SigningSecrets, WebhookEndpoint } from "../webhook.ts";

/** Tenants' addresses and signing secrets, each change in one transaction with the event that tells of it. */
export interface WebhookStore {
  /** Answers whether `firstSecret` was stored: not where the tenant has one already. */
  insert(endpoint: WebhookEndpoint, event: AuditEvent, firstSecret: SigningSecrets | null): Promise<boolean>;
  find(id: string): Promise<WebhookEndpoint | undefined>;
  /** Newest first, after `afterId`, at most `limit`. */
  list(query: {
    readonly tenant: string;
    readonly afterId: string;
    readonly limit: number;
  }): Promise<WebhookEndpoint[]>;
  /** What waits for it is given up. False, and nothing is written, when it is unknown. */
  remove(id: string, event: AuditEvent): Promise<boolean>;
  secrets(tenant: string): Promise<SigningSecrets | undefined>;
  putSecrets(secrets: SigningSecrets, event: AuditEvent): Promise<void>;
}

/** What must not be tried now, however due it is. */
export interface Busy {
  /** Deliveries on their way. */
  readonly ids: readonly string[];
  /** `targetOf` of those. */
  readonly targets: readonly string[];
  readonly tenants: readonly string[];
}

export interface DeliveryQuery {
  readonly tenant: string;
  /** Empty does not restrict; so it is with `taskId` and `states`. */
  readonly endpointId: string;
  readonly taskId: string;
  readonly states: readonly DeliveryState[];
  readonly limit: number;
  /** Only what comes after it in the list; null begins at the newest. */
  readonly after: Pick<Delivery, "createTime" | "id"> | null;
}

/** What is to be sent and what became of it. The task store writes its rows, in the transaction of the state change. */
export interface Outbox {
  /** Calls `listener` after each commit that added something, until the returned function is called. */
  onAdded(listener: () => void): () => void;
  /** What is due at `time` and not busy, longest due first, at most `limit`. */
  due(time: Date, busy: Busy, limit: number): Promise<Delivery[]>;
  /** When the next one is due after `time`; null when none is. */
  nextDueTime(time: Date): Promise<Date | null>;
  find(id: string): Promise<Delivery | undefined>;
  /** Newest first. */
  list(query: DeliveryQuery): Promise<Delivery[]>;
  /**
   * Writes what became of a delivery, and its endpoint beside it if that changed, too. An endpoint that is turned off gives up all that
   * waits for it. One that was removed meanwhile stays removed.
   */
  save(delivery: Delivery, endpoint: WebhookEndpoint | null): Promise<void>;
  /** Removes what is done with and was made before `time`; answers how many there were. */
  removeBefore(time: Date, limit: number): Promise<number>;
}
