import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import {
  API,
  type Checker,
  type Symbol as Declared,
  isUnionType,
  type Signature,
  SignatureKind,
  SymbolFlags,
  type Type,
} from "typescript/unstable/sync";

/** Names of a parameter's own or, of a bag of options, of everything in it. */
export type Parameters = readonly string[];

/** What a package offers under one name. */
export interface Offered {
  /** Of a function, or of what makes an object of a class. */
  readonly parameters?: Parameters | undefined;
  /** Of a class or a shape; with parameters where it can be called. Absent for messages of the API, which both generate. */
  readonly members?: Readonly<Record<string, Parameters | null>> | undefined;
}

/** Everything that a client's package offers, in snake case. */
export type Surface = Readonly<Record<string, Offered>>;

const path = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const INDEX = "clients/typescript/src/index.ts";

/** What @longshore/client offers, as the compiler sees its index. */
export function typescriptSurface(): Surface {
  const api = new API({ cwd: path("") });
  try {
    const config = path("tsconfig.json");
    const project = api.updateSnapshot({ openProject: config }).getProject(config);
    const file = project?.program.getSourceFile(path(INDEX));
    const index = file && project?.checker.getSymbolAtLocation(file);
    if (project === undefined || index === undefined) throw new Error(`${INDEX} is not in ${config}`);
    const reader = new DeclarationReader(project.checker);
    const exported = project.checker.getExportsOfModule(index);
    return Object.fromEntries(exported.map((symbol) => [snakeCase(symbol.name), reader.read(symbol)]));
  } finally {
    api.close();
  }
}

class DeclarationReader {
  readonly #checker: Checker;

  constructor(checker: Checker) {
    this.#checker = checker;
  }

  read(exported: Declared): Offered {
    const symbol = exported.flags & SymbolFlags.Alias ? this.#checker.getAliasedSymbol(exported) : exported;
    if (symbol.flags & SymbolFlags.Function)
      return { parameters: this.#parametersOf(this.#checker.getTypeOfSymbol(symbol), SignatureKind.Call) };
    if (symbol.declarations.some((declared) => declared.path.includes("/proto/gen/"))) return {};
    const made = symbol.flags & SymbolFlags.Class ? this.#checker.getTypeOfSymbol(symbol) : undefined;
    return {
      parameters: this.#parametersOf(made, SignatureKind.Construct),
      members: this.#membersOf(this.#checker.getDeclaredTypeOfSymbol(symbol)),
    };
  }

  #membersOf(type: Type): Record<string, Parameters | null> {
    const found: Record<string, Parameters | null> = {};
    const parts = isUnionType(type) ? type.getTypes() : [type];
    for (const property of parts.flatMap((part) => this.#checker.getPropertiesOfType(part))) {
      // Private names and well-known symbols have these in theirs; the rest is what every Error and every text has.
      if (/[@#]/.test(property.name) || isOfLanguage(property)) continue;
      const called = this.#parametersOf(this.#checker.getTypeOfSymbol(property), SignatureKind.Call);
      found[snakeCase(property.name)] = called ?? null;
    }
    return found;
  }

  #parametersOf(type: Type | undefined, kind: SignatureKind): Parameters | undefined {
    const [signature] = type === undefined ? [] : this.#checker.getSignaturesOfType(type, kind);
    return signature && this.#flatten(signature);
  }

  #flatten(signature: Signature): Parameters {
    return signature.getParameters().flatMap(({ name }, index) => {
      const type = this.#checker.getParameterType(signature, index);
      const given = type && this.#checker.getNonNullableType(type);
      return name === "options" && given !== undefined
        ? Object.keys(this.#membersOf(given))
        : [snakeCase(name)];
    });
  }
}

function isOfLanguage({ declarations }: Declared): boolean {
  return (
    declarations.length > 0 && declarations.every((declared) => /\/lib\.[^/]*\.d\.ts$/.test(declared.path))
  );
}

/** What the Python package offers, or its twin for asyncio, as Python's inspect sees it. */
export async function pythonSurface(python: string, name: "longshore" | "longshore.aio"): Promise<Surface> {
  const program = path("clients/python/tools/surface.py");
  const { stdout } = await promisify(execFile)(python, [program, name], { env: pythonEnvironment() });
  return JSON.parse(stdout);
}

/** To run Python with the package as it lies here, leaving nothing behind. */
export function pythonEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, PYTHONPATH: path("clients/python/src"), PYTHONDONTWRITEBYTECODE: "1" };
}

/** "isTerminal" as "is_terminal"; names of types stay as they are. */
export function snakeCase(name: string): string {
  return /^[A-Z]/.test(name) ? name : name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** "is_terminal" as "isTerminal". */
export function camelCase(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}
