import { type Blob, Blob_State, BlobServiceService } from "@longshore/proto/longshore/v1/blob_service";
import type { CallOptions, Channel } from "./channel.ts";
import { directAddress, readDirectly } from "./direct.ts";
import { type DownloadOptions, downloadTo } from "./download.ts";
import { NotFound } from "./errors.ts";
import { getBlob, type UploadOptions, uploadBlob } from "./upload.ts";
import { type BlobFormatName, bytesSource, fileSource } from "./upload-source.ts";

export type { Blob };

export interface BlobUploadOptions extends UploadOptions {
  /** How the server reads the bytes; "raw" takes any. */
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

  /** Uploads a file (by its path) or bytes. What is there already is not sent. */
  async upload(content: string | Uint8Array, options: BlobUploadOptions = {}): Promise<Blob> {
    const format = options.format ?? "raw";
    const source =
      typeof content === "string"
        ? await fileSource(content, format, options.signal)
        : bytesSource(content, format);
    return uploadBlob(this.#channel, source, options);
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
