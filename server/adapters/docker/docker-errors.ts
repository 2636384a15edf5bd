import { SystemFault, Unavailable } from "../../domain/errors.ts";

const NO_CONNECTION = new Set([
  "ECONNREFUSED",
  "ENOENT",
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "EACCES",
  "ENOTFOUND",
]);

/** The HTTP status of the daemon's answer; undefined when there was none. */
export function statusOf(error: unknown): number | undefined {
  if (typeof error !== "object" || error === null || !("statusCode" in error)) return undefined;
  return typeof error.statusCode === "number" ? error.statusCode : undefined;
}

export function isMissing(error: unknown): boolean {
  return statusOf(error) === 404;
}

/** Turns whatever dockerode rejected with into an error of ours; `doing` completes "the Docker engine failed to ...". */
export function engineError(error: unknown, doing: string): Error {
  const code = codeOf(error);
  if (statusOf(error) === undefined && code !== undefined && NO_CONNECTION.has(code)) {
    return new Unavailable(
      `the Docker engine cannot be reached (${code} while trying to ${doing}); see that dockerd runs and that its socket may be used`,
      1000,
      { cause: error },
    );
  }
  const reason = error instanceof Error ? error.message.trim() : String(error);
  return new SystemFault(`the Docker engine failed to ${doing}: ${reason}`, {}, { cause: error });
}

function codeOf(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}
