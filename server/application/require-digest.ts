import { InvalidRequest } from "../domain/errors.ts";
import { isSha256 } from "../domain/sha256.ts";

/** Throws InvalidRequest for a text that is no SHA-256 digest. */
export function requireDigest(sha256: string): void {
  if (isSha256(sha256)) return;
  throw new InvalidRequest([{ field: "sha256", description: "must be 64 lower-case hex digits" }]);
}
