import type { AuditAction, AuditEvent } from "../domain/audit.ts";
import type { Caller } from "./caller.ts";
import type { NewId } from "./identity.ts";

/** Makes the events of the audit log. */
export class AuditEvents {
  readonly #clock: () => Date;
  readonly #newId: NewId;

  constructor(deps: { clock: () => Date; newId: NewId }) {
    this.#clock = deps.clock;
    this.#newId = deps.newId;
  }

  /** What a caller did to something of their own tenant, or of the one named. */
  of(
    caller: Pick<Caller, "tenant" | "subject" | "credential" | "peer">,
    action: AuditAction,
    resource: string,
    more: { readonly tenant?: string; readonly detail?: string; readonly count?: number } = {},
  ): AuditEvent {
    const { subject, credential, peer } = caller;
    return {
      id: this.#newId(),
      time: this.#clock(),
      tenant: more.tenant ?? caller.tenant,
      subject,
      credential,
      action,
      resource,
      detail: more.detail ?? "",
      peer,
      count: more.count ?? 1,
    };
  }
}

/** What a caller did to a task; undefined where that is not kept, since only one person can have done it. */
export type TaskAudit = (
  caller: Caller,
  action: "task.create" | "task.cancel" | "task.delete",
  taskId: string,
  detail?: string,
) => AuditEvent | undefined;
