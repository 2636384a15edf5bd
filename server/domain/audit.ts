export type AuditAction =
  | "token.create"
  | "token.revoke"
  | "task.create"
  | "task.cancel"
  | "task.delete"
  | "webhook.create"
  | "webhook.delete"
  | "webhook.rotate"
  | "call.denied";

/** Something that somebody did or was denied. It is written once and never changes. */
export interface AuditEvent {
  /** Sorts by time. */
  readonly id: string;
  readonly time: Date;
  /** Empty where the caller is not known; so are subject and credential then. */
  readonly tenant: string;
  readonly subject: string;
  readonly credential: string;
  readonly action: AuditAction;
  /** Id of the task, token or webhook, path of the denied call. */
  readonly resource: string;
  readonly detail: string;
  /** Address that the call came from; empty for what the server did by itself. */
  readonly peer: string;
  /** Above 1 where equal denials were counted together. */
  readonly count: number;
}
