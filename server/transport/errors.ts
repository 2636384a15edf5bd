import { Metadata, status } from "@grpc/grpc-js";
import type { Any } from "@longshore/proto/google/protobuf/any.ts";
import {
  BadRequest,
  ErrorInfo,
  QuotaFailure,
  RequestInfo,
  ResourceInfo,
  RetryInfo,
} from "@longshore/proto/google/rpc/error_details.ts";
import { Status } from "@longshore/proto/google/rpc/status.ts";
import {
  type ErrorReason,
  InvalidRequest,
  LongshoreError,
  NotFound,
  QuotaExceeded,
  RateLimited,
  SystemFault,
  Unavailable,
  UploadInProgress,
} from "#server/domain/errors.ts";
import { durationOfMillis } from "./translate/to-wire.ts";

/** As published in proto/longshore/v1/error_reason.proto. */
const CODES: Readonly<Record<ErrorReason, status>> = {
  INVALID_REQUEST: status.INVALID_ARGUMENT,
  BAD_ARCHIVE: status.INVALID_ARGUMENT,
  DIGEST_MISMATCH: status.INVALID_ARGUMENT,
  BAD_CURSOR: status.INVALID_ARGUMENT,
  NEVER_FITS: status.FAILED_PRECONDITION,
  NOT_ENFORCED: status.FAILED_PRECONDITION,
  WRONG_STATE: status.FAILED_PRECONDITION,
  IMAGE_REFUSED: status.FAILED_PRECONDITION,
  NOT_FOUND: status.NOT_FOUND,
  REQUEST_ID_REUSED: status.ALREADY_EXISTS,
  UPLOAD_IN_PROGRESS: status.ABORTED,
  WRONG_OFFSET: status.OUT_OF_RANGE,
  QUOTA_EXCEEDED: status.RESOURCE_EXHAUSTED,
  RATE_LIMITED: status.RESOURCE_EXHAUSTED,
  UNAVAILABLE: status.UNAVAILABLE,
  UNAUTHENTICATED: status.UNAUTHENTICATED,
  MISSING_SCOPE: status.PERMISSION_DENIED,
  INTERNAL: status.INTERNAL,
  RECORD_DAMAGED: status.DATA_LOSS,
  UNSUPPORTED: status.UNIMPLEMENTED,
};

/**
 * An error travels in HTTP/2 trailers, of which clients commonly accept 8 KiB in all (C-core's default); beyond that they report a
 * broken stream instead of the error. The message is there twice, percent-encoded and in the details, which are base64.
 */
const MAX_MESSAGE_BYTES = 1200;
const MAX_DETAILS_BYTES = 3000;
const MAX_TEXT_CHARACTERS = 400;

/** An error as grpc-js sends it. */
export interface ErrorStatus {
  readonly code: status;
  readonly details: string;
  readonly metadata: Metadata;
  readonly reason: ErrorReason;
  /** For a fault of ours: the id under which the log holds the cause. */
  readonly faultId: string | undefined;
}

/** Anything that is not meant for users becomes INTERNAL with a new id; neither its message nor its stack is told. */
export function statusOf(error: unknown, newId: () => string): ErrorStatus {
  const known = error instanceof LongshoreError && !(error instanceof SystemFault) ? error : undefined;
  const faultId = known === undefined ? newId() : undefined;
  const reason = known?.reason ?? "INTERNAL";
  const code = CODES[reason];
  const message = clipMessage(known?.message ?? `the server failed; its log tells why under ${faultId}`);
  const metadata = new Metadata();
  const details = [errorInfo(reason, known?.metadata ?? {}), ...extraDetails(known, faultId)];
  metadata.set("grpc-status-details-bin", Buffer.from(Status.encode({ code, message, details }).finish()));
  return { code, details: message, metadata, reason, faultId };
}

function errorInfo(reason: ErrorReason, metadata: Readonly<Record<string, string>>): Any {
  const clipped = Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key, clip(value)]));
  return any("ErrorInfo", ErrorInfo.encode({ reason, domain: "longshore", metadata: clipped }).finish());
}

function extraDetails(error: LongshoreError | undefined, faultId: string | undefined): Any[] {
  if (faultId !== undefined) {
    return [any("RequestInfo", RequestInfo.encode({ requestId: faultId, servingData: "" }).finish())];
  }
  if (error instanceof InvalidRequest) return [badRequest(error)];
  if (error instanceof UploadInProgress || error instanceof Unavailable || error instanceof RateLimited) {
    const retryDelay = durationOfMillis(error.retryAfterMillis);
    return [any("RetryInfo", RetryInfo.encode({ retryDelay }).finish())];
  }
  if (error instanceof QuotaExceeded) {
    const { quota = "", allowed = "" } = error.metadata;
    const violation = {
      subject: clip(error.subject),
      description: clip(error.message),
      quotaId: clip(quota),
      // Amounts of money are in the metadata alone: this field holds whole numbers.
      quotaValue: /^\d{1,18}$/.test(allowed) ? BigInt(allowed) : 0n,
    };
    return [
      any(
        "QuotaFailure",
        QuotaFailure.encode(QuotaFailure.fromPartial({ violations: [violation] })).finish(),
      ),
    ];
  }
  if (error instanceof NotFound) {
    const { resourceType, resourceName, message } = error;
    const info = { resourceType, resourceName: clip(resourceName), owner: "", description: clip(message) };
    return [any("ResourceInfo", ResourceInfo.encode(info).finish())];
  }
  return [];
}

/** As many violations as fit, and how many there are besides. */
function badRequest(error: InvalidRequest): Any {
  const fieldViolations: BadRequest["fieldViolations"] = [];
  let room = MAX_DETAILS_BYTES;
  for (const { field, description } of error.violations) {
    const violation = {
      field: clip(field),
      description: clip(description),
      reason: "",
      localizedMessage: undefined,
    };
    room -= Buffer.byteLength(violation.field) + Buffer.byteLength(violation.description) + 16;
    if (room < 0) break;
    fieldViolations.push(violation);
  }
  const left = error.violations.length - fieldViolations.length;
  if (left > 0) {
    const description = `and ${left} more problems, not listed here`;
    fieldViolations.push({ field: "", description, reason: "", localizedMessage: undefined });
  }
  return any("BadRequest", BadRequest.encode({ fieldViolations }).finish());
}

function any(name: string, value: Uint8Array): Any {
  return { typeUrl: `type.googleapis.com/google.rpc.${name}`, value };
}

/** Cuts first: a request may bring text of megabytes into an error. */
function clip(text: string, most = MAX_TEXT_CHARACTERS): string {
  const start = text.slice(0, most).toWellFormed();
  return text.length <= most ? start : `${start}…`;
}

/** grpc-js percent-encodes the message with encodeURI, which throws on half a surrogate pair and triples other text. */
function clipMessage(message: string): string {
  const whole = clip(message, MAX_MESSAGE_BYTES);
  if (encodeURI(whole).length <= MAX_MESSAGE_BYTES) return whole;
  let length = 0;
  let end = 0;
  for (const character of whole) {
    length += encodeURI(character).length;
    if (length > MAX_MESSAGE_BYTES) break;
    end += character.length;
  }
  return `${whole.slice(0, end)}…`;
}
