/** Reads a journal the way CONTRACT.md describes it, on purpose without the server's parser: two readings of one format. */
const magic = "LSJRNL01";
const frameHeader = 13;
const maxPayload = 1 << 20;

export const kinds = {
  1: "stdout",
  2: "stderr",
  3: "accepted",
  4: "stage",
  5: "gap",
  6: "end",
  8: "usage",
  9: "span",
} as const;
type Kind = (typeof kinds)[keyof typeof kinds];

export interface Frame {
  readonly kind: Kind;
  readonly micros: bigint;
  readonly payload: Buffer;
}

export interface End {
  readonly reason: string;
  readonly exit_code: number | null;
  readonly signal: number | null;
  readonly killer: string | null;
  readonly limit: string | null;
  readonly limit_value: number;
  readonly observed_peak: number;
  readonly process: string | null;
  readonly limits_hit: readonly string[];
  readonly message: string | null;
  readonly usage: Readonly<Record<string, number>>;
  readonly artifacts: { readonly count: number; readonly bytes: number; readonly error: string | null };
}

export interface Journal {
  readonly attemptId: string | undefined;
  readonly frames: readonly Frame[];
  /** Bytes of a frame that is not whole yet. */
  readonly rest: number;
}

export function readJournal(data: Buffer): Journal {
  if (data.length === 0) return { attemptId: undefined, frames: [], rest: 0 };
  if (data.toString("latin1", 0, magic.length) !== magic)
    throw new Error("the journal does not begin with its magic");
  const idEnd = magic.length + 2 + data.readUInt16BE(magic.length);
  const frames: Frame[] = [];
  let offset = idEnd;
  while (offset + frameHeader <= data.length) {
    const length = data.readUInt32BE(offset);
    if (length > maxPayload) throw new Error(`a frame of ${length} bytes at ${offset}`);
    const end = offset + frameHeader + length;
    if (end > data.length) break;
    frames.push({
      kind: kindOf(data.readUInt8(offset + 4)),
      micros: data.readBigUInt64BE(offset + 5),
      payload: data.subarray(offset + frameHeader, end),
    });
    offset = end;
  }
  return { attemptId: data.toString("ascii", magic.length + 2, idEnd), frames, rest: data.length - offset };
}

function kindOf(number: number): Kind {
  const known: Readonly<Record<number, Kind | undefined>> = kinds;
  const kind = known[number];
  if (kind === undefined) throw new Error(`a frame of unknown kind ${number}`);
  return kind;
}

export function bytesOf(journal: Journal, kind: "stdout" | "stderr"): Buffer {
  return Buffer.concat(journal.frames.filter((frame) => frame.kind === kind).map((frame) => frame.payload));
}

export function recordsOf(journal: Journal, kind: "stage" | "usage" | "accepted"): unknown[] {
  return journal.frames
    .filter((frame) => frame.kind === kind)
    .map((frame) => JSON.parse(frame.payload.toString("utf8")));
}

/** How many bytes the gaps say were dropped. */
export function gapBytes(journal: Journal): number {
  const gaps: { bytes: number }[] = journal.frames
    .filter((frame) => frame.kind === "gap")
    .map((frame) => JSON.parse(frame.payload.toString("utf8")));
  return gaps.reduce((total, gap) => total + gap.bytes, 0);
}

/** The end frame, which must be the last one. */
export function endOf(journal: Journal): End {
  const last = journal.frames.at(-1);
  if (last?.kind !== "end" || journal.rest > 0)
    throw new Error(`the journal has no end: ${outline(journal)}`);
  const end: End = JSON.parse(last.payload.toString("utf8"));
  return end;
}

export function outline(journal: Journal): string {
  const frames = journal.frames.map(
    (frame) => `${frame.kind} ${frame.payload.toString("utf8").slice(0, 300)}`,
  );
  return `${frames.length} frames\n${frames.slice(-12).join("\n")}`;
}
