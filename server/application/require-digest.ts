import { InvalidRequest } from "../domain/errors.ts";

/** Throws InvalidRequest for a text that is no SHA-256 digest. */
export function requireDigest(sha256: string): void {
  if (/^[0-9a-f]{64}$/.test(sha256)) return;
  throw new InvalidRequest([{ field: "sha256", description: "must be 64 lower-case hex digits" }]);
}
