import { BlobFormat, type BlobServiceService } from "@longshore/proto/longshore/v1/blob_service.ts";
import type { Application } from "./application.ts";
import type { ServiceHandlers } from "./service-handlers.ts";
import { blobToProto, uploadFromProto } from "./translate/blob-to-proto.ts";
import { FieldCheck } from "./translate/field-check.ts";
import { int64 } from "./translate/to-wire.ts";
import { openUpload } from "./upload-parts.ts";

export function blobService(application: Application): ServiceHandlers<typeof BlobServiceService> {
  return {
    async getBlob(request, { caller }) {
      const check = new FieldCheck();
      const sha256 = check.digest("sha256", request.sha256);
      check.throwIfAny();
      return { blob: blobToProto(await application.getBlob(caller, sha256)) };
    },

    async uploadBlob(parts, { caller, signal }) {
      const { header, chunks } = await openUpload(parts);
      const check = new FieldCheck();
      const upload = uploadFromProto(header, "header", "required", check);
      check.throwIfAny();
      return { blob: blobToProto(await application.uploadBlob(caller, upload, chunks, signal)) };
    },

    async *downloadBlob(request, { caller, signal }) {
      const check = new FieldCheck();
      const sha256 = check.digest("sha256", request.sha256);
      const offset = check.size("offset_bytes", request.offsetBytes);
      check.throwIfAny();
      const chunks = application.downloadBlob(caller, sha256, offset, signal);
      for await (const { offset, chunk } of chunks) yield { offsetBytes: int64(offset), chunk };
    },

    async createUploadUrl(request, { caller }) {
      const check = new FieldCheck();
      const { url, headers, expireTime } = await application.createUploadUrl(caller, {
        sha256: check.digest("sha256", request.sha256),
        sizeBytes: check.size("size_bytes", request.sizeBytes),
        format: check.choice("format", BlobFormat, request.format),
        lifetimeMillis: check.duration("lifetime", request.lifetime, "above 0"),
        violations: check.violations,
      });
      return { url, headers: { ...headers }, expireTime };
    },

    async createDownloadUrl(request, { caller }) {
      const check = new FieldCheck();
      return await application.createDownloadUrl(caller, {
        sha256: check.digest("sha256", request.sha256),
        lifetimeMillis: check.duration("lifetime", request.lifetime, "above 0"),
        violations: check.violations,
      });
    },
  };
}
