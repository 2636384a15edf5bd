import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { SecureContextOptions } from "node:tls";
import { ServerCredentials } from "@grpc/grpc-js";
import { SystemFault } from "#server/domain/errors.ts";
import type { Log } from "#server/domain/ports/telemetry.ts";

/** Certificates are replaced weeks before they end. The files are read again and not watched: a mounted secret is swapped by links. */
const RELOAD_MILLIS = 60_000;

export interface TlsFiles {
  /** PEM, the server's own certificate first. */
  readonly certificate: string;
  readonly key: string;
  /** PEM of the authorities that clients' certificates must come from; null lets clients in without one. */
  readonly clientAuthorities: string | null;
}

/** The server's side of TLS, from files that may be replaced while it runs. */
export class TlsCredentials extends ServerCredentials implements Disposable {
  readonly #files: TlsFiles;
  readonly #log: Log;
  readonly #timer: NodeJS.Timeout;
  #present: SecureContextOptions;

  /** Throws SystemFault naming the file that is wrong. */
  static async open(files: TlsFiles, log: Log, reloadMillis = RELOAD_MILLIS): Promise<TlsCredentials> {
    return new TlsCredentials(files, await readContext(files), log, reloadMillis);
  }

  private constructor(files: TlsFiles, context: SecureContextOptions, log: Log, reloadMillis: number) {
    const requestCert = files.clientAuthorities !== null;
    super({ requestCert, rejectUnauthorized: requestCert, minVersion: "TLSv1.2" }, context);
    this.#files = files;
    this.#present = context;
    this.#log = log;
    this.#timer = setInterval(() => void this.reload(), reloadMillis).unref();
  }

  /** New connections get what the files hold now; files that are wrong are left for later and told of. */
  async reload(): Promise<void> {
    try {
      const context = await readContext(this.#files);
      if (sameContext(context, this.#present)) return;
      this.updateSecureContextOptions(context);
      this.#present = context;
      this.#log.info("TLS files were read again", { certificate: this.#files.certificate });
    } catch (error) {
      this.#log.error("TLS files cannot be used; the ones before go on", { err: error });
    }
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

async function readContext(files: TlsFiles): Promise<SecureContextOptions> {
  const cert = await read(files.certificate, "LONGSHORE_TLS_CERT");
  const key = await read(files.key, "LONGSHORE_TLS_KEY");
  const ca = files.clientAuthorities && (await read(files.clientAuthorities, "LONGSHORE_TLS_CLIENT_CA"));
  const certificate = parse(files.certificate, "LONGSHORE_TLS_CERT", () => new X509Certificate(cert));
  const privateKey = parse(files.key, "LONGSHORE_TLS_KEY", () => createPrivateKey(key));
  if (ca) parse(files.clientAuthorities ?? "", "LONGSHORE_TLS_CLIENT_CA", () => new X509Certificate(ca));
  if (!certificate.checkPrivateKey(privateKey))
    throw new SystemFault(
      `the key in ${files.key} does not belong to the certificate in ${files.certificate}`,
    );
  return { cert, key, ...(ca && { ca }) };
}

async function read(path: string, setting: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new SystemFault(`${setting} ${path} cannot be read: ${error}`, {}, { cause: error });
  }
}

function parse<T>(path: string, setting: string, how: () => T): T {
  try {
    return how();
  } catch (error) {
    // OpenSSL's words for it are kept as the cause; they never quote the file.
    throw new SystemFault(`${setting} ${path} does not hold what it should, as PEM`, {}, { cause: error });
  }
}

function sameContext(a: SecureContextOptions, b: SecureContextOptions): boolean {
  return (
    String(a.cert) === String(b.cert) && String(a.key) === String(b.key) && String(a.ca) === String(b.ca)
  );
}
