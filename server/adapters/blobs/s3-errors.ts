import { S3ServiceException } from "@aws-sdk/client-s3";
import { StoreAway, SystemFault } from "../../domain/errors.ts";

const RETRY_MILLIS = 2_000;
/** What a person has to mend does not mend itself in seconds. */
const OPERATOR_RETRY_MILLIS = 30_000;

/** Codes by which a store refuses this server for what its configuration or its rights are. */
const REFUSALS = new Set([
  "AccessDenied",
  "AccountProblem",
  "ExpiredToken",
  "Forbidden",
  "InvalidAccessKeyId",
  "InvalidToken",
  "MissingSecurityHeader",
  "NoSuchBucket",
  "PermanentRedirect",
  "RequestTimeTooSkewed",
  "SignatureDoesNotMatch",
  "CredentialsProviderError",
]);

/** There is no such object. */
export function isMissing(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  // HEAD has no body and so no code but the status.
  return error.name === "NoSuchKey" || error.name === "NotFound";
}

/** The store refuses this server as such, whatever is asked of it. */
export function isRefusal(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  // The answer to a HEAD tells no more than its status.
  return REFUSALS.has(error.name) || [301, 401, 403].includes(statusOf(error) ?? 0);
}

/** The store's word for what is wrong, without its sentence, which may name keys and hosts. */
export function faultName(error: unknown): string {
  if (!(error instanceof Error)) return "Error";
  const told = error.name === "Unknown" || error.name === "UnknownError" ? statusOf(error) : undefined;
  return codeOf(error) ?? (told === undefined ? error.name : `status ${told}`);
}

/** The offset asked for lies at the end of the object or beyond. */
export function isBeyondEnd(error: unknown): boolean {
  return error instanceof Error && (error.name === "InvalidRange" || statusOf(error) === 416);
}

/** The store holds something else than what was expected: it was exchanged since it was looked at. */
export function isChanged(error: unknown): boolean {
  return error instanceof Error && (error.name === "PreconditionFailed" || statusOf(error) === 412);
}

/** What went wrong in words for whoever asked. */
export function storeFault(error: unknown, doing: string): Error {
  const name = faultName(error);
  const options = { cause: error };
  if (isRefusal(error)) {
    return new StoreAway(
      `the store of blobs refuses this server (${name}) while ${doing}; its operator has to look at LONGSHORE_BLOBS and its credentials`,
      OPERATOR_RETRY_MILLIS,
      options,
    );
  }
  const status = error instanceof S3ServiceException ? statusOf(error) : undefined;
  if (status === undefined || status >= 500 || status === 429 || status === 408) {
    return new StoreAway(
      `the store of blobs does not answer (${name}) while ${doing}; try again in a moment`,
      RETRY_MILLIS,
      options,
    );
  }
  return new SystemFault(`the store of blobs answered ${name} (${status}) while ${doing}`, {}, options);
}

function statusOf(error: Error): number | undefined {
  return error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined;
}

function codeOf(error: unknown): string | undefined {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" ? code : undefined;
}
