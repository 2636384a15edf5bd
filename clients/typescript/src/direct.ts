import { type IncomingMessage, request as overHttp, type RequestOptions } from "node:http";
import { request as overHttps } from "node:https";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { BlobServiceService } from "@longshore/proto/longshore/v1/blob_service";
import type { CallOptions, Channel } from "./channel.ts";
import { DigestMismatch, LongshoreError, Unavailable } from "./errors.ts";
import { formatNumber, type UploadSource } from "./upload-source.ts";

/** Long enough for whatever one request may carry. */
const LIFETIME = { seconds: 3600n, nanos: 0 };
/** A store that says nothing for so long is taken for gone. */
const SILENCE_MILLIS = 60_000;

/**
 * Sends all bytes to an address of the store itself; false where the server's store has none. Afterwards the server has to be
 * asked for what became of them.
 */
export async function putDirectly(
  channel: Channel,
  source: UploadSource,
  options: CallOptions,
  onSent: (bytes: number) => void,
): Promise<boolean> {
  const { sha256, sizeBytes } = source;
  const asked = {
    sha256,
    sizeBytes: BigInt(sizeBytes),
    format: formatNumber(source.format),
    lifetime: LIFETIME,
  };
  const address = await unlessUnsupported(
    channel.unary(BlobServiceService.createUploadUrl, asked, { ...options, retry: true }),
  );
  if (address === undefined) return false;
  const headers = { ...address.headers, "content-length": String(sizeBytes) };
  const body = Readable.from(counted(source.read(0), onSent));
  const { status } = await inWords(options, async () => {
    const answer = await send(address.url, { method: "PUT", headers }, options.signal, body);
    // Read to its end, or the connection would stay open for it.
    for await (const _ of answer);
    return { status: answer.statusCode ?? 0 };
  });
  if (status >= 200 && status < 300) return true;
  if (status >= 500 || status === 429) throw away(`answered with status ${status}`);
  throw new DigestMismatch(
    `the store of blobs refused the bytes of ${sha256} with status ${status}; they changed while they were sent, or something on the way changed the request`,
    { code: "INVALID_ARGUMENT" },
  );
}

/** An address of the store itself to read a blob from; undefined where it has none. */
export async function directAddress(
  channel: Channel,
  sha256: string,
  options: CallOptions,
): Promise<string | undefined> {
  const asked = { sha256, lifetime: LIFETIME };
  const answer = await unlessUnsupported(
    channel.unary(BlobServiceService.createDownloadUrl, asked, { ...options, retry: true }),
  );
  return answer?.url;
}

/** The same messages as DownloadBlob's, read over HTTP. */
export async function* readDirectly(
  url: string,
  offset: number,
  options: CallOptions,
): AsyncGenerator<{ chunk: Uint8Array; offsetBytes: bigint }, void, undefined> {
  const headers: Record<string, string> = offset === 0 ? {} : { range: `bytes=${offset}-` };
  const answer = await inWords(options, () => send(url, { headers }, options.signal));
  try {
    const status = answer.statusCode ?? 0;
    if (status !== 200 && status !== 206) throw away(`answered with status ${status}`);
    let position = offset;
    const chunks: AsyncIterator<Uint8Array> = answer[Symbol.asyncIterator]();
    for (;;) {
      const next = await inWords(options, () => chunks.next());
      if (next.done === true) return;
      yield { chunk: next.value, offsetBytes: BigInt(position) };
      position += next.value.length;
    }
  } finally {
    answer.destroy();
  }
}

/** Not fetch: Node's fails an assertion that nobody can catch when a server closes a connection that is being read slowly. */
async function send(
  url: string,
  options: RequestOptions,
  signal: AbortSignal | undefined,
  body?: Readable,
): Promise<IncomingMessage> {
  const open = url.startsWith("https:") ? overHttps : overHttp;
  const call = open(url, {
    ...options,
    agent: false,
    timeout: SILENCE_MILLIS,
    ...(signal !== undefined && { signal }),
  });
  call.on("timeout", () => call.destroy(new Error(`no word for ${SILENCE_MILLIS / 1000} s`)));
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    call.once("response", resolve);
    call.once("error", reject);
  });
  if (body === undefined) {
    call.end();
    return await answered;
  }
  // A store that refuses early answers and closes before it has read everything: the answer says more than the broken pipe.
  const sent = pipeline(body, call).catch((error: unknown) => error);
  return await answered.catch(async (error: unknown) => {
    throw (await sent) ?? error;
  });
}

/** Failures of the way as errors that an upload or download waits out. */
async function inWords<T>(options: CallOptions, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    options.signal?.throwIfAborted();
    if (error instanceof LongshoreError) throw error;
    throw away(`broke off: ${error instanceof Error ? error.message : String(error)}`, error);
  }
}

function away(what: string, cause?: unknown): Unavailable {
  return new Unavailable(`the store of blobs ${what}`, { code: "UNAVAILABLE", reason: "UNAVAILABLE", cause });
}

async function unlessUnsupported<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof LongshoreError && error.code === "UNIMPLEMENTED") return undefined;
    throw error;
  }
}

async function* counted(
  chunks: AsyncIterable<Uint8Array>,
  onSent: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  let sent = 0;
  for await (const chunk of chunks) {
    yield chunk;
    sent += chunk.length;
    onSent(sent);
  }
}
