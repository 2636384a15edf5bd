const SIZES = [
  ["TB", 2 ** 40],
  ["GB", 2 ** 30],
  ["MB", 2 ** 20],
  ["kB", 2 ** 10],
] as const;

/** "3.2 MB", in the units that the server reads: 1 MB is 2^20 bytes. */
export function formatBytes(bytes: number | bigint): string {
  const count = Number(bytes);
  for (const [unit, size] of SIZES) if (count >= size) return `${shorten(count / size)} ${unit}`;
  return count === 1 ? "1 byte" : `${count} bytes`;
}

function shorten(value: number): string {
  return value >= 100 ? String(Math.round(value)) : String(Number(value.toFixed(1)));
}

/** "1.2 s", "3 min 20 s", "2 h 5 min". */
export function formatMillis(millis: number): string {
  const seconds = millis / 1000;
  if (seconds < 1) return `${Math.round(millis)} ms`;
  if (seconds < 120) return `${Number(seconds.toFixed(1))} s`;
  if (seconds < 7200) return twoParts(seconds, 60, "min", 1, "s");
  if (seconds < 172_800) return twoParts(seconds, 3600, "h", 60, "min");
  return twoParts(seconds, 86_400, "d", 3600, "h");
}

function twoParts(
  seconds: number,
  large: number,
  largeUnit: string,
  small: number,
  smallUnit: string,
): string {
  const rest = Math.floor((seconds % large) / small);
  const whole = `${Math.floor(seconds / large)} ${largeUnit}`;
  return rest === 0 ? whole : `${whole} ${rest} ${smallUnit}`;
}

export function formatOrdinal(position: number): string {
  const tens = position % 100;
  const ending = tens >= 11 && tens <= 13 ? "th" : (["th", "st", "nd", "rd"][position % 10] ?? "th");
  return `${position}${ending}`;
}

export function formatCount(count: number, noun: string, ending = "s"): string {
  return `${count} ${noun}${count === 1 ? "" : ending}`;
}

/** Control and direction characters, which could move the cursor, change colours or reorder what a terminal shows. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the ones looked for
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Text of the server's or another user's, made safe to show: names and messages may hold anything. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => {
    if (character === "\n") return " ";
    const code = character.codePointAt(0) ?? 0;
    return code < 0x100
      ? `\\x${code.toString(16).padStart(2, "0")}`
      : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

/** Columns as wide as their widest cell, two spaces between them, nothing at the ends of lines. */
export function formatTable(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, cell.length);
    });
  }
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}
