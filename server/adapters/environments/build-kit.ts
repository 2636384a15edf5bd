import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { access, chmod, constants, mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { delimiter, join, resolve } from "node:path";
import { promisify } from "node:util";
import type { BuildKit } from "../../domain/build-kit.ts";
import { SystemFault } from "../../domain/errors.ts";
import { orUndefined } from "../../domain/storage-error.ts";

/** Raised whenever the way of building changes what comes out. */
const BUILDER_VERSION = 1;
const SANDBOX_CA = "/longshore/ca.pem";
const SANDBOX_WHEELS = "/longshore/wheels";

export type BuildKitOptions = Pick<BuildKit, "network" | "sources" | "urls" | "isolation" | "limits"> & {
  readonly dataDirectory: string;
  /** Path of uv; empty looks for it where commands are found. */
  readonly uv: string;
  /** The program of the build's sandbox: executor-image/builder.py. */
  readonly program: string;
  /** Empty for PyPI. */
  readonly indexUrl: string;
  readonly extraIndexUrls: readonly string[];
  readonly wheels: string;
  readonly caBundle: string;
  readonly proxy: string;
  readonly noProxy: string;
};

/** What builds need, or why there can be none here. */
export type OpenedBuildKit = { readonly kit: BuildKit } | { readonly kit: null; readonly whyNot: string };

/**
 * Copies uv and the certificates below the data folder under the names of their content: a running build keeps its own while they are
 * upgraded, and no other folder of the host is bound. Throws SystemFault where something configured is not there.
 */
export async function openBuildKit(options: BuildKitOptions): Promise<OpenedBuildKit> {
  const { dataDirectory, wheels, caBundle, network } = options;
  const found = await findUv(options.uv);
  if (found === undefined)
    return {
      kit: null,
      whyNot:
        "this server has no uv to install packages with; its operator sets LONGSHORE_UV to the program (scripts/quickstart brings it)",
    };
  if (network === "NONE" && wheels === "")
    return {
      kit: null,
      whyNot:
        "this server's builds have neither a network nor wheels; its operator sets LONGSHORE_BUILD_NETWORK or LONGSHORE_BUILD_WHEELS",
    };
  if (wheels !== "" && (await orUndefined(stat(wheels), "ENOENT"))?.isDirectory() !== true)
    throw new SystemFault(`LONGSHORE_BUILD_WHEELS ${wheels} is no folder`);
  const tools = join(dataDirectory, "tools");
  await mkdir(tools, { recursive: true, mode: 0o755 });
  const uv = await keepTool(tools, "uv", found, 0o755);
  const { stdout } = await promisify(execFile)(uv, ["--version"], { env: {} });
  const uvVersion = /^uv (\S+)/.exec(stdout)?.[1] ?? "unknown";
  const program = await readFile(options.program, "utf8");
  return {
    kit: {
      uv,
      uvVersion,
      program,
      env: environmentOf(options),
      caBundle: caBundle === "" ? null : await keepTool(tools, "ca", caBundle, 0o644),
      wheels: wheels === "" ? null : resolve(wheels),
      network,
      sources: options.sources,
      urls: options.urls,
      isolation: options.isolation,
      limits: options.limits,
      identity: identityOf(options, uvVersion, program),
    },
  };
}

function environmentOf(options: BuildKitOptions): Record<string, string> {
  const { indexUrl, extraIndexUrls, wheels, caBundle, proxy, noProxy } = options;
  return {
    UV_HTTP_TIMEOUT: "60",
    ...(indexUrl !== "" && { UV_DEFAULT_INDEX: indexUrl }),
    ...(extraIndexUrls.length > 0 && { UV_INDEX: extraIndexUrls.join(" ") }),
    ...(wheels !== "" && { UV_FIND_LINKS: SANDBOX_WHEELS }),
    ...(caBundle !== "" && { SSL_CERT_FILE: SANDBOX_CA }),
    ...(proxy !== "" && { HTTP_PROXY: proxy, HTTPS_PROXY: proxy }),
    ...(noProxy !== "" && { NO_PROXY: noProxy }),
  };
}

function identityOf(options: BuildKitOptions, uvVersion: string, program: string): string {
  const { indexUrl, extraIndexUrls, wheels, network, sources } = options;
  return JSON.stringify([
    BUILDER_VERSION,
    uvVersion,
    createHash("sha256").update(program).digest("hex"),
    process.arch,
    [indexUrl, ...extraIndexUrls].map(withoutPassword),
    wheels,
    network === "NONE",
    sources,
  ]);
}

function withoutPassword(address: string): string {
  if (!URL.canParse(address)) return address;
  const url = new URL(address);
  url.username = "";
  url.password = "";
  return url.href;
}

async function findUv(configured: string): Promise<string | undefined> {
  if (configured !== "") {
    if (await isProgram(configured)) return configured;
    throw new SystemFault(`LONGSHORE_UV ${configured} is no program that can be run`);
  }
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    const path = join(folder, "uv");
    if (folder !== "" && (await isProgram(path))) return path;
  }
  return undefined;
}

async function isProgram(path: string): Promise<boolean> {
  return await access(path, constants.X_OK).then(
    async () => (await stat(path)).isFile(),
    // Whatever the reason, it cannot be run.
    () => false,
  );
}

async function keepTool(folder: string, name: string, source: string, mode: number): Promise<string> {
  const bytes = await orUndefined(readFile(source), "ENOENT");
  if (bytes === undefined)
    throw new SystemFault(`${source}, which builds of environments need, is not there`);
  const digest = createHash("sha256").update(bytes).digest("hex").slice(0, 32);
  const target = join(folder, `${name}-${digest}`);
  if ((await orUndefined(stat(target), "ENOENT")) !== undefined) return target;
  const draft = `${target}.part`;
  await rm(draft, { force: true });
  {
    await using file = await open(draft, "wx", mode);
    await file.writeFile(bytes);
    await file.sync();
  }
  await chmod(draft, mode);
  await rename(draft, target);
  return target;
}
