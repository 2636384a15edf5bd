/** One line of a requirements.txt that asks for a package. */
export interface Requirement {
  /** Line of the text it begins on, from 1. */
  readonly line: number;
  /** Normalised: lower case, with "-" between its parts. */
  readonly name: string;
  /** The whole requirement in one way of writing, so that equal ones are equal texts. */
  readonly text: string;
}

export interface RequirementProblem {
  readonly line: number;
  /** One sentence: what is refused, why, and what to do. */
  readonly problem: string;
}

/** What an operator allows beyond names and versions from the configured index. */
export interface RequirementRules {
  /** "name @ https://..." */
  readonly urls: boolean;
}

export interface ParsedRequirements {
  readonly requirements: readonly Requirement[];
  readonly problems: readonly RequirementProblem[];
}

const MOST_BYTES = 256 * 1024;
const MOST_REQUIREMENTS = 1000;
const MOST_PROBLEMS = 20;
const MOST_SHOWN = 80;

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*/;
const EXTRAS = /^\s*\[([A-Za-z0-9._,\s-]*)\]/;
const EXTRA = /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$/;
const SPECIFIER = /^(===|==|!=|~=|<=|>=|<|>)\s*([A-Za-z0-9][A-Za-z0-9._+!*-]*)$/;
/** Close enough to tell a marker from a slip; uv reads it in earnest. */
const MARKER = /^(?=.*(?:[<>=]|\bin\b))[A-Za-z0-9_.\s'"()<>=!~,*+-]+$/;
const HASH = /^--hash=(sha256|sha384|sha512):[0-9a-f]{64,128}$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\u0000-\u0008\u000e-\u001f\u007f]/;

/** Lines that pip takes as options; what they ask for is the operator's to decide, or not for a server at all. */
const OPTIONS: readonly (readonly [RegExp, string])[] = [
  [/^(-r|--requirement)\b/, "other files are not read; put their lines here"],
  [/^(-c|--constraint)\b/, "other files are not read; put the versions into the requirements themselves"],
  [/^(-e|--editable)\b/, "a project cannot be installed in place; its own files are on the path anyway"],
  [
    /^(-i|--index-url|--pypi-url|--extra-index-url|--no-index|-f|--find-links|--trusted-host|--proxy|--cert|--client-cert)\b/,
    "where packages come from is set by the server's operator (LONGSHORE_BUILD_INDEX_URL and its like)",
  ],
  [
    /^--(no-binary|only-binary|prefer-binary|no-build-isolation|use-pep517)\b/,
    "how packages are built is set by the server's operator",
  ],
];

/** Reads the lines of a requirements.txt; everything wrong is named, each with its line. */
export function parseRequirements(text: string, rules: RequirementRules): ParsedRequirements {
  if (Buffer.byteLength(text) > MOST_BYTES)
    return { requirements: [], problems: [{ line: 1, problem: `it has more than ${MOST_BYTES} bytes` }] };
  const requirements: Requirement[] = [];
  const problems: RequirementProblem[] = [];
  for (const { line, content } of logicalLines(text)) {
    const outcome = readLine(content, rules);
    if (typeof outcome === "string") problems.push({ line, problem: outcome });
    else requirements.push({ line, ...outcome });
  }
  if (requirements.length > MOST_REQUIREMENTS)
    problems.push({ line: 1, problem: `it asks for more than ${MOST_REQUIREMENTS} packages` });
  if (problems.length > MOST_PROBLEMS) {
    const more = problems.length - MOST_PROBLEMS;
    const last = { line: problems[MOST_PROBLEMS]?.line ?? 1, problem: `and ${more} more lines are refused` };
    return { requirements, problems: [...problems.slice(0, MOST_PROBLEMS), last] };
  }
  return { requirements, problems };
}

/** What decides about the outcome: the requirements themselves, whatever their order, comments and repetitions. */
export function normalRequirements(requirements: readonly Requirement[]): string[] {
  return [...new Set(requirements.map(({ text }) => text))].sort();
}

/** "scikit-learn==1.5.2, pandas and 3 more", for people. */
export function summarise(requirements: readonly Requirement[], most = 4): string {
  const shown = requirements
    .slice(0, most)
    .map(({ text }) => (text.split(/ ;| --hash| @/, 1)[0] ?? "").slice(0, 60));
  const more = requirements.length - shown.length;
  return `${shown.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

/** Lines without comments, each with those it is continued on by a backslash. */
function* logicalLines(text: string): Generator<{ line: number; content: string }> {
  const lines = text.replace(/^\ufeff/, "").split(/\r\n|\r|\n/);
  let pending = "";
  let first = 0;
  for (const [index, raw] of lines.entries()) {
    if (pending === "") first = index + 1;
    const isComment = /^\s*#/.test(raw);
    const continued = !isComment && raw.endsWith("\\") && index < lines.length - 1;
    pending += continued ? `${raw.slice(0, -1)} ` : raw.replace(/(^|\s)#.*$/, "");
    if (continued) continue;
    const content = pending.trim();
    pending = "";
    if (content !== "") yield { line: first, content };
  }
}

function readLine(content: string, rules: RequirementRules): Omit<Requirement, "line"> | string {
  if (CONTROL.test(content)) return "it holds control characters";
  if (content.startsWith("-")) return refuseOption(content);
  // Not within the quotes of a marker.
  const inline = /^[^'"]*?\s(-[A-Za-z]\b.*)$/.exec(content)?.[1];
  if (inline !== undefined) return `${refuseOption(inline)} (it does not belong behind a package, either)`;
  const [body = "", ...options] = content.split(/\s+(?=--)/);
  const wrong = options.find((option) => !HASH.test(option.trim()));
  if (wrong !== undefined)
    return `${shown(wrong)} is refused; of a requirement's options only --hash is taken`;
  const read = readBody(body, rules);
  if (typeof read === "string") return read;
  const hashes = options.map((option) => option.trim()).sort();
  return { name: read.name, text: [read.text, ...hashes].join(" ") };
}

