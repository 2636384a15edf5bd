import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  type HeadObjectCommandOutput,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { SystemFault } from "../../domain/errors.ts";
import { faultName, isBeyondEnd, isChanged, isMissing, isRefusal, storeFault } from "./s3-errors.ts";
import { Slots } from "./slots.ts";

const MEBIBYTE = 2 ** 20;
const CHUNK_BYTES = MEBIBYTE;
/** Up to here a file goes in one request, held in memory so that it can be repeated; beyond, in parts. */
const ONE_REQUEST_BYTES = 8 * MEBIBYTE;
const PART_BYTES = 8 * MEBIBYTE;
/** S3 takes 10,000. */
const MOST_PARTS = 9_000;
const PARTS_AT_ONCE = 3;
/** Files on their way into the store. With the parts of each it bounds the memory they take: 4 x 4 x 8 MiB. */
const PUTS_AT_ONCE = 4;
const ANSWER_MILLIS = 5_000;
const SILENCE_MILLIS = 30_000;
/** A download holds one for as long as its client takes; with the SDK's 50, slow clients would lock everybody else out. */
const MOST_CONNECTIONS = 1_000;
/** Broken connections in a row that bring no byte before a read is given up. */
const READ_TRIES = 3;

export interface BucketOptions {
  readonly bucket: string;
  /** Without slashes at its ends; may be empty. */
  readonly prefix: string;
  /** Null takes the one that the SDK knows: AWS, or AWS_ENDPOINT_URL_S3. */
  readonly endpoint: string | null;
  /** What clients reach the store by, where that is another address than this server's. */
  readonly publicEndpoint: string | null;
  readonly region: string;
  /** https://host/bucket/key in place of https://bucket.host/key. */
  readonly pathStyle: boolean;
  /** Absent: from the environment or the files that AWS' own tools read. */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
}

export interface StoredObject {
  readonly sizeBytes: number;
  readonly etag: string;
  readonly time: Date;
}

/** One bucket of an S3-compatible store, in our own words; keys are below the prefix. Throws StoreAway. */
export class S3Bucket {
  readonly #options: BucketOptions;
  readonly #client: S3Client;
  /** Signs for the address that clients use; sends nothing. */
  readonly #signer: S3Client;
  readonly #puts = new Slots(PUTS_AT_ONCE);

  constructor(options: BucketOptions) {
    this.#options = options;
    this.#client = clientOf(options, options.endpoint);
    this.#signer = clientOf(options, options.publicEndpoint ?? options.endpoint);
  }

  /** Throws SystemFault when the store refuses this server, StoreAway when it does not answer. */
  async probe(): Promise<void> {
    try {
      await this.#client.send(new HeadBucketCommand({ Bucket: this.#options.bucket }));
    } catch (error) {
      if (!isMissing(error) && !isRefusal(error)) throw storeFault(error, "looking at the bucket");
      throw new SystemFault(
        `the store of blobs refuses bucket ${this.#options.bucket} (${faultName(error)}): check LONGSHORE_BLOBS, that the bucket exists, and the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE)`,
      );
    }
  }

  /** Undefined when there is none. */
  async head(key: string, signal?: AbortSignal): Promise<StoredObject | undefined> {
    let answer: HeadObjectCommandOutput;
    try {
      answer = await this.#client.send(new HeadObjectCommand(this.#at(key)), abort(signal));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw this.#fault(error, "looking for a blob", signal);
    }
    return {
      sizeBytes: answer.ContentLength ?? 0,
      etag: answer.ETag ?? "",
      // To the second, and rounded down: told as its end, so that nothing looks older than it is.
      time: new Date((answer.LastModified?.getTime() ?? Date.now()) + 999),
    };
  }

