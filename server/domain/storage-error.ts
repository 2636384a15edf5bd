import { Unavailable } from "./errors.ts";

export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && "code" in error && codes.some((code) => error.code === code);
}

/** The promise's value, or undefined when it fails with one of these codes. */
export async function orUndefined<T>(
  promise: Promise<T>,
  ...codes: readonly string[]
): Promise<T | undefined> {
  try {
    return await promise;
  } catch (error) {
    if (hasCode(error, ...codes)) return undefined;
    throw error;
  }
}

/** A full disk is no fault of the request and may pass; anything else stays what it was. */
export function storageError(error: unknown, doing: string): unknown {
  if (!hasCode(error, "ENOSPC", "EDQUOT")) return error;
  return new Unavailable(
    `the server's disk is full while ${doing}; try again once its operator has made room`,
    30_000,
    {
      cause: error,
    },
  );
}
