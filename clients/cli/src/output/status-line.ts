const LABEL_WIDTH = 12;

/** A label and what it says, in line with all others. */
export function statusLine(label: string, text: string): string {
  return `${label.padEnd(LABEL_WIDTH)}${text}`.trimEnd();
}

/** A second line below a status line. */
export function continuation(text: string): string {
  return `${" ".repeat(LABEL_WIDTH)}${text}`;
}
