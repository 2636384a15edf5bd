import { isUtf8 } from "node:buffer";
import type { LogOutput } from "#server/domain/task-event.ts";

/** Output on its way out: text when it is whole UTF-8 characters, bytes otherwise. */
export type LogPiece = Pick<LogOutput, "cursor" | "time" | "stream" | "attempt" | "offset"> &
  ({ readonly text: string } | { readonly data: Uint8Array });

/** The first bytes of a character whose rest has not come yet. */
interface Held {
  readonly from: LogOutput;
  readonly bytes: Uint8Array;
  readonly offset: number;
  /** A watch that goes on here gets the bytes again. */
  readonly cursorBefore: string;
}

/**
 * Cuts output between characters. A character whose bytes come in two events of one stream is held back until it is whole, and
 * no cursor that is handed out meanwhile skips the held bytes. One linear cursor cannot say "this stream up to here, the other
 * one further", so output of another stream, attempt or place first lets the held bytes go, as data.
 */
export class TextCutter {
  #held: Held | undefined;

  push(event: LogOutput): LogPiece[] {
    const pieces = this.#held !== undefined && !follows(this.#held, event) ? this.flush() : [];
    const held = this.#held;
    this.#held = undefined;
    const bytes = held === undefined ? event.data : Buffer.concat([held.bytes, event.data]);
    const carried = held?.bytes.length ?? 0;
    const offset = event.offset - carried;

    const piece = (start: number, end: number): LogPiece => {
      const content = bytes.subarray(start, end);
      const { time, stream, attempt } = event;
      const place = { cursor: event.cursorAt(end - carried), time, stream, attempt, offset: offset + start };
      return isUtf8(content)
        ? { ...place, text: Buffer.from(content.buffer, content.byteOffset, content.length).toString("utf8") }
        : { ...place, data: content };
    };

    // The rest of a character whose beginning went out before, in this watch or an earlier one.
    const start = held === undefined ? continuationBytes(bytes) : 0;
    const end = bytes.length - incompleteBytes(bytes.subarray(start));
    if (start > 0) pieces.push(piece(0, start));
    if (end > start) pieces.push(piece(start, end));
    if (end < bytes.length) {
      // A held character never ends inside what was carried: its first byte is at 0 or in the new data.
      const cursorBefore =
        end === 0 && held !== undefined ? held.cursorBefore : event.cursorAt(end - carried);
      this.#held = { from: event, bytes: bytes.slice(end), offset: offset + end, cursorBefore };
    }
    return pieces;
  }

  /** Lets go of held bytes because the character will not become whole. */
  flush(): LogPiece[] {
    const held = this.#held;
    if (held === undefined) return [];
    this.#held = undefined;
    const { cursor, time, stream, attempt } = held.from;
    return [{ cursor, time, stream, attempt, offset: held.offset, data: held.bytes }];
  }

  /** What an event without output must carry as its cursor: never one that skips held bytes. */
  cursorOf(event: { readonly cursor: string }): string {
    return this.#held?.cursorBefore ?? event.cursor;
  }
}

function follows(held: Held, event: LogOutput): boolean {
  return (
    held.from.stream === event.stream &&
    held.from.attempt === event.attempt &&
    held.offset + held.bytes.length === event.offset
  );
}

/** How many bytes at the start continue a character, at most 3. */
function continuationBytes(bytes: Uint8Array): number {
  let count = 0;
  while (count < 3 && isContinuation(bytes[count])) count += 1;
  return count;
}

/** How many bytes at the end begin a character that is not whole. */
function incompleteBytes(bytes: Uint8Array): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back += 1) {
    const byte = bytes[bytes.length - back];
    if (!isContinuation(byte)) return characterLength(byte) > back ? back : 0;
  }
  return 0;
}

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}

/** Bytes of the character that this first byte begins; 1 for what begins none. */
function characterLength(byte: number | undefined): number {
  if (byte === undefined || byte < 0xc2 || byte > 0xf4) return 1;
  if (byte < 0xe0) return 2;
  return byte < 0xf0 ? 3 : 4;
}
