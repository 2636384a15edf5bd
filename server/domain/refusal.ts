import { BadArchive } from "./errors.ts";

const REFUSAL = /^([a-z0-9-]+)(?: ("(?:[^"\\]|\\.)*"))?: (.*)$/s;

/** A refused archive in one line, as BlobRecord.refusal keeps it and GetBlob shows it. */
export function formatRefusal(error: BadArchive): string {
  const { rule = "", entry = "" } = error.metadata;
  return `${rule}${entry === "" ? "" : ` ${JSON.stringify(entry)}`}: ${error.message}`;
}

/** The error that was refused with, made anew from what the record kept. */
export function parseRefusal(text: string): BadArchive {
  const [, rule, entry, message] = REFUSAL.exec(text) ?? [];
  if (rule === undefined || message === undefined) return new BadArchive("refused", text);
  const name: unknown = entry === undefined ? "" : JSON.parse(entry);
  return new BadArchive(rule, message, typeof name === "string" ? name : "");
}
