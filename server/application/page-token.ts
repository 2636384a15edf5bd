import { createHash } from "node:crypto";
import { type FieldViolation, InvalidRequest } from "../domain/errors.ts";

/** A page token names where the next page begins and which conditions it belongs to. */
export function encodePageToken(after: string, conditions: unknown): string {
  return Buffer.from(JSON.stringify([after, digest(conditions)])).toString("base64url");
}

/** Where the page begins; "" for the first. Throws one InvalidRequest for `wrong` and a token of another query or of nobody. */
export function decodePageToken(
  token: string,
  conditions: unknown,
  wrong: readonly FieldViolation[],
): string {
  const refuse = (description: string) =>
    new InvalidRequest([...wrong, { field: "page_token", description }]);
  const refuseWrong = () => {
    if (wrong.length > 0) throw new InvalidRequest(wrong);
  };
  if (token === "") {
    refuseWrong();
    return "";
  }
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
  refuseWrong();
  return parts[0];
}

function digest(conditions: unknown): string {
  return createHash("sha256").update(JSON.stringify(conditions)).digest("base64url").slice(0, 12);
}
