import { randomUUID } from "node:crypto";
import type { ArchiveManifest, BlobFormat, BlobRecord } from "../domain/blob.ts";
import {
  BadArchive,
  DigestMismatch,
  type FieldViolation,
  InvalidRequest,
  StoreAway,
  Unavailable,
  WrongOffset,
} from "../domain/errors.ts";
import type { ArchiveReader } from "../domain/ports/archive-reader.ts";
import type { BlobIndex, BlobStore, StagedBlob } from "../domain/ports/blob-store.ts";
import type { Metrics } from "../domain/ports/metrics.ts";
import { formatRefusal, parseRefusal } from "../domain/refusal.ts";
import { isSha256 } from "../domain/sha256.ts";
import { Intake } from "./intake.ts";
import { RecheckArchive } from "./recheck-archive.ts";
import type { StorageRoom, StoredBytes } from "./stored-bytes.ts";
import { untilAborted } from "./until-aborted.ts";

const MAX_CHUNK_BYTES = 2 ** 20;

/** What a client says before the bytes. */
export interface UploadHeader {
  /** Lower-case hex digest; empty where the client does not know it, then nothing resumes. */
  readonly sha256: string;
  /** 0 means unknown, then nothing resumes. */
  readonly sizeBytes: number;
  /** Must equal the bytes committed so far. */
  readonly offsetBytes: number;
  /** Null: told by the first bytes. */
  readonly format: BlobFormat | null;
}

export interface Upload {
  readonly tenant: string;
  readonly header: UploadHeader;
  /** A project must be an archive and may come without a digest; any other blob has a digest and may be raw bytes. */
  readonly purpose: "project" | "blob";
}

export interface UploadedBlob {
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly format: BlobFormat;
  readonly manifest: ArchiveManifest | null;
  /** Bytes that this upload sent; 0 when everything was here. */
  readonly receivedBytes: number;
}

export interface UploadDependencies {
  readonly blobs: BlobStore;
  readonly index: BlobIndex;
  readonly archives: ArchiveReader;
  readonly metrics: Metrics;
  readonly maxUploadBytes: number;
  readonly storedBytes: StoredBytes;
  readonly clock: () => Date;
}

/** Where a tenant's unfinished upload is staged; tenants never share one, or knowing a digest would show another's progress. */
export function stageKey(tenant: string, sha256: string): string {
  return `${sha256} ${tenant}`;
}

/** Everything wrong with a header, with the proto paths of the request it came in. */
export function headerViolations(
  { header, purpose }: Pick<Upload, "header" | "purpose">,
  maxUploadBytes: number,
): FieldViolation[] {
  const { sha256, sizeBytes, offsetBytes, format } = header;
  const path = purpose === "project" ? "header.archive" : "header";
  const violations: FieldViolation[] = [];
  const say = (field: string, description: string) =>
    violations.push({ field: `${path}.${field}`, description });
  if (sha256 === "" ? purpose === "blob" : !isSha256(sha256)) {
    say("sha256", "must be the SHA-256 of the bytes, as 64 lower-case hex digits");
  }
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) {
    say("size_bytes", "must be the number of bytes, or 0 where it is not known");
  } else if (sizeBytes > maxUploadBytes) {
    say("size_bytes", `is ${sizeBytes}; at most ${maxUploadBytes} bytes can be uploaded`);
  }
  if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 0) {
    say("offset_bytes", "must be the committed_bytes that GetBlob tells, 0 for a new upload");
  } else if (offsetBytes > 0 && (sha256 === "" || sizeBytes === 0)) {
    say(
      "offset_bytes",
      "an upload goes on only where both sha256 and size_bytes are given; send everything from 0",
    );
  }
  if (format === "RAW" && purpose === "project")
    say("format", "a project is a tar, a tar.gz or a zip, not raw bytes");
  return violations;
}

/** Receives bytes once, however often and in however many pieces they are sent; archives count as stored only when accepted. */
export class UploadBlob {
  readonly #blobs: BlobStore;
  readonly #index: BlobIndex;
  readonly #archives: ArchiveReader;
  readonly #metrics: Metrics;
  readonly #maxUploadBytes: number;
  readonly #storedBytes: StoredBytes;
  readonly #clock: () => Date;
  readonly #rechecks: RecheckArchive;