  /** Bytes from an offset below the end; goes on where a connection breaks. */
  async *read(key: string, offset: number, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    let position = offset;
    for (let broken = 0; broken < READ_TRIES; ) {
      const answer = await this.#get(key, position, signal);
      const end = position + answer.sizeBytes;
      let failure: unknown;
      try {
        for await (const bytes of answer.body) {
          for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
            signal?.throwIfAborted();
            const chunk = bytes.subarray(at, at + CHUNK_BYTES);
            position += chunk.length;
            broken = 0;
            yield chunk;
          }
        }
      } catch (error) {
        failure = error;
      }
      signal?.throwIfAborted();
      if (position === end) return;
      broken++;
      if (broken === READ_TRIES) throw storeFault(failure ?? new Error("ConnectionClosed"), "reading a blob");
    }
  }

  /** Puts a whole file, with checksums that the store verifies; an object that was there is replaced at its end. */
  async put(key: string, path: string, sizeBytes: number, sha256: string): Promise<void> {
    await this.#puts.run(async () => {
      try {
        if (sizeBytes <= ONE_REQUEST_BYTES) await this.#putWhole(key, await readFile(path), sha256);
        else await this.#putParts(key, path, sizeBytes);
      } catch (error) {
        throw this.#fault(error, "storing a blob");
      }
    });
  }

  async putText(key: string, text: string): Promise<void> {
    try {
      await this.#client.send(new PutObjectCommand({ ...this.#at(key), Body: text }));
    } catch (error) {
      throw this.#fault(error, "storing a note");
    }
  }

  /** False when the source is gone or no longer what `etag` says. */
  async copy(from: string, etag: string, to: string): Promise<boolean> {
    const { bucket } = this.#options;
    try {
      await this.#client.send(
        new CopyObjectCommand({
          ...this.#at(to),
          CopySource: encodeURIComponent(`${bucket}/${this.#key(from)}`),
          CopySourceIfMatch: etag,
        }),
      );
      return true;
    } catch (error) {
      if (isMissing(error) || isChanged(error)) return false;
      throw this.#fault(error, "copying a blob");
    }
  }

  async remove(key: string): Promise<void> {
    try {
      await this.#client.send(new DeleteObjectCommand(this.#at(key)));
    } catch (error) {
      throw this.#fault(error, "removing a blob");
    }
  }

  async *list(
    below: string,
  ): AsyncGenerator<{ readonly key: string; readonly sizeBytes: number; readonly time: Date }> {
    const start = this.#key("").length;
    let token: string | undefined;
    do {
      const request = { Bucket: this.#options.bucket, Prefix: this.#key(below), ContinuationToken: token };
      const page = await this.#client.send(new ListObjectsV2Command(request)).catch((error: unknown) => {
        throw this.#fault(error, "listing blobs");
      });
      for (const { Key = "", Size = 0, LastModified = new Date() } of page.Contents ?? [])
        yield { key: Key.slice(start), sizeBytes: Size, time: LastModified };
      token = page.NextContinuationToken;
    } while (token !== undefined);
  }

  /** An address for one PUT of exactly these bytes. Its signature holds their length and digest, where the store checks both. */
  async signPut(
    key: string,
    bytes: { readonly sizeBytes: number; readonly sha256: string },
    lifetimeMillis: number,
  ): Promise<{ url: string; headers: Record<string, string> }> {
    const checksum = base64Of(bytes.sha256);
    const command = new PutObjectCommand({
      ...this.#at(key),
      ContentLength: bytes.sizeBytes,
      ChecksumSHA256: checksum,
    });
    const signed = new Set(["content-length", "x-amz-checksum-sha256"]);
    const url = await this.#sign(() =>
      getSignedUrl(this.#signer, command, {
        expiresIn: Math.ceil(lifetimeMillis / 1000),
        signableHeaders: signed,
        // Otherwise it moves into the query, where a store need not look at it.
        unhoistableHeaders: signed,
      }),
    );
    return { url, headers: { "x-amz-checksum-sha256": checksum } };
  }

  signGet(key: string, lifetimeMillis: number): Promise<string> {
    const expiresIn = Math.ceil(lifetimeMillis / 1000);
    return this.#sign(() => getSignedUrl(this.#signer, new GetObjectCommand(this.#at(key)), { expiresIn }));
  }

  close(): void {
    this.#client.destroy();
    this.#signer.destroy();
  }

  async #get(
    key: string,
    offset: number,
    signal: AbortSignal | undefined,
  ): Promise<{ body: AsyncIterable<Uint8Array>; sizeBytes: number }> {
    const range = offset === 0 ? {} : { Range: `bytes=${offset}-` };
    try {
      const answer = await this.#client.send(
        new GetObjectCommand({ ...this.#at(key), ...range }),
        abort(signal),
      );
      // The SDK's type covers browsers, too; in Node it is a stream of buffers.
      return { body: answer.Body as AsyncIterable<Uint8Array>, sizeBytes: answer.ContentLength ?? 0 };
    } catch (error) {
      if (isMissing(error) || isBeyondEnd(error)) throw error;
      throw this.#fault(error, "reading a blob", signal);
    }
  }

  async #sign(work: () => Promise<string>): Promise<string> {
    try {
      return await work();
    } catch (error) {
      throw storeFault(error, "signing an address");
    }
  }

  async #putWhole(key: string, bytes: Uint8Array, sha256: string): Promise<void> {
    await this.#client.send(
      new PutObjectCommand({ ...this.#at(key), Body: bytes, ChecksumSHA256: base64Of(sha256) }),
    );
  }

  async #putParts(key: string, path: string, sizeBytes: number): Promise<void> {
    const body = createReadStream(path, { highWaterMark: MEBIBYTE });
    try {
      await new Upload({
        client: this.#client,
        params: { ...this.#at(key), Body: body, ChecksumAlgorithm: "SHA256" },
        partSize: Math.max(PART_BYTES, Math.ceil(sizeBytes / MOST_PARTS)),
        queueSize: PARTS_AT_ONCE,
      }).done();
    } finally {
      body.destroy();
    }
  }

  #at(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.#options.bucket, Key: this.#key(key) };
  }

  #key(key: string): string {
    const { prefix } = this.#options;
    return prefix === "" ? key : `${prefix}/${key}`;
  }

  #fault(error: unknown, doing: string, signal?: AbortSignal): unknown {
    if (signal?.aborted === true) return signal.reason;
    return storeFault(error, doing);
  }
}

function clientOf({ region, pathStyle, credentials }: BucketOptions, endpoint: string | null): S3Client {
  return new S3Client({
    region,
    ...(endpoint !== null && { endpoint }),
    ...(credentials !== undefined && { credentials }),
    forcePathStyle: pathStyle,
    maxAttempts: 3,
    // Only where it is asked for: other stores than AWS do not all know the newest checksums.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    requestHandler: {
      connectionTimeout: ANSWER_MILLIS,
      socketTimeout: SILENCE_MILLIS,
      httpAgent: { keepAlive: true, maxSockets: MOST_CONNECTIONS },
      httpsAgent: { keepAlive: true, maxSockets: MOST_CONNECTIONS },
    },
  });
}

function base64Of(sha256: string): string {
  return Buffer.from(sha256, "hex").toString("base64");
}

function abort(signal: AbortSignal | undefined): { abortSignal?: AbortSignal } {
  return signal === undefined ? {} : { abortSignal: signal };
}
