import { InvalidRequest } from "#server/domain/errors.ts";

/** As agreed in the protos: large enough for speed, small enough for any client's message limit. */
const MAX_CHUNK_BYTES = 2 ** 20;

/** A message of SubmitTask or UploadBlob. */
interface UploadMessage<H> {
  readonly part:
    | { readonly $case: "header"; readonly value: H }
    | { readonly $case: "chunk"; readonly value: Uint8Array }
    | undefined;
}

export interface Upload<H> {
  readonly header: H;
  /** One reader; throws InvalidRequest when a message is out of order. */
  readonly chunks: AsyncIterable<Uint8Array>;
}

/** Takes the header off a stream of parts: header first and once, chunks after. */
export async function openUpload<H>(messages: AsyncIterable<UploadMessage<H>>): Promise<Upload<H>> {
  const iterator = messages[Symbol.asyncIterator]();
  const first = await iterator.next();
  if (first.done === true) throw wrong("header", "is missing: the stream ended before its first message");
  const { part } = first.value;
  if (part?.$case !== "header")
    throw wrong("header", "is missing: the first message must hold it, chunks come after");
  return { header: part.value, chunks: chunksOf({ [Symbol.asyncIterator]: () => iterator }) };
}

async function* chunksOf<H>(messages: AsyncIterable<UploadMessage<H>>): AsyncGenerator<Uint8Array> {
  let number = 1;
  for await (const { part } of messages) {
    number += 1;
    if (part === undefined)
      throw wrong("chunk", `is missing: message ${number} holds neither header nor chunk`);
    if (part.$case === "header")
      throw wrong("header", `came again in message ${number}; it goes into the first only`);
    const { length } = part.value;
    if (length > MAX_CHUNK_BYTES) {
      throw wrong("chunk", `of message ${number} has ${length} bytes; the most is ${MAX_CHUNK_BYTES}`);
    }
    if (length > 0) yield part.value;
  }
}

function wrong(field: string, description: string): InvalidRequest {
  return new InvalidRequest([{ field, description }]);
}
