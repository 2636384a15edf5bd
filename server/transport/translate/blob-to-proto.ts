import {
  Blob_State,
  BlobFormat,
  type Blob as WireBlob,
  type UploadHeader as WireUploadHeader,
} from "@longshore/proto/longshore/v1/blob_service.ts";
import type { BlobStatus, UploadHeader } from "../application.ts";
import type { FieldCheck } from "./field-check.ts";
import { int64 } from "./to-wire.ts";

export function blobToProto(blob: BlobStatus): WireBlob {
  return {
    sha256: blob.sha256,
    state: Blob_State[blob.state],
    sizeBytes: int64(blob.sizeBytes),
    committedBytes: int64(blob.committedBytes),
    format: BlobFormat[blob.format ?? "UNSPECIFIED"],
    refusal: blob.refusal,
    expireTime: blob.expireTime ?? undefined,
  };
}

/** `path` is the header's own name in its request; without a digest nothing can resume, so an offset is refused. */
export function uploadFromProto(
  header: WireUploadHeader,
  path: string,
  digest: "required" | "optional",
  check: FieldCheck,
): UploadHeader {
  if (digest === "required" || header.sha256 !== "") check.digest(`${path}.sha256`, header.sha256);
  const sizeBytes = check.size(`${path}.size_bytes`, header.sizeBytes);
  const offsetBytes = check.size(`${path}.offset_bytes`, header.offsetBytes);
  if (offsetBytes > 0 && header.sha256 === "") {
    check.add(`${path}.offset_bytes`, "needs sha256: only an upload with a digest can be resumed");
  }
  if (sizeBytes > 0 && offsetBytes > sizeBytes) {
    check.add(`${path}.offset_bytes`, `${offsetBytes} lies beyond size_bytes ${sizeBytes}`);
  }
  return {
    sha256: header.sha256,
    sizeBytes,
    offsetBytes,
    format: check.choice(`${path}.format`, BlobFormat, header.format),
  };
}
