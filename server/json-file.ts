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
    throw new FileProblems([error instanceof Error ? error.message : String(error)]);
  }
  const parsed = shape.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new FileProblems(
    parsed.error.issues.map(
      ({ path: at, message }) => `${at.length === 0 ? "the file" : at.join(".")} ${message}`,
    ),
  );
}
