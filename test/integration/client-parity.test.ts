import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { pythonSurface, type Surface, typescriptSurface } from "../support/client-surfaces.ts";

const python = process.env.LONGSHORE_TEST_PYTHON ?? "";
const noPython =
  python === "" &&
  "LONGSHORE_TEST_PYTHON names no Python with the client's packages; scripts/test makes one where Python >= 3.10 is";

/** The same thing under another name in Python, and why. */
const RENAMED: Readonly<Record<string, string>> = {
  // Named for what it is, as packages of Python do; in TypeScript the name of a class has to tell its package, too.
  Longshore: "Client",
  // Times are seconds in Python, as everywhere in its standard library.
  call_timeout_millis: "call_timeout",
  reconnect_for_millis: "reconnect_for",
  retry_after_millis: "retry_after",
  // As subprocess.run has it.
  reject: "check",
};

type Exceptions = readonly (readonly [name: RegExp, reason: string])[];

const ONLY_TYPESCRIPT: Exceptions = [
  [/\(signal\)$/, "asyncio cancels by itself; threads close the client or leave the loop"],
  [/\(traceparent\)$/, "Python has it where a task is made; other calls go by the active span or `metadata`"],
  [
    /^(?!Task)\w+Options$|^UsageRange$|^TaskConfigContext$/,
    "shapes of options, which Python names one by one",
  ],
  [
    /^(DurationText|SizeText|WebhookOption|Source|Input\w+)$/,
    "types of parameters, which Python writes where they stand",
  ],
  [/^\w+_to_json$/, "google.protobuf.json_format does it for every message"],
  [/^(parse_duration|duration_to_millis)$/, "datetime.timedelta, and ToTimedelta of a Duration"],
  [
    /^(options_from_environment|ConnectionVariables)$/,
    "the constructor in Python reads the variables itself",
  ],
  [/^parse_datasets$/, "submit_config in Python reads LONGSHORE_DATASETS itself"],
  [
    /^(LongshoreErrorDetails|from_service_error|is_connection_loss)$/,
    "for the command line, which is built on the client",
  ],
  [
    /^(request_of|resources_of|read_duration|duration_option)$/,
    "types alone; nothing of that name is exported",
  ],
  [/^Client\.submit_config\(path\)$/, "called config in Python"],
  [/^Client\.task\(id\)$/, "called task_id in Python, where id is a function"],
  [/^Task\.logs\(cursor\)$/, "lines of text have no cursor, events of watch do"],
];

const ONLY_PYTHON: Exceptions = [
  [
    /^(Call|RemoteFunction|remote|start|StartOptions|BadHandler|RemoteError)$|^Client\.start$/,
    "they run functions of Python",
  ],
  [
    /^(ArtifactInput|ArtifactSource|BlobInput|FileInput|QuotaViolation|SourceProblem)$/,
    "shapes without a name in TypeScript",
  ],
  [/^Money\.(amount|currency)$|^money_of$|^UsageReport\.costs$/, "TypeScript has no exact decimal for it"],
  [/^Client\.(submit|run)\((code|archive_sha256)\)$/, "forms of `source` in TypeScript"],
  [/^Client\.submit_config\(config\)$/, "called path in TypeScript"],
  [/^Client\.task\(task_id\)$/, "called id in TypeScript"],
  [/^Client\((tls_ca|tls_cert|tls_key)\)$/, "within `tls` in TypeScript"],
  [/^Client\(progress\)$/, "a library of TypeScript draws no bars; the command line does"],
];

/** Everything that somebody can write: names, their members, and parameters of what can be called. */
function written(surface: Surface): Set<string> {
  const renamed = (name: string) => (Object.hasOwn(RENAMED, name) ? (RENAMED[name] ?? name) : name);
  const names = new Set<string>();
  for (const [key, { parameters = [], members = {} }] of Object.entries(surface)) {
    const name = renamed(key);
    names.add(name);
    // Shapes of options are compared where they are taken. Nobody but the client makes what it hands out.
    if (name.endsWith("Options") && name !== "TaskOptions") continue;
    if (name === "Client" || /^[a-z]/.test(name))
      for (const parameter of parameters) names.add(`${name}(${renamed(parameter)})`);
    for (const [member, taken] of Object.entries(members)) {
      names.add(`${name}.${renamed(member)}`);
      for (const parameter of taken ?? []) names.add(`${name}.${renamed(member)}(${renamed(parameter)})`);
    }
  }
  return names;
}

/** Those of one client that the other lacks; of what is missing altogether, the outermost name alone. */
function missing(from: ReadonlySet<string>, of: ReadonlySet<string>): string[] {
  const outer = (name: string) => name.slice(0, Math.max(0, name.search(/[.(][^.(]*$/)));
  return [...of].filter((name) => !from.has(name) && (outer(name) === "" || from.has(outer(name))));
}

function assertExplained(found: readonly string[], exceptions: Exceptions, advice: string): void {
  const unexplained = found.filter((name) => !exceptions.some(([pattern]) => pattern.test(name)));
  assert.deepEqual(unexplained, [], advice);
  const stale = exceptions.filter(([pattern]) => !found.some((name) => pattern.test(name)));
  assert.deepEqual(stale, [], "exceptions that are none any more");
}

describe("the clients of TypeScript and Python", { skip: noPython }, () => {
  let typescript: Surface;
  let sync: Surface;
  before(async () => {
    typescript = typescriptSurface();
    sync = await pythonSurface(python, "longshore");
  });

  test("have the same names, members and options", () => {
    const [ours, theirs] = [written(typescript), written(sync)];
    assert.ok(ours.has("Client.submit(cpu)") && theirs.has("Client.submit(cpu)"), "options are read");
    assertExplained(
      missing(theirs, ours),
      ONLY_TYPESCRIPT,
      "missing in Python, or a reason why in ONLY_TYPESCRIPT",
    );
    assertExplained(
      missing(ours, theirs),
      ONLY_PYTHON,
      "missing in TypeScript, or a reason why in ONLY_PYTHON",
    );
  });

  test("of Python are one for threads and for asyncio", async () => {
    const asyncio = await pythonSurface(python, "longshore.aio");
    for (const [name, offered] of Object.entries(asyncio)) assert.deepEqual(offered, sync[name], name);
    const made = Object.entries(sync).filter(([, { members }]) =>
      Object.values(members ?? {}).some((called) => called !== null),
    );
    const onlySync = made.map(([name]) => name).filter((name) => !(name in asyncio));
    assert.deepEqual(onlySync, [], "classes with methods that longshore.aio lacks");
  });
});