function refuseOption(content: string): string {
  const reason = OPTIONS.find(([pattern]) => pattern.test(content))?.[1];
  // Only the option's name: what follows may be an address with a password.
  const option = /^-+[A-Za-z-]*/.exec(content)?.[0] ?? "-";
  return `the option ${option} is refused: ${reason ?? "a requirements.txt here names packages only"}`;
}

function readBody(body: string, rules: RequirementRules): Omit<Requirement, "line"> | string {
  if (/^(git|hg|svn|bzr)\+/i.test(body))
    return "a version control address is refused; name a released package";
  if (/^[A-Za-z][A-Za-z0-9+.-]*:\/\//.test(body) || /^file:/i.test(body))
    return rules.urls
      ? 'an address needs the package\'s name before it: "name @ https://..."'
      : "an address is refused; name a package of the index, as name==version";
  if (/^[./~\\]/.test(body) || /^[^;@]*[/\\]/.test(body) || /^[^;@\s]+\.(whl|zip|tar\.\w+)$/i.test(body))
    return "a local path is refused; name a package of the index, as name==version";
  const name = NAME.exec(body)?.[0] ?? "";
  if (name === "" || /[._-]$/.test(name)) return `${shown(body)} does not begin with a package's name`;
  const extras = EXTRAS.exec(body.slice(name.length));
  const named = extrasOf(extras?.[1]);
  if (named === undefined) return `${shown(body)} has extras that are no names`;
  const rest = body.slice(name.length + (extras?.[0].length ?? 0)).trim();
  const normal = name.toLowerCase().replace(/[-_.]+/g, "-");
  const asked = rest.startsWith("@") ? readAddress(rest.slice(1), rules) : readVersions(rest);
  if (typeof asked === "string") return asked;
  return { name: normal, text: `${normal}${named}${asked.text}` };
}

function extrasOf(list: string | undefined): string | undefined {
  const extras = (list ?? "").split(",").map((extra) => extra.trim());
  if (extras.length === 1 && extras[0] === "") return "";
  if (!extras.every((extra) => EXTRA.test(extra))) return undefined;
  return `[${extras
    .map((extra) => extra.toLowerCase().replace(/[-_.]+/g, "-"))
    .sort()
    .join(",")}]`;
}

function readAddress(text: string, rules: RequirementRules): { text: string } | string {
  if (!rules.urls) return "an address is refused; name a version of the index instead, as name==version";
  const match = /^\s*(https:\/\/[^\s;]+)(?:\s+;\s*(.+))?$/.exec(text);
  const address = match?.[1];
  if (address === undefined || !URL.canParse(address))
    return "an address must be one of https, such as https://host/name.whl";
  const url = new URL(address);
  if (url.username !== "" || url.password !== "")
    return "an address with a user or password is refused: it would be kept in the task's record";
  const marker = match?.[2]?.trim() ?? "";
  if (marker !== "" && !MARKER.test(marker)) return `the marker ${shown(marker)} is not one`;
  return { text: ` @ ${url.href}${marker === "" ? "" : ` ; ${marker.replace(/\s+/g, " ")}`}` };
}

function readVersions(text: string): { text: string } | string {
  const semicolon = text.indexOf(";");
  const marker = semicolon < 0 ? "" : text.slice(semicolon + 1).trim();
  if (semicolon >= 0 && !MARKER.test(marker)) return `the marker ${shown(marker)} is not one`;
  const versions = (semicolon < 0 ? text : text.slice(0, semicolon)).trim().replace(/^\((.*)\)$/, "$1");
  const parts = versions.split(",").map((part) => part.trim());
  const specifiers: string[] = [];
  for (const part of parts) {
    if (part === "") continue;
    const [, operator, version] = SPECIFIER.exec(part) ?? [];
    if (operator === undefined || version === undefined)
      return `${shown(part)} is no version; write it as ==1.2.3, or a range as >=1.2,<2`;
    specifiers.push(`${operator}${version}`);
  }
  return {
    text: `${specifiers.sort().join(",")}${marker === "" ? "" : ` ; ${marker.replace(/\s+/g, " ")}`}`,
  };
}

function shown(text: string): string {
  return JSON.stringify(text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}...` : text);
}
