import { type ServiceError, status as StatusCode } from "@grpc/grpc-js";
import {
  BadRequest,
  ErrorInfo,
  QuotaFailure,
  RequestInfo,
  ResourceInfo,
  RetryInfo,
} from "@longshore/proto/google/rpc/error_details";
import { Status } from "@longshore/proto/google/rpc/status";
import { durationToMillis } from "./duration.ts";
import type { TaskOutcome } from "./outcome.ts";

/** One wrong field, named by its path in the request. */
export interface FieldViolation {
  readonly field: string;
  readonly description: string;
}

export interface LongshoreErrorDetails extends ErrorOptions {
  /** gRPC status name, such as "NOT_FOUND". */
  readonly code?: string;
  /** Value of longshore.v1.ErrorReason without its prefix; empty when the server gave none. */
  readonly reason?: string;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** What everything thrown by this package has in common. */
export class LongshoreError extends Error {
  readonly code: string;
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;

  constructor(message: string, details: LongshoreErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = details.code ?? "UNKNOWN";
    this.reason = details.reason ?? "";
    this.metadata = details.metadata ?? {};
  }
}

/** Fields of a request are wrong; all of them are named, whether found here or by the server. */
export class InvalidRequest extends LongshoreError {
  readonly violations: readonly FieldViolation[];

  constructor(
    violations: readonly FieldViolation[],
    details: LongshoreErrorDetails & { message?: string } = {},
  ) {
    super(details.message ?? describeViolations(violations), {
      code: "INVALID_ARGUMENT",
      reason: "INVALID_REQUEST",
      ...details,
    });
    this.violations = violations;
  }
}

function describeViolations(violations: readonly FieldViolation[]): string {
  const count = violations.length === 1 ? "1 problem" : `${violations.length} problems`;
  return `${count} with the request: ${violations.map((v) => `${v.field}: ${v.description}`).join("; ")}`;
}

/** What was given to run cannot be packed: every offending path is named. */
export class BadSource extends LongshoreError {
  readonly problems: readonly { readonly path: string; readonly problem: string }[];

  constructor(source: string, problems: readonly { readonly path: string; readonly problem: string }[]) {
    const count = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
    super(`${count} with ${source}: ${problems.map((p) => `${p.path}: ${p.problem}`).join("; ")}`, {
      code: "INVALID_ARGUMENT",
      reason: "BAD_SOURCE",
    });
    this.problems = problems;
  }
}

/** The archive broke a rule of the server's. */
export class BadArchive extends LongshoreError {
  get rule(): string {
    return this.metadata.rule ?? "";
  }

  get entry(): string {
    return this.metadata.entry ?? "";
  }
}

/** The bytes that arrived are not those of the promised digest. */
export class DigestMismatch extends LongshoreError {}

/** No host of this server could ever hold the task. */
export class NeverFits extends LongshoreError {}

/** A limit that was demanded is not enforced there. */
export class NotEnforced extends LongshoreError {}

export class ImageRefused extends LongshoreError {}

/** The task's state does not allow the call. */
export class WrongState extends LongshoreError {
  get state(): string {
    return this.metadata.state ?? "";
  }
}

export class NotFound extends LongshoreError {
  readonly resourceType: string;
  readonly resourceName: string;

  constructor(
    message: string,
    details: LongshoreErrorDetails & { resourceType?: string; resourceName?: string },
  ) {
    super(message, details);
    this.resourceType = details.resourceType ?? "";
    this.resourceName = details.resourceName ?? "";
  }
}

/** The request_id was used before, for another request. */
export class RequestIdReused extends LongshoreError {
  get taskId(): string {
    return this.metadata.task_id ?? "";
  }
}

export class QuotaExceeded extends LongshoreError {
  readonly violations: readonly { readonly subject: string; readonly description: string }[];

  constructor(
    message: string,
    details: LongshoreErrorDetails & { violations?: readonly { subject: string; description: string }[] },
  ) {
    super(message, details);
    this.violations = details.violations ?? [];
  }
}

/** Trying again later may work. */
export class TemporaryError extends LongshoreError {
  /** How long the server asks to wait; 0 when it did not say. */
  readonly retryAfterMillis: number;

  constructor(message: string, details: LongshoreErrorDetails & { retryAfterMillis?: number }) {
    super(message, details);
    this.retryAfterMillis = details.retryAfterMillis ?? 0;
  }
}

/** The server cannot be reached, or says that it cannot serve now. */
export class Unavailable extends TemporaryError {
  /** True when no server answered at all. */
  get unreachable(): boolean {
    return this.reason === "";
  }
}

export class RateLimited extends TemporaryError {}

/** Another stream uploads the same bytes or uses the same request_id. */
export class UploadInProgress extends TemporaryError {}

/** The offset is not where the server stands. */
export class WrongOffset extends LongshoreError {}

export class Unauthenticated extends LongshoreError {}

export class PermissionDenied extends LongshoreError {}

/** A fault of the server's; `requestId` is found in its log. */
export class ServerFault extends LongshoreError {
  readonly requestId: string;

  constructor(message: string, details: LongshoreErrorDetails & { requestId?: string }) {
    super(message, details);
    this.requestId = details.requestId ?? "";
  }
}

/** The connection ended before the answer did; what was asked may or may not have happened. */
export class ConnectionLost extends LongshoreError {}

/** The server offered an artifact under a name that lies outside of the folder it is to be written to. */
export class UnsafeArtifactPath extends LongshoreError {
  readonly paths: readonly string[];

