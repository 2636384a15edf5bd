import type { Requirement } from "./requirements.ts";

/** Why an environment could not be built, for the user whose requirements it was. */
export interface BuildFailure {
  readonly message: string;
  readonly advice: string;
  /** It was not the requirements' doing: the same may succeed a moment later. */
  readonly passing: boolean;
}

/** A package's name, with its version where uv names one: "six==99.0". */
const PACKAGE =
  "([A-Za-z0-9][A-Za-z0-9._-]*)(\\[[^\\]]*\\])?((?:===|==|~=|!=|<=|>=|<|>)[^\\s,]+(?:,[^\\s]+)*)?";

interface Cause {
  readonly pattern: RegExp;
  /** Of the text with the version, and what else was matched. */
  tell(asked: string, more: string, hint: string): string;
  readonly advice: string;
}

/** What uv 0.x says, in the order of how much it explains. Its words are matched, never believed: they only choose a sentence. */
const CAUSES: readonly Cause[] = [
  {
    pattern: new RegExp(`${PACKAGE} was not found in the (?:package registry|provided package locations)`),
    tell: (asked) => `there is no package ${asked}`,
    advice:
      "check its spelling; where it is a package of your own, ask the operator for an index that has it",
  },
  {
    pattern: new RegExp(`there (?:is|are) no versions? of ${PACKAGE}`),
    tell: (asked) => `there is no version ${asked}`,
    advice: "ask for a version that exists",
  },
  {
    pattern: new RegExp(
      `${PACKAGE} has no wheels with a matching ([\\w ]+? tags?(?: \\(e\\.g\\., [^)]*\\))?)`,
    ),
    tell: (asked, tag, hint) =>
      `${asked} has no wheel for this platform (no matching ${tag.replaceAll("`", "")})${hint === "" ? "" : `; there are wheels for ${hint}`}`,
    advice: "ask for a version that has wheels for Linux and this Python",
  },
  {
    pattern: new RegExp(`${PACKAGE} has no usable wheels`),
    tell: (asked) =>
      `${asked} has no wheel for this platform and Python, only source, which this server does not build`,
    advice: "ask for a version that has wheels for this Python",
  },
  {
    pattern: new RegExp(`[Hh]ash mismatch for \`?${PACKAGE}`),
    tell: (asked) => `${asked} is not what its --hash says`,
    advice: "take the hashes from the index again",
  },
  {
    pattern: new RegExp(`only ${PACKAGE} (?:is|are) available`),
    tell: (asked) => `only ${asked} can be had`,
    advice: "ask for a version that exists",
  },
];

/** Reads the output of a failed build; `file` is what the requirements are called in messages. */
export function explainBuildFailure(
  output: string,
  requirements: readonly Requirement[],
  file: string,
): BuildFailure {
  const text = output.replace(/\s+/g, " ");
  if (/Failed to fetch|dns error|error sending request|[Rr]equest failed after|timed out/.test(text))
    return {
      message: `the environment could not be built: the package index could not be reached${detail(text)}`,
      advice: /certificate/.test(text)
        ? "tell the server's operator: LONGSHORE_BUILD_CA_BUNDLE names the certificates that indexes are checked with"
        : "run the task again in a while; if it goes on, tell the server's operator",
      passing: true,
    };
  if (/No space left on device|os error 28/.test(text))
    return {
      message: "the environment could not be built: the packages need more disk than a build may take",
      advice: "ask for fewer packages, or ask the operator to raise LONGSHORE_BUILD_STORAGE",
      passing: false,
    };
  const reasons = text.slice(Math.max(0, text.indexOf("Because")));
  for (const { pattern, tell, advice } of CAUSES) {
    const match = pattern.exec(text);
    if (match === null) continue;
    const [, name = "", extras = "", version = "", more = ""] = match;
    const hint =
      /Wheels are available for [^:]* on the following platforms?: ([^\n]*?)(?: hint:| rc=|$)/.exec(
        text,
      )?.[1] ?? "";
    const blamed = find(requirements, name) ?? firstRequired(requirements, reasons);
    const sentence = tell(`${name}${extras}${version}`, more, hint.replaceAll("`", "").trim());
    return { message: `${where(file, blamed)}${sentence}${through(blamed, name)}`, advice, passing: false };
  }
  const blamed = firstRequired(requirements, reasons);
  const said = /cause: (.*)$/.exec(text)?.[1] ?? lastLine(output);
  return {
    message: `${where(file, blamed)}${blamed === undefined ? "" : "the requirements cannot all be met: "}${cut(said)}`,
    advice: "change the requirements that contradict each other, or see the build's output",
    passing: false,
  };
}

function where(file: string, blamed: Requirement | undefined): string {
  return blamed === undefined ? `${file}: ` : `${file} line ${blamed.line}: `;
}

/** A package that nobody asked for by name came with one that somebody did. */
function through(blamed: Requirement | undefined, name: string): string {
  if (blamed === undefined || blamed.name === normal(name)) return "";
  return `, which ${blamed.name} needs`;
}

function find(requirements: readonly Requirement[], name: string): Requirement | undefined {
  return requirements.find((requirement) => requirement.name === normal(name));
}

/** The first requirement that the reasons name; "you require" is how uv speaks of them. */
function firstRequired(requirements: readonly Requirement[], reasons: string): Requirement | undefined {
  for (const match of reasons.matchAll(new RegExp(`(?:you require|and) ${PACKAGE}`, "g"))) {
    const found = find(requirements, match[1] ?? "");
    if (found !== undefined) return found;
  }
  return undefined;
}

function normal(name: string): string {
  return name.toLowerCase().replace(/[-_.]+/g, "-");
}

function detail(text: string): string {
  const why = /(dns error|Connection refused|timed out|certificate[^(:]*|[45]\d\d [A-Z][a-z]+)/.exec(
    text,
  )?.[1];
  return why === undefined ? "" : ` (${why.trim()})`;
}

function lastLine(output: string): string {
  return output.trim().split("\n").at(-1) ?? "";
}

function cut(text: string): string {
  const trimmed = text.trim();
  return trimmed.length > 600 ? `${trimmed.slice(0, 600)}...` : trimmed;
}
