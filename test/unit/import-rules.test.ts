/**
 * The directions that imports may take. Biome says the simple ones in the editor; these resolve every path, so they also know
 * one adapter from another, and where each driver lives.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));

interface Import {
  readonly from: string;
  /** A path from the repository's root for one of our files, else the specifier as written. */
  readonly to: string;
}

/** `import x from "y"`, `export * from "y"`, `import "y"` and `import("y")`. */
const SPECIFIER = /(?:\bfrom\s*|\bimport\s*\(?\s*)["']([^"'\n]+)["']/g;

function resolve(from: string, specifier: string): string {
  if (specifier.startsWith(".")) return normalize(join(dirname(from), specifier));
  if (specifier.startsWith("#server/")) return specifier.slice(1);
  return specifier;
}

function importsOf(from: string, source: string): Import[] {
  const code = source.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
  return [...code.matchAll(SPECIFIER)].map(([, specifier = ""]) => ({ from, to: resolve(from, specifier) }));
}

function sourcesBelow(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(ts|mjs|js)$/.test(entry.name))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .filter((path) => !/(^|\/)(node_modules|dist)\//.test(path));
}

const imports = ["server", "clients", "proto/gen/src", "scripts"]
  .flatMap(sourcesBelow)
  .flatMap((path) => importsOf(path, readFileSync(join(root, path), "utf8")));

const adapterOf = (path: string) => /^server\/adapters\/([^/]+)\//.exec(path)?.[1];
const isOurs = (path: string) => /^(server|clients|proto|scripts|test)\//.test(path);
const isClientPackage = (to: string) => /^(@longshore\/client|longshore)($|\/)/.test(to);

/** Who may import a driver: folders, of which a file must be below one. */
const DRIVERS: ReadonlyMap<RegExp, readonly string[]> = new Map([
  [/^dockerode$/, ["server/adapters/docker/"]],
  [/^@kubernetes\//, ["server/adapters/kubernetes/"]],
  [/^@mikro-orm\//, ["server/adapters/database/"]],
  [/^@aws-sdk\//, ["server/adapters/blobs/"]],
  [/^yauzl$/, ["server/adapters/archive/"]],
  [/^standardwebhooks$/, ["server/adapters/webhook/"]],
  [/^nodemailer$/, ["server/adapters/mail/"]],
  [/^jose$/, ["server/adapters/oidc/"]],
  [/^tar-stream$/, []],
  [/^@opentelemetry\/(?!api$)/, ["server/adapters/telemetry/"]],
  [/^@grpc\/grpc-js$/, ["server/transport/", "clients/typescript/", "proto/gen/src/", "scripts/lib/"]],
]);

interface Rule {
  readonly name: string;
  forbids(one: Import): boolean;
}

const RULES: readonly Rule[] = [
  {
    name: "domain imports nothing of ours but itself",
    forbids: ({ from, to }) =>
      from.startsWith("server/domain/") &&
      ((isOurs(to) && !to.startsWith("server/domain/")) || to.startsWith("@longshore/")),
  },
  {
    name: "application imports domain and itself",
    forbids: ({ from, to }) =>
      from.startsWith("server/application/") &&
      ((isOurs(to) && !/^server\/(domain|application)\//.test(to)) || to.startsWith("@longshore/")),
  },
  {
    name: "transport imports application, domain and the generated code",
    forbids: ({ from, to }) =>
      from.startsWith("server/transport/") &&
      isOurs(to) &&
      !/^server\/(domain|application|transport)\//.test(to),
  },
  {
    name: "an adapter imports domain, itself and what engines share about sandboxes, never another adapter",
    forbids: ({ from, to }) => {
      const adapter = adapterOf(from);
      if (adapter === undefined || !isOurs(to)) return false;
      return !to.startsWith("server/domain/") && ![adapter, "sandbox"].includes(adapterOf(to) ?? "");
    },
  },
  {
    name: "only server/main.ts composes: nothing imports it",
    forbids: ({ to }) => to === "server/main.ts",
  },
  {
    name: "server never imports a client",
    forbids: ({ from, to }) =>
      from.startsWith("server/") && (to.startsWith("clients/") || isClientPackage(to)),
  },
  {
    name: "clients never import the server",
    forbids: ({ from, to }) => from.startsWith("clients/") && to.startsWith("server/"),
  },
  {
    name: "the CLI stands on the TypeScript client alone",
    forbids: ({ from, to }) =>
      from.startsWith("clients/cli/") && (to.startsWith("clients/typescript/") || to.startsWith("@grpc/")),
  },
  {
    name: "generated code is a leaf",
    forbids: ({ from, to }) =>
      from.startsWith("proto/gen/src/") && isOurs(to) && !to.startsWith("proto/gen/src/"),
  },
  {
    name: "nothing imports scripts",
    forbids: ({ from, to }) => !from.startsWith("scripts/") && to.startsWith("scripts/"),
  },
  {
    name: "each driver lives in one place",
    forbids: ({ from, to }) =>
      [...DRIVERS].some(([driver, homes]) => driver.test(to) && !homes.some((home) => from.startsWith(home))),
  },
];

const violations = (rule: Rule, among: readonly Import[]) =>
  among.filter((one) => rule.forbids(one)).map(({ from, to }) => `${from} imports ${to}`);

describe("import rules", () => {
  for (const rule of RULES) {
    test(rule.name, () => assert.deepEqual(violations(rule, imports), []));
  }

  test("every way of importing is seen", () => {
    const source = [
      'import { a } from "../database/store.ts";',
      'import type { B } from "#server/application/b.ts";',
      'export * from "dockerode";',
      'import "./effect.ts";',
      'const c = await import("yauzl");',
      '// import { no } from "./comment.ts";',
      'import {\n  d,\n} from "./d.ts";',
    ].join("\n");
    assert.deepEqual(
      importsOf("server/adapters/docker/engine.ts", source).map(({ to }) => to),
      [
        "server/adapters/database/store.ts",
        "server/application/b.ts",
        "dockerode",
        "server/adapters/docker/effect.ts",
        "yauzl",
        "server/adapters/docker/d.ts",
      ],
    );
  });

  test("each rule catches what it is for", () => {
    const bad: Import[] = [
      { from: "server/domain/task.ts", to: "server/adapters/docker/engine.ts" },
      { from: "server/application/submit-task.ts", to: "server/transport/server.ts" },
      { from: "server/transport/server.ts", to: "server/adapters/blobs/files.ts" },
      { from: "server/adapters/docker/engine.ts", to: "server/adapters/database/store.ts" },
      { from: "server/application/submit-task.ts", to: "server/main.ts" },
      { from: "server/transport/server.ts", to: "@longshore/client" },
      { from: "clients/typescript/src/task.ts", to: "server/domain/task.ts" },
      { from: "clients/cli/src/run.ts", to: "@grpc/grpc-js" },
      { from: "proto/gen/src/longshore/v1/task.ts", to: "server/domain/task.ts" },
      { from: "server/transport/server.ts", to: "scripts/lib/api-docs.ts" },
      { from: "server/application/submit-task.ts", to: "dockerode" },
    ];
    assert.deepEqual(
      RULES.map((rule, index) => violations(rule, bad.slice(index, index + 1)).length),
      RULES.map(() => 1),
    );
  });
});
