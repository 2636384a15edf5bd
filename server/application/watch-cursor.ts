import { BadCursor } from "../domain/errors.ts";

/**
 * Where a watch goes on: which version of the record was last sent, and the place in the journal of an attempt. A place
 * inside a frame is kept as the frame's start and the bytes of its payload that were sent. The streams' totals at the frame's
 * start travel along, so that offsets go on without reading the journal from its beginning.
 */
export interface WatchCursor {
  readonly version: number;
  readonly attempt: number;
  readonly frame: number;
  readonly skip: number;
  readonly stdout: number;
  readonly stderr: number;
  readonly build: number;
}

export const START: WatchCursor = {
  version: 0,
  attempt: 1,
  frame: 0,
  skip: 0,
  stdout: 0,
  stderr: 0,
  build: 0,
};

const FORMAT = "1";

export function encodeCursor(cursor: WatchCursor): string {
  const { version, attempt, frame, skip, stdout, stderr, build } = cursor;
  return [FORMAT, version, attempt, frame, skip, stdout, stderr, build]
    .map((part) => part.toString(36))
    .join("-");
}

/** Throws BadCursor. */
export function decodeCursor(text: string): WatchCursor {
  const parts = text.split("-");
  const numbers = parts
    .slice(1)
    .map((part) => (/^[0-9a-z]{1,11}$/.test(part) ? Number.parseInt(part, 36) : Number.NaN));
  const [version, attempt, frame, skip, stdout, stderr, build] = numbers;
  if (
    parts[0] !== FORMAT ||
    numbers.length !== 7 ||
    !numbers.every((number) => Number.isSafeInteger(number)) ||
    version === undefined ||
    attempt === undefined ||
    attempt < 1 ||
    frame === undefined ||
    skip === undefined ||
    stdout === undefined ||
    stderr === undefined ||
    build === undefined
  ) {
    throw new BadCursor("the cursor is not one of this server; watch again without a cursor");
  }
  return { version, attempt, frame, skip, stdout, stderr, build };
}
