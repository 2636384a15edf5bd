import { CollectBlobs } from "./collect-blobs.ts";
import { DownloadBlob } from "./download-blob.ts";
import { GetBlob } from "./get-blob.ts";
import type { Parts } from "./parts.ts";
import { PresignedBlobs } from "./presigned-blobs.ts";
import { Removals } from "./removals.ts";
import { StoredBytes } from "./stored-bytes.ts";
import { UploadBlob } from "./upload-blob.ts";

export type ComposedBlobs = ReturnType<typeof composeBlobs>;

/** How blobs come, are read, and go when nobody needs them any more. */
export function composeBlobs({
  addresses,
  archives,
  blobs,
  clock,
  index,
  log,
  metrics,
  policy,
  quotas,
}: Parts) {
  const { maxUploadBytes } = policy;
  const unusedMillis = policy.defaultRetentionMillis;
  const storedBytes = new StoredBytes({ quotas, index });
  const presigned = new PresignedBlobs({
    blobs,
    index,
    archives,
    addresses,
    maxUploadBytes,
    storedBytes,
    log,
    clock,
  });
  const removals = new Removals({ log, clock });
  return {
    presigned,
    removals,
    storedBytes,
    upload: new UploadBlob({ blobs, index, archives, metrics, maxUploadBytes, storedBytes, clock }),
    collect: new CollectBlobs({ index, blobs, archives, removals, unusedMillis, clock }),
    get: new GetBlob({ blobs, index, archives, presigned, unusedMillis }),
    download: new DownloadBlob({ blobs, index: presigned }),
  };
}
