import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { S3Bucket } from "#server/adapters/blobs/s3-bucket.ts";
import { TemporaryFolder } from "./temporary-folder.ts";

const PATIENCE_MILLIS = 20_000;
export const S3_BUCKET = "longshore-test";
export const S3_CREDENTIALS = {
  AWS_ACCESS_KEY_ID: "test-access-key",
  AWS_SECRET_ACCESS_KEY: "test-secret-key",
} as const;

/** Why there is no S3 server; undefined where there is one. */
export async function whyNoS3Server(): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile("versitygw", ["--version"], (error) =>
      resolve(error === null ? undefined : "versitygw is not installed (scripts/test builds it)"),
    );
  });
}

/** A real S3 server (versitygw over a folder), which checks signatures, with one empty bucket. */
export class S3Server implements AsyncDisposable {
  readonly port: number;
  readonly #folder: TemporaryFolder;
  #process: ChildProcess | undefined;

  private constructor(port: number, folder: TemporaryFolder) {
    this.port = port;
    this.#folder = folder;
  }

  static async start(): Promise<S3Server> {
    const folder = await TemporaryFolder.create();
    await mkdir(folder.at("objects", S3_BUCKET), { recursive: true });
    await mkdir(folder.at("metadata"));
    const server = new S3Server(await freePort(), folder);
    try {
      await server.resume();
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** What a Longshore server needs to use it. */
  settings(prefix: string): Record<string, string> {
    return {
      ...S3_CREDENTIALS,
      LONGSHORE_BLOBS: `s3://${S3_BUCKET}/${prefix}`,
      LONGSHORE_S3_ENDPOINT: this.endpoint,
    };
  }

  bucket(prefix: string, changes: { readonly secret?: string; readonly bucket?: string } = {}): S3Bucket {
    return new S3Bucket({
      bucket: changes.bucket ?? S3_BUCKET,
      prefix,
      endpoint: this.endpoint,
      publicEndpoint: null,
      region: "us-east-1",
      pathStyle: true,
      credentials: {
        accessKeyId: S3_CREDENTIALS.AWS_ACCESS_KEY_ID,
        secretAccessKey: changes.secret ?? S3_CREDENTIALS.AWS_SECRET_ACCESS_KEY,
      },
    });
  }

  /** As a store that is away; what it holds stays. */
  async pause(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }

  async resume(): Promise<void> {
    const { AWS_ACCESS_KEY_ID: access, AWS_SECRET_ACCESS_KEY: secret } = S3_CREDENTIALS;
    const own = ["--port", `127.0.0.1:${this.port}`, "--access", access, "--secret", secret, "--quiet"];
    // Beside the objects: not every filesystem of a test has extended attributes.
    const backend = ["posix", "--sidecar", this.#folder.at("metadata"), this.#folder.at("objects")];
    const child = spawn("versitygw", [...own, ...backend], { stdio: ["ignore", "ignore", "pipe"] });
    this.#process = child;
    let said = "";
    child.stderr?.on("data", (bytes: Buffer) => {
      said = (said + bytes).slice(-2000);
    });
    const signal = AbortSignal.timeout(PATIENCE_MILLIS);
    // It has no way to tell that it listens.
    while (!(await answers(this.endpoint))) {
      if (child.exitCode !== null) throw new Error(`versitygw ended: ${said}`);
      await sleep(50, undefined, { signal });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pause();
    await this.#folder[Symbol.asyncDispose]();
  }
}

async function answers(endpoint: string): Promise<boolean> {
  try {
    // Refused for lack of a signature, which is an answer.
    await (await fetch(endpoint)).body?.cancel();
    return true;
  } catch {
    // Not listening yet.
    return false;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await once(server.listen(0, "127.0.0.1"), "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port was given");
  return address.port;
}
