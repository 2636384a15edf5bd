import { createHash } from "node:crypto";
import { InvalidRequest } from "../domain/errors.ts";

/** A page token names where the next page begins and which conditions it belongs to. */
export function encodePageToken(after: string, conditions: unknown): string {
  return Buffer.from(JSON.stringify([after, digest(conditions)])).toString("base64url");
}

/** Where the page begins; "" for the first. Throws InvalidRequest for another query's token and for no token at all. */
export function decodePageToken(token: string, conditions: unknown): string {
  if (token === "") return "";
  const refuse = (description: string) => new InvalidRequest([{ field: "page_token", description }]);
  let parts: unknown;
  try {
    parts = JSON.parse(Buffer.from(token, "base64url").toString("utf8"));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw refuse("is not one of this server; begin with an empty one");
  }
  if (!Array.isArray(parts) || typeof parts[0] !== "string" || typeof parts[1] !== "string") {
    throw refuse("is not one of this server; begin with an empty one");
  }
  if (parts[1] !== digest(conditions)) throw refuse("belongs to other conditions; begin with an empty one");
  return parts[0];
}

function digest(conditions: unknown): string {
  return createHash("sha256").update(JSON.stringify(conditions)).digest("base64url").slice(0, 12);
}
