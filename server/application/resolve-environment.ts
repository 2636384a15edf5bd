import type { AnnouncedProject } from "../domain/announced-project.ts";
import type { BuildKit } from "../domain/build-kit.ts";
import { type FieldViolation, Unsupported } from "../domain/errors.ts";
import type { ArchiveReader } from "../domain/ports/archive-reader.ts";
import type { BlobStore } from "../domain/ports/blob-store.ts";
import type { EngineCapabilities } from "../domain/ports/engine.ts";
import { parseRequirements, type Requirement } from "../domain/requirements.ts";
import type { TaskEnvironment, TaskSpec } from "../domain/task.ts";
import { normalisePath } from "../domain/workspace-path.ts";
import type { EngineHost } from "./engine-host.ts";
import { RecheckArchive } from "./recheck-archive.ts";

const FIELD = "environment.requirements";
const FILE = "requirements.txt";
/** More than the parser takes, so that it is the one to say so. */
const MOST_BYTES = 2 ** 20;
const MODULE = /^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$/;
const MOST_PRELOADS = 32;
const MOST_MODULE_LENGTH = 100;

/** What builds need, or why this server makes none. */
export type Builds = { readonly kit: BuildKit } | { readonly kit: null; readonly whyNot: string };

/** Finds out what a task's environment is made of when it is submitted, and refuses what policy or this server cannot have. */
export class ResolveEnvironment {
  readonly #archives: ArchiveReader;
  readonly #rechecks: RecheckArchive;
  readonly #builds: Builds;

  constructor(deps: { archives: ArchiveReader; blobs: BlobStore; builds: Builds }) {
    this.#archives = deps.archives;
    this.#rechecks = new RecheckArchive(deps);
    this.#builds = deps.builds;
  }

  /** What can be said without the project. */
  checkForm({ environment }: TaskSpec, violations: FieldViolation[]): void {
    checkPreload(environment?.preload ?? [], violations);
    this.#parse({ source: FIELD, text: environment?.requirements ?? "" }, violations);
  }

  /** `project`: the spec's archive is stored and is one, or what its client says of it; null where there is none, or nothing is known. */
  async resolve(
    spec: TaskSpec,
    project: "stored" | AnnouncedProject | null,
    violations: FieldViolation[],
  ): Promise<TaskEnvironment | null> {
    const preload = spec.environment?.preload ?? [];
    checkPreload(preload, violations);
    const lines = await this.#lines(spec, project, violations);
    const { source, text } = lines ?? { source: "", text: "" };
    const requirements = this.#parse({ source, text }, violations);
    if (requirements.length === 0 && preload.length === 0) return null;
    return requirements.length === 0
      ? { requirements: "", source: "", preload }
      : { requirements: text, source: source === FIELD ? "requirements" : source, preload };
  }

  /** Throws Unsupported where there is something to install and no way to do it. */
  requireBuilds(environment: TaskEnvironment | null, host: EngineHost): void {
    if (environment === null || environment.requirements === "") return;
    const without =
      "to run without packages, send an environment with empty requirements (longshore run --no-requirements)";
    const why =
      this.#builds.kit === null
        ? this.#builds.whyNot
        : whyNoBuilds(this.#builds.kit, host.engine.name, host.capabilities);
    if (why !== undefined) throw new Unsupported(`${why}; ${without}`);
  }

  #parse(
    { source, text }: { readonly source: string; readonly text: string },
    violations: FieldViolation[],
  ): readonly Requirement[] {
    const { requirements, problems } = parseRequirements(text, { urls: this.#builds.kit?.urls ?? false });
    const from = source === FIELD ? "" : `${source} `;
    for (const { line, problem } of problems)
      violations.push({ field: FIELD, description: `${from}line ${line}: ${problem}` });
    return requirements;
  }

  async #lines(
    spec: TaskSpec,
    project: "stored" | AnnouncedProject | null,
    violations: FieldViolation[],
  ): Promise<{ source: string; text: string } | undefined> {
    const { environment } = spec;
    if (environment !== null && environment.requirements !== "")
      return { source: FIELD, text: environment.requirements };
    // An empty environment is how to ask for none; one with modules to preload alone says nothing of packages.
    if (project === null || (environment !== null && environment.preload.length === 0)) return undefined;
    const folder = normalisePath(spec.workingDirectory) ?? "";
    for (const source of new Set([folder === "" ? FILE : `${folder}/${FILE}`, FILE])) {
      const bytes = await (project === "stored"
        ? this.#readStored(spec.archiveSha256, source)
        : project.readFile(source));
      if (bytes === undefined) continue;
      try {
        return { source, text: new TextDecoder("utf-8", { fatal: true }).decode(bytes) };
      } catch {
        // Whatever else it is, it is not the text it has to be.
        violations.push({ field: FIELD, description: `${source} is not UTF-8 text` });
        return undefined;
      }
    }
    return undefined;
  }

  async #readStored(sha256: string, path: string): Promise<Uint8Array | undefined> {
    if (!(await this.#archives.has(sha256, path, "file"))) return undefined;
    // The form that is unpacked is the one that is read.
    await this.#rechecks.canonicalTar(sha256, "RAW");
    return await this.#archives.readFile(sha256, path, MOST_BYTES);
  }
}

/** Undefined where this engine can build what the server's kit is for, and give it to tasks. */
export function whyNoBuilds(kit: BuildKit, name: string, engine: EngineCapabilities): string | undefined {
  if (engine.environments !== true) return `engine ${name} has no way to give a task packages`;
  if (engine.buildsOffline === true && kit.network !== "NONE")
    return `engine ${name} installs packages without a network alone, and this server takes them from one`;
  if (!engine.tiers.some(({ isolation }) => isolation === kit.isolation))
    return `engine ${name} has no isolation ${kit.isolation.toLowerCase()}, in which this server installs packages`;
  return undefined;
}

function checkPreload(preload: readonly string[], violations: FieldViolation[]): void {
  const field = "environment.preload";
  if (preload.length > MOST_PRELOADS)
    violations.push({
      field,
      description: `has ${preload.length} modules; at most ${MOST_PRELOADS} are allowed`,
    });
  for (const [index, name] of preload.slice(0, MOST_PRELOADS).entries()) {
    if (name.length <= MOST_MODULE_LENGTH && MODULE.test(name)) continue;
    const shown = JSON.stringify(name.slice(0, MOST_MODULE_LENGTH));
    violations.push({
      field: `${field}[${index}]`,
      description: `${shown} is no name of a module, such as sklearn.ensemble`,
    });
  }
}
