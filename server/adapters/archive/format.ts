import { constants, gunzipSync } from "node:zlib";
import type { BlobFormat } from "../../domain/blob.ts";
import { looksLikeGzip } from "./gzip.ts";
import { looksLikeTar } from "./tar-header.ts";
import { looksLikeZip } from "./zip-ends.ts";

/** Holds the first block of any tar, and inflates to no more than 4 MiB. */
const PEEK_BYTES = 4096;

/** What the first bytes tell; a gzip counts only where a tar is inside, so that a dataset.csv.gz stays what it is. */
export function tellFormat(head: Uint8Array): BlobFormat {
  if (looksLikeZip(head)) return "ZIP";
  if (looksLikeTar(head)) return "TAR";
  return looksLikeGzip(head) && holdsTar(head.subarray(0, PEEK_BYTES)) ? "TAR_GZ" : "RAW";
}

function holdsTar(head: Uint8Array): boolean {
  try {
    return looksLikeTar(gunzipSync(head, { finishFlush: constants.Z_SYNC_FLUSH }));
  } catch {
    // Damaged before the first block: no tar can be told from it, whatever the damage is.
    return false;
  }
}
