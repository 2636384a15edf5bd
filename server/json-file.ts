import { readFileSync } from "node:fs";
import type { z } from "zod";

/** What is wrong with a file of the operator's, each problem with its place in the file. */
export class FileProblems extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join("; "));
    this.name = "FileProblems";
    this.problems = problems;
  }
}

/** A JSON file in the given shape. Throws FileProblems with everything that is wrong. */
export function readJsonFile<T>(path: string, shape: z.ZodType<T>): T {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new FileProblems([unreadable(error)]);
  }
  const parsed = shape.safeParse(json, { error: plainWords });
  if (parsed.success) return parsed.data;
  throw new FileProblems(
    parsed.error.issues.map(
      ({ path: at, message }) => `${at.length === 0 ? "the file" : at.join(".")} ${message}`,
    ),
  );
}

function unreadable(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "ENOENT") return "there is no such file";
  if (code === "EISDIR") return "is a folder, not a file";
  if (error instanceof SyntaxError) return `is not JSON: ${error.message}`;
  return error instanceof Error ? error.message : String(error);
}

const KINDS: Readonly<Record<string, string>> = {
  object: "an object in braces",
  record: "an object in braces",
  array: "a list in brackets",
  string: "a text in quotes",
};

/** What shapes say that have no words of their own; undefined leaves it to zod. */
function plainWords(issue: z.core.$ZodRawIssue): string | undefined {
  if (issue.code === "unrecognized_keys")
    return `has ${issue.keys.map((key) => `"${key}"`).join(" and ")}, which it does not know`;
  if (issue.code === "invalid_key") return "has a name that is empty or too long";
  if (issue.code === "invalid_type" && issue.expected in KINDS) return `is not ${KINDS[issue.expected]}`;
  return undefined;
}
