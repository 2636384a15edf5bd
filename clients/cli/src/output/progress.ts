import type { Progress } from "@longshore/client";
import { formatBytes, formatCount, printable } from "./format.ts";
import { statusLine } from "./status-line.ts";
import type { Terminal } from "./terminal.ts";

const BAR_CELLS = 20;
/** Terminals are slow, and nobody reads faster. */
const REDRAW_MILLIS = 80;
const WORTH_ANNOUNCING_BYTES = 16 * 2 ** 20;

/** Shows packing and uploading: a bar on a terminal, a line at each end without one. */
export class ProgressView {
  readonly #terminal: Terminal;
  readonly #name: string;
  #drawn = 0;
  #announced = false;

  constructor(terminal: Terminal, name: string) {
    this.#terminal = terminal;
    this.#name = printable(name);
  }

  show(progress: Progress): void {
    const line = progress.phase === "packing" ? this.#packing(progress) : this.#uploading(progress);
    if (progress.done) {
      this.#terminal.note(line);
      return;
    }
    if (!this.#terminal.rewritable) {
      this.#announce(progress);
      return;
    }
    const now = performance.now();
    if (now - this.#drawn < REDRAW_MILLIS) return;
    this.#drawn = now;
    this.#terminal.status(line);
  }

  /** Without a terminal, only what takes a while is told before it is done. */
  #announce(progress: Progress): void {
    if (this.#announced || progress.phase !== "uploading") return;
    this.#announced = true;
    const left = progress.totalBytes - progress.bytes;
    if (left >= WORTH_ANNOUNCING_BYTES) this.#terminal.note(statusLine("uploading", formatBytes(left)));
  }

  #packing({ files, bytes }: Progress & { phase: "packing" }): string {
    return statusLine("packing", `${this.#name}  ${formatCount(files, "file")}, ${formatBytes(bytes)}`);
  }

  #uploading(progress: Progress & { phase: "uploading" }): string {
    const { bytes, totalBytes, storedBefore, done } = progress;
    const name = progress.name === undefined ? "" : `${printable(progress.name)}  `;
    if (done && storedBefore === totalBytes) {
      return statusLine("uploading", `${name}nothing to send, the server has all ${formatBytes(totalBytes)}`);
    }
    const share = totalBytes === 0 ? 1 : bytes / totalBytes;
    const full = Math.round(share * BAR_CELLS);
    const bar = this.#terminal.rewritable ? `${"█".repeat(full)}${"░".repeat(BAR_CELLS - full)} ` : "";
    const before = storedBefore > 0 ? ` (${formatBytes(storedBefore)} were there already)` : "";
    const figures = `${formatBytes(bytes)} of ${formatBytes(totalBytes)}`;
    return statusLine("uploading", `${name}${bar}${figures}${done ? "  done" : ""}${before}`);
  }
}