  constructor(paths: readonly string[], why: string) {
    super(`refused to write ${paths.map((path) => JSON.stringify(path)).join(", ")}: ${why}`, {
      code: "DATA_LOSS",
      reason: "UNSAFE_ARTIFACT_PATH",
    });
    this.paths = paths;
  }
}

/** The task ended otherwise than with exit code 0; carries the same facts as the outcome. */
export class TaskFailed extends LongshoreError {
  readonly outcome: TaskOutcome;

  constructor(outcome: TaskOutcome) {
    const advice = outcome.advice === "" ? "" : `; ${outcome.advice}`;
    super(`task ${outcome.id} ${outcome.message}${advice}`, { code: "ABORTED", reason: outcome.reason });
    this.outcome = outcome;
  }

  get exitCode(): number | undefined {
    return this.outcome.exitCode;
  }

  get signal(): number | undefined {
    return this.outcome.signal;
  }

  get stdoutTail(): string {
    return this.outcome.stdoutTail;
  }

  get stderrTail(): string {
    return this.outcome.stderrTail;
  }

  /** Ends of the output, at most 4 KiB of each stream: standard output first, then standard error. */
  get logsTail(): string {
    return this.outcome.stdoutTail + this.outcome.stderrTail;
  }
}

interface RichDetails {
  info?: ErrorInfo;
  violations?: readonly FieldViolation[];
  quota?: readonly { subject: string; description: string }[];
  retryAfterMillis?: number;
  resource?: ResourceInfo;
  requestId?: string;
}

/** Reads what the server attached; a proxy may attach anything, so what does not parse counts as absent. */
function readDetails(error: ServiceError): RichDetails {
  const [raw] = error.metadata?.get("grpc-status-details-bin") ?? [];
  const details: RichDetails = {};
  if (!(raw instanceof Uint8Array)) return details;
  try {
    for (const { typeUrl, value } of Status.decode(raw).details) {
      const type = typeUrl.slice(typeUrl.lastIndexOf("/") + 1);
      if (type === "google.rpc.ErrorInfo") details.info = ErrorInfo.decode(value);
      else if (type === "google.rpc.BadRequest") {
        const { fieldViolations } = BadRequest.decode(value);
        details.violations = fieldViolations.map(({ field, description }) => ({ field, description }));
      } else if (type === "google.rpc.QuotaFailure") details.quota = QuotaFailure.decode(value).violations;
      else if (type === "google.rpc.ResourceInfo") details.resource = ResourceInfo.decode(value);
      else if (type === "google.rpc.RequestInfo") details.requestId = RequestInfo.decode(value).requestId;
      else if (type === "google.rpc.RetryInfo") {
        details.retryAfterMillis = durationToMillis(RetryInfo.decode(value).retryDelay);
      }
    }
  } catch {
    // The status code and message still tell what matters.
  }
  return details;
}

const PLAIN: Readonly<
  Record<string, new (message: string, details: LongshoreErrorDetails) => LongshoreError>
> = {
  BAD_ARCHIVE: BadArchive,
  DIGEST_MISMATCH: DigestMismatch,
  NEVER_FITS: NeverFits,
  NOT_ENFORCED: NotEnforced,
  IMAGE_REFUSED: ImageRefused,
  WRONG_STATE: WrongState,
  REQUEST_ID_REUSED: RequestIdReused,
  WRONG_OFFSET: WrongOffset,
  UNAUTHENTICATED: Unauthenticated,
  MISSING_SCOPE: PermissionDenied,
};

/** What HTTP/2 and gRPC themselves report when a connection dies under a call; a server's own answer carries ErrorInfo. */
const LOST_CODES: readonly number[] = [StatusCode.INTERNAL, StatusCode.CANCELLED, StatusCode.UNKNOWN];

/** Turns what grpc-js reports into the typed error that says the same. */
export function fromServiceError(error: ServiceError): LongshoreError {
  const rich = readDetails(error);
  const code = StatusCode[error.code] ?? "UNKNOWN";
  const message = error.details === "" || error.details === undefined ? error.message : error.details;
  const reason = rich.info?.reason ?? "";
  const base = { code, reason, metadata: rich.info?.metadata ?? {}, cause: error };
  const temporary = { ...base, retryAfterMillis: rich.retryAfterMillis };

  const plain = PLAIN[reason];
  if (plain !== undefined) return new plain(message, base);
  if (reason === "UPLOAD_IN_PROGRESS") return new UploadInProgress(message, temporary);
  if (reason === "RATE_LIMITED") return new RateLimited(message, temporary);
  if (reason === "" && LOST_CODES.includes(error.code)) return new ConnectionLost(message, base);
  switch (error.code) {
    case StatusCode.INVALID_ARGUMENT:
      return rich.violations === undefined
        ? new LongshoreError(message, base)
        : new InvalidRequest(rich.violations, { ...base, message });
    case StatusCode.NOT_FOUND:
      return new NotFound(message, {
        ...base,
        resourceType: rich.resource?.resourceType,
        resourceName: rich.resource?.resourceName,
      });
    case StatusCode.RESOURCE_EXHAUSTED:
      return new QuotaExceeded(message, { ...base, violations: rich.quota });
    case StatusCode.UNAVAILABLE:
      return new Unavailable(message, temporary);
    case StatusCode.UNAUTHENTICATED:
      return new Unauthenticated(message, base);
    case StatusCode.PERMISSION_DENIED:
      return new PermissionDenied(message, base);
    case StatusCode.INTERNAL:
      return new ServerFault(message, { ...base, requestId: rich.requestId });
    default:
      return new LongshoreError(message, base);
  }
}

/** Whether going on from where the stream stood can help. */
export function isConnectionLoss(error: unknown): error is Unavailable | ConnectionLost | RateLimited {
  return error instanceof Unavailable || error instanceof ConnectionLost || error instanceof RateLimited;
}
