/** One wrong field of a request, named by its proto path. */
export interface FieldViolation {
  readonly field: string;
  readonly description: string;
}

/** The reasons published in `longshore.v1.ErrorReason`, without their prefix. */
export type ErrorReason =
  | "INVALID_REQUEST"
  | "BAD_ARCHIVE"
  | "DIGEST_MISMATCH"
  | "NEVER_FITS"
  | "NOT_ENFORCED"
  | "WRONG_STATE"
  | "NOT_FOUND"
  | "REQUEST_ID_REUSED"
  | "UPLOAD_IN_PROGRESS"
  | "WRONG_OFFSET"
  | "QUOTA_EXCEEDED"
  | "RATE_LIMITED"
  | "UNAVAILABLE"
  | "UNAUTHENTICATED"
  | "MISSING_SCOPE"
  | "INTERNAL"
  | "BAD_CURSOR"
  | "UNSUPPORTED"
  | "IMAGE_REFUSED"
  | "RECORD_DAMAGED";

/** What every error that a user may see has in common; the transport maps `reason` to a status code. */
export abstract class LongshoreError extends Error {
  abstract readonly reason: ErrorReason;
  /** Facts for programs, sent as ErrorInfo.metadata. */
  readonly metadata: Readonly<Record<string, string>>;

  constructor(message: string, metadata: Record<string, string> = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.metadata = metadata;
  }
}

export class InvalidRequest extends LongshoreError {
  readonly reason = "INVALID_REQUEST";
  readonly violations: readonly FieldViolation[];

  constructor(violations: readonly FieldViolation[]) {
    const count = violations.length === 1 ? "1 problem" : `${violations.length} problems`;
    super(`${count} with the request: ${violations.map((v) => `${v.field}: ${v.description}`).join("; ")}`);
    this.violations = violations;
  }
}

/** An archive broke a rule; `entry` is the offending entry's name as far as it could be read. */
export class BadArchive extends LongshoreError {
  readonly reason = "BAD_ARCHIVE";

  constructor(rule: string, message: string, entry = "") {
    super(message, { rule, entry });
  }
}

export class DigestMismatch extends LongshoreError {
  readonly reason = "DIGEST_MISMATCH";
}

export class NeverFits extends LongshoreError {
  readonly reason = "NEVER_FITS";
}

export class NotEnforced extends LongshoreError {
  readonly reason = "NOT_ENFORCED";
}

export class WrongState extends LongshoreError {
  readonly reason = "WRONG_STATE";

  constructor(message: string, state: string) {
    super(message, { state });
  }
}

export class NotFound extends LongshoreError {
  readonly reason = "NOT_FOUND";
  readonly resourceType: string;
  readonly resourceName: string;

  constructor(resourceType: string, resourceName: string, advice = "") {
    super(`there is no ${resourceType} ${resourceName}${advice === "" ? "" : `; ${advice}`}`);
    this.resourceType = resourceType;
    this.resourceName = resourceName;
  }
}

export class RequestIdReused extends LongshoreError {
  readonly reason = "REQUEST_ID_REUSED";

  constructor(requestId: string, taskId: string) {
    super(
      `request_id ${requestId} was already used for task ${taskId} with other content; use a new request_id for a new request`,
      { task_id: taskId },
    );
  }
}

export class UploadInProgress extends LongshoreError {
  readonly reason = "UPLOAD_IN_PROGRESS";
  readonly retryAfterMillis = 1000;
}

export class WrongOffset extends LongshoreError {
  readonly reason = "WRONG_OFFSET";

  constructor(offset: number, committedBytes: number) {
    super(`the upload goes on at byte ${committedBytes}, not at ${offset}; ask GetBlob and send the rest`, {
      committed_bytes: String(committedBytes),
    });
  }
}

/** OUT_OF_RANGE of a download shares WRONG_OFFSET: the offset lies beyond the bytes there are. */
export class OffsetBeyondEnd extends LongshoreError {
  readonly reason = "WRONG_OFFSET";

  constructor(offset: number, size: number) {
    super(`offset ${offset} lies beyond the end; there are ${size} bytes`, { size_bytes: String(size) });
  }
}

/** How far a quota is used; a reset time where it frees itself then. */
export interface QuotaUse {
  readonly used: string;
  readonly allowed: string;
  readonly resetTime?: Date;
}

export class QuotaExceeded extends LongshoreError {
  readonly reason = "QUOTA_EXCEEDED";
  readonly subject: string;

  constructor(subject: string, message: string, use?: QuotaUse) {
    const facts: Record<string, string> = { quota: subject };
    if (use !== undefined) Object.assign(facts, { used: use.used, allowed: use.allowed });
    if (use?.resetTime !== undefined) facts.reset_time = use.resetTime.toISOString();
    super(message, facts);
    this.subject = subject;
  }
}

/** The token's share of requests, bytes or streams is used up for now. */
export class RateLimited extends LongshoreError {
  readonly reason = "RATE_LIMITED";
  readonly retryAfterMillis: number;

  constructor(message: string, retryAfterMillis: number) {
    super(message);
    this.retryAfterMillis = retryAfterMillis;
  }
}

/** Who calls is not known, or not any more. The message never repeats what was shown. */
export class Unauthenticated extends LongshoreError {
  readonly reason = "UNAUTHENTICATED";
  /** Whose credential it was, where it was genuine but has ended; for the audit log. */
  readonly known:
    | { readonly tenant: string; readonly subject: string; readonly credential: string }
    | undefined;

  constructor(message: string, known?: Unauthenticated["known"], options?: ErrorOptions) {
    super(message, {}, options);
    this.known = known;
  }
}

export class MissingScope extends LongshoreError {
  readonly reason = "MISSING_SCOPE";

  constructor(scope: string, message: string) {
    super(message, { scope });
  }
}

export class Unavailable extends LongshoreError {
  readonly reason = "UNAVAILABLE";
  readonly retryAfterMillis: number;

  constructor(message: string, retryAfterMillis = 1000, options?: ErrorOptions) {
    super(message, {}, options);
    this.retryAfterMillis = retryAfterMillis;
  }
}

/** The store of blobs cannot be reached. What it was to take is kept on this server's disk meanwhile, so that an upload can go on. */
export class StoreAway extends Unavailable {}

export class BadCursor extends LongshoreError {
  readonly reason = "BAD_CURSOR";
}

export class Unsupported extends LongshoreError {
  readonly reason = "UNSUPPORTED";
}

export class ImageRefused extends LongshoreError {
  readonly reason = "IMAGE_REFUSED";

  constructor(image: string, rule: string, message: string) {
    super(message, { image, rule });
  }
}

/** The record of a task cannot be read any more; the other tasks are as they were. */
export class RecordDamaged extends LongshoreError {
  readonly reason = "RECORD_DAMAGED";

  constructor(taskId: string, damage: string) {
    super(
      `the record of task ${taskId} cannot be read (${damage}); restore the database from a backup, or delete the task`,
      { task_id: taskId },
    );
  }
}

/** The tracking server of a task's experiment makes no run for it; ends the attempt. */
export class ExperimentRefused extends LongshoreError {
  readonly reason = "UNAVAILABLE";
  /** MLflow's own, such as RESOURCE_DOES_NOT_EXIST. */
  readonly code: string;

  constructor(message: string, code: string) {
    super(message);
    this.code = code;
  }
}

/** A fault of ours. The message is for the log; a user gets the id under which it is found there. */
export class SystemFault extends LongshoreError {
  readonly reason = "INTERNAL";
}