  constructor({ blobs, index, archives, metrics, maxUploadBytes, storedBytes, clock }: UploadDependencies) {
    this.#blobs = blobs;
    this.#index = index;
    this.#archives = archives;
    this.#metrics = metrics;
    this.#maxUploadBytes = maxUploadBytes;
    this.#storedBytes = storedBytes;
    this.#clock = clock;
    this.#rechecks = new RecheckArchive({ blobs, archives });
  }

  /** Settles as soon as the answer is known; `chunks` is then left unread. */
  async execute(
    upload: Upload,
    chunks: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<UploadedBlob> {
    const violations = headerViolations(upload, this.#maxUploadBytes);
    if (violations.length > 0) throw new InvalidRequest(violations);
    const { tenant, header, purpose } = upload;
    const known = header.sha256 === "" ? undefined : await this.#known(upload, signal);
    if (known !== undefined) return known;
    using room = await this.#storedBytes.take(tenant, header.sizeBytes);

    const isResumable = header.sha256 !== "" && header.sizeBytes > 0;
    const key = isResumable ? stageKey(tenant, header.sha256) : randomUUID();
    await using staged = await this.#blobs.stage(key);
    await using intake = new Intake({
      archives: this.#archives,
      declared: header.format,
      mustBeArchive: purpose === "project",
      upload: staged.path,
    });
    try {
      const receivedBytes = await this.#receive(upload, room, staged, intake, chunks, signal);
      return { ...(await this.#store(upload, staged, intake, signal)), receivedBytes };
    } catch (error) {
      if (isResumable && !spoilsStaged(error)) await staged.commit();
      else await staged.discard();
      throw error;
    }
  }

  /** The answer that needs no bytes: stored for this tenant, or refused before. What other tenants sent does not count. */
  async #known({ tenant, header, purpose }: Upload, signal: AbortSignal): Promise<UploadedBlob | undefined> {
    const { sha256, format } = header;
    const record = await this.#index.find(tenant, sha256);
    if (record === undefined) return undefined;
    if (record.state === "REFUSED") {
      const isSameQuestion = format === null || format === record.format;
      if (isSameQuestion && record.validatorVersion === this.#archives.version)
        throw parseRefusal(record.refusal);
      return undefined;
    }
    const sizeBytes = await this.#blobs.size(sha256);
    if (sizeBytes === undefined) return undefined;
    // False when it was collected between the look and now: then the bytes are asked for after all.
    if (!(await this.#index.touch(tenant, sha256, this.#clock()))) return undefined;
    const answer = { sha256, sizeBytes, receivedBytes: 0 };
    const fits = format === null ? purpose === "blob" || record.format !== "RAW" : format === record.format;
    const isChecked =
      record.format === "RAW" ||
      (record.validatorVersion === this.#archives.version &&
        (await this.#archives.canonicalTar(sha256)) !== undefined);
    if (format === "RAW" || (fits && isChecked)) {
      return { ...answer, format: record.format, manifest: record.manifest };
    }
    try {
      const checked = await this.#rechecks.recheck(sha256, fits ? record.format : format, signal);
      await this.#index.put({ ...record, ...checked, validatorVersion: this.#archives.version });
      return { ...answer, ...checked };
    } catch (error) {
      // Bytes that were stored as something else stay stored as that.
      if (error instanceof BadArchive && fits) await this.#index.put(this.#refused(record, error));
      throw error;
    }
  }

  async #receive(
    { tenant, header }: Upload,
    room: StorageRoom,
    staged: StagedBlob,
    intake: Intake,
    chunks: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<number> {
    const start = staged.committedBytes;
    const most = header.sizeBytes > 0 ? header.sizeBytes : this.#maxUploadBytes;
    if (start > most) throw tooManyBytes(header.sizeBytes, start);
    if (header.offsetBytes !== start) throw new WrongOffset(header.offsetBytes, start);
    try {
      for await (const chunk of untilAborted(staged.read(), signal)) await intake.take(chunk);
      for await (const chunk of untilAborted(chunks, signal)) {
        if (chunk.length > MAX_CHUNK_BYTES) throw chunkTooLong(chunk.length);
        if (chunk.length === 0) continue;
        this.#metrics.count("longshore.upload.received", {}, chunk.length);
        if (staged.committedBytes + chunk.length > most)
          throw this.#tooLong(header, staged.committedBytes + chunk.length);
        room.require(staged.committedBytes + chunk.length);
        await bothSettled(staged.append(chunk), intake.take(chunk));
      }
    } catch (error) {
      // An archive may break a rule long before its digest is known; only the digest of all its bytes can be refused for good.
      if (
        error instanceof BadArchive &&
        intake.bytes === header.sizeBytes &&
        intake.digest() === header.sha256
      ) {
        await this.#rememberRefusal(tenant, header.sha256, intake, error);
      }
      throw error;
    }
    return staged.committedBytes - start;
  }

  async #store(
    { tenant, header }: Upload,
    staged: StagedBlob,
    intake: Intake,
    signal: AbortSignal,
  ): Promise<Omit<UploadedBlob, "receivedBytes">> {
    const sizeBytes = intake.bytes;
    const sha256 = intake.digest();
    if (header.sizeBytes > 0 && sizeBytes !== header.sizeBytes) {
      throw new DigestMismatch(
        `${sizeBytes} bytes came where size_bytes announced ${header.sizeBytes}; what came was removed: send everything again`,
      );
    }
    if (header.sha256 !== "" && sha256 !== header.sha256) {
      throw new DigestMismatch(
        `the bytes have the SHA-256 ${sha256}, not ${header.sha256}; what came was removed: check the digest and send everything again`,
      );
    }
    const format = () => intake.format ?? "RAW";
    try {
      await using archive = await intake.finish(staged.path, signal);
      if (archive !== undefined) {
        // What is kept may be these very bytes.
        await staged.commit();
        await archive.keep(sha256);
      }
      await staged.promote(sha256);
      const manifest = archive?.manifest ?? null;
      const time = this.#clock();
      await this.#index.put({
        tenant,
        sha256,
        sizeBytes,
        format: format(),
        state: "STORED",
        refusal: "",
        validatorVersion: this.#archives.version,
        createTime: time,
        useTime: time,
        manifest,
      });
      return { sha256, sizeBytes, format: format(), manifest };
    } catch (error) {
      if (error instanceof BadArchive) await this.#rememberRefusal(tenant, sha256, intake, error);
      throw error;
    }
  }

  async #rememberRefusal(tenant: string, sha256: string, intake: Intake, error: BadArchive): Promise<void> {
    const earlier = await this.#index.find(tenant, sha256);
    // Refused as an archive, the same bytes may still be stored as a dataset that tasks read.
    if (earlier?.state === "STORED" && (await this.#blobs.size(sha256)) !== undefined) return;
    const { bytes: sizeBytes, format = "RAW" } = intake;
    await this.#index.put(
      this.#refused({ tenant, sha256, sizeBytes, format, createTime: this.#clock() }, error),
    );
  }

  #refused(
    about: Pick<BlobRecord, "tenant" | "sha256" | "sizeBytes" | "format" | "createTime">,
    error: BadArchive,
  ): BlobRecord {
    return {
      ...about,
      useTime: this.#clock(),
      state: "REFUSED",
      refusal: formatRefusal(error),
      validatorVersion: this.#archives.version,
      manifest: null,
    };
  }

  #tooLong(header: UploadHeader, bytes: number): Error {
    if (header.sizeBytes > 0) return tooManyBytes(header.sizeBytes, bytes);
    const description = `more than the ${this.#maxUploadBytes} bytes that can be uploaded were sent`;
    return new InvalidRequest([{ field: "header.size_bytes", description }]);
  }
}

/** What was staged can be of no use, or must make room, after these; anything else may be gone on from. */
function spoilsStaged(error: unknown): boolean {
  const isFull = error instanceof Unavailable && !(error instanceof StoreAway);
  return error instanceof BadArchive || error instanceof DigestMismatch || isFull;
}

function tooManyBytes(announced: number, bytes: number): DigestMismatch {
  return new DigestMismatch(
    `${bytes} bytes came where size_bytes announced ${announced}; what came was removed: send everything again`,
  );
}

function chunkTooLong(bytes: number): InvalidRequest {
  return new InvalidRequest([
    { field: "chunk", description: `has ${bytes} bytes; a chunk has at most ${MAX_CHUNK_BYTES}` },
  ]);
}

/** Both must be over before either's failure lets go of what they work on. */
async function bothSettled(first: Promise<void>, second: Promise<void>): Promise<void> {
  const [a, b] = await Promise.allSettled([first, second]);
  // A fault of the archive explains more than a store that failed at the same time.
  if (b.status === "rejected") throw b.reason;
  if (a.status === "rejected") throw a.reason;
}
