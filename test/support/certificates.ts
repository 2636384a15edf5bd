import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { TemporaryFolder } from "./temporary-folder.ts";

const run = promisify(execFile);

/** An authority of a test's own and certificates of it, as PEM files in a folder that goes with the test. */
export class Certificates implements AsyncDisposable {
  readonly #folder: TemporaryFolder;

  private constructor(folder: TemporaryFolder) {
    this.#folder = folder;
  }

  static async create(): Promise<Certificates> {
    const made = new Certificates(await TemporaryFolder.create());
    await made.#openssl(
      ["req", "-x509", "-nodes", ...KEY, "-subj", "/CN=Test authority", "-days", "2"],
      ["-keyout", made.#folder.at("ca.key"), "-out", made.ca],
    );
    return made;
  }

  get ca(): string {
    return this.#folder.at("ca.pem");
  }

  /** A certificate for loopback and its key; `subject` such as "/O=blue/CN=ana". */
  async issue(name: string, subject = "/CN=localhost"): Promise<{ certificate: string; key: string }> {
    const [certificate, key] = [this.#folder.at(`${name}.pem`), this.#folder.at(`${name}.key`)];
    const request = this.#folder.at(`${name}.csr`);
    const names = this.#folder.at("names");
    await this.#folder.write({ names: "subjectAltName=DNS:localhost,IP:127.0.0.1" });
    await this.#openssl(["req", "-nodes", ...KEY, "-subj", subject], ["-keyout", key, "-out", request]);
    const authority = ["-CA", this.ca, "-CAkey", this.#folder.at("ca.key"), "-CAcreateserial"];
    await this.#openssl(
      ["x509", "-req", "-in", request, ...authority, "-days", "1", "-extfile", names],
      ["-out", certificate],
    );
    return { certificate, key };
  }

  async #openssl(...args: readonly string[][]): Promise<void> {
    await run("openssl", args.flat());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#folder[Symbol.asyncDispose]();
  }
}

const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
