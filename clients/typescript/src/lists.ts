import type { FieldViolation } from "./errors.ts";

/** A list that may be left out. A program in JavaScript can give anything, and a text would be taken apart letter by letter. */
export function listOf<Item>(
  field: string,
  list: readonly Item[] | undefined,
  violations: FieldViolation[],
): readonly Item[] {
  if (list === undefined) return [];
  const given: unknown = list;
  if (Array.isArray(given)) return list;
  const description = typeof given === "string" ? `must be a list, such as ["${given}"]` : "must be a list";
  violations.push({ field, description });
  return [];
}
