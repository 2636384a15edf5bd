import { execFile } from "node:child_process";
import { access, constants } from "node:fs/promises";
import { promisify } from "node:util";

/** Why environments cannot be built here; undefined where they can. */
export async function whyNoUv(): Promise<string | undefined> {
  const path = process.env.LONGSHORE_UV ?? "";
  if (path === "") return "needs uv (scripts/test fetches it and sets LONGSHORE_UV)";
  return await access(path, constants.X_OK).then(
    () => undefined,
    (error: unknown) => `LONGSHORE_UV cannot be run: ${String(error)}`,
  );
}

/** Settings of a server whose builds reach the index that this machine reaches, by the certificates that it trusts. */
export function indexSettings(): Record<string, string> {
  const { SSL_CERT_FILE = "", PIP_INDEX_URL = "" } = process.env;
  return { LONGSHORE_BUILD_CA_BUNDLE: SSL_CERT_FILE, LONGSHORE_BUILD_INDEX_URL: PIP_INDEX_URL };
}

/** The same for builds that need the index. */
export async function whyNoIndex(): Promise<string | undefined> {
  const why = await whyNoUv();
  if (why !== undefined) return why;
  const { LONGSHORE_UV: uv = "uv", PATH = "", SSL_CERT_FILE, PIP_INDEX_URL } = process.env;
  const env = {
    PATH,
    UV_HTTP_RETRIES: "0",
    UV_HTTP_TIMEOUT: "10",
    ...(SSL_CERT_FILE !== undefined && { SSL_CERT_FILE }),
    ...(PIP_INDEX_URL !== undefined && { UV_DEFAULT_INDEX: PIP_INDEX_URL }),
  };
  const args = ["pip", "install", "--dry-run", "--no-cache", "--no-config", "--target", "/nowhere", "six"];
  return await promisify(execFile)(uv, args, { env, timeout: 60_000 }).then(
    () => undefined,
    () => "no package index answers on this machine",
  );
}
