import { InvalidRequest } from "@longshore/client";

/** Labels to look for; all that are not of the form KEY=VALUE are named at once. */
export function readLabels(pairs: readonly string[]): Record<string, string> {
  const wrong = pairs.filter((pair) => pair.indexOf("=") < 1);
  if (wrong.length > 0) {
    throw new InvalidRequest(
      wrong.map((pair) => ({ field: "labels", description: `"${pair}" is not of the form KEY=VALUE` })),
    );
  }
  return Object.fromEntries(
    pairs.map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)]),
  );
}
