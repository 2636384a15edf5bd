import {
  type Blob,
  Blob_State,
  BlobServiceService,
  type CreateDownloadUrlResponse as DownloadUrl,
  type CreateUploadUrlResponse as UploadUrl,
} from "@longshore/proto/longshore/v1/blob_service";
import type { CallOptions, Channel } from "./channel.ts";
import { directAddress, readDirectly } from "./direct.ts";
import { type DownloadOptions, downloadTo } from "./download.ts";
import { BadSource, NotFound } from "./errors.ts";
import { type DurationText, durationOption } from "./spec.ts";
import { getBlob, type UploadOptions, uploadBlob } from "./upload.ts";
import {
  type BlobFormatName,
  bytesSource,
  fileSource,
  formatNumber,
  whyUnreadable,
} from "./upload-source.ts";

export type { Blob, DownloadUrl, UploadUrl };

export interface BlobUploadOptions extends UploadOptions {
  /** How the server reads the bytes; "raw" takes any. */
  readonly format?: BlobFormatName;
}

export interface UrlOptions extends CallOptions {
  /** Such as "1h"; the server's default when left out. */
  readonly lifetime?: DurationText;
}

export interface UploadUrlOptions extends UrlOptions {
  /** How the server reads the bytes; "raw", which takes any, when left out. */
  readonly format?: BlobFormatName;
}

/** Bytes on the server, named by their sha256: datasets, archives. */
export class Blobs {
  readonly #channel: Channel;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** What the server has of a digest; a blob that is missing is an answer, not an error. */
  get(sha256: string, options: CallOptions = {}): Promise<Blob> {
    return getBlob(this.#channel, sha256, options);
  }

  /** Uploads a file (by its path) or bytes. What is there already is not sent. Throws BadSource for what cannot be read. */
  async upload(content: string | Uint8Array, options: BlobUploadOptions = {}): Promise<Blob> {
    const { format = "raw", signal } = options;
    // Before much is read for a format that is none.
    formatNumber(format);
    const source =
      typeof content === "string" ? await openFile(content, format, signal) : bytesSource(content, format);
    return uploadBlob(this.#channel, source, options);
  }

  /**
   * Makes an address in the server's store itself, for somebody else to PUT exactly these bytes to, with its headers. They
   * count once `get` says that they are stored. Where the store has no addresses (`presignedUrls` of the capabilities) the
   * code of the error is UNIMPLEMENTED, and `upload` goes the usual way.
   */
  createUploadUrl(sha256: string, sizeBytes: number, options: UploadUrlOptions = {}): Promise<UploadUrl> {
    const request = {
      sha256,
      sizeBytes: BigInt(sizeBytes),
      format: formatNumber(options.format ?? "raw"),
      lifetime: durationOption("lifetime", options.lifetime),
    };
    return this.#channel.unary(BlobServiceService.createUploadUrl, request, { ...options, retry: true });
  }

  /** Makes an address to GET a stored blob from, without a token, until it expires. */
  createDownloadUrl(sha256: string, options: UrlOptions = {}): Promise<DownloadUrl> {
    const request = { sha256, lifetime: durationOption("lifetime", options.lifetime) };
    return this.#channel.unary(BlobServiceService.createDownloadUrl, request, { ...options, retry: true });
  }

  /** Writes a blob to the file `destination` once its digest is checked. */
  async download(
    sha256: string,
    destination: string,
    options: CallOptions & DownloadOptions & { /** As of an upload. */ readonly direct?: boolean } = {},
  ): Promise<void> {
    const blob = await this.get(sha256, options);
    if (blob.state !== Blob_State.STORED) {
      throw new NotFound(`the server has no blob ${sha256}`, {
        code: "NOT_FOUND",
        reason: "NOT_FOUND",
        resourceType: "blob",
        resourceName: sha256,
      });
    }
    const url = options.direct === true ? await directAddress(this.#channel, sha256, options) : undefined;
    const open = (offset: number) => {
      if (url !== undefined) return readDirectly(url, offset, options);
      const request = { sha256, offsetBytes: BigInt(offset) };
      return this.#channel.serverStream(BlobServiceService.downloadBlob, request, options);
    };
    await downloadTo(destination, { sha256, sizeBytes: Number(blob.sizeBytes), open }, options);
  }
}

async function openFile(path: string, format: BlobFormatName, signal: AbortSignal | undefined) {
  try {
    return await fileSource(path, format, signal);
  } catch (error) {
    signal?.throwIfAborted();
    throw new BadSource(path, [{ path, problem: `cannot be read: ${whyUnreadable(error)}` }]);
  }
}
