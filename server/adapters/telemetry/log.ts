import { type DestinationStream, pino } from "pino";
import type { Log } from "../../domain/ports/telemetry.ts";

export type LogLevel = "debug" | "info" | "warn" | "error" | "silent";

export interface LogOptions {
  readonly level: LogLevel;
  /** Where the lines go; standard output when absent. */
  readonly destination?: DestinationStream;
}

/** One JSON object a line: time, level, message, and the facts without their secrets. */
export function createLog(options: LogOptions): Log {
  const settings = {
    level: options.level,
    base: null,
    messageKey: "message",
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  const logger = options.destination === undefined ? pino(settings) : pino(settings, options.destination);
  return {
    debug: (message, facts = {}) => logger.debug(printable(facts), message),
    info: (message, facts = {}) => logger.info(printable(facts), message),
    warn: (message, facts = {}) => logger.warn(printable(facts), message),
    error: (message, facts = {}) => logger.error(printable(facts), message),
  };
}

/** The line's own keys; a fact of the same name would make a second one, and readers take the last. */
const LINE_KEYS = new Set(["time", "level", "message"]);

const HIDDEN = "[hidden]";
/** Keys whose values are a user's own: what runs, with which variables and input. */
const PRIVATE_KEYS = new Set(["code", "env", "stdin", "cookie", "authorization", "args", "command"]);
/** A key that contains one of these holds a credential whatever else it says: refreshToken, x-api-key. */
const SECRET_PARTS = [
  "secret",
  "token",
  "password",
  "passwd",
  "authorization",
  "credential",
  "apikey",
  "privatekey",
];

const MAX_DEPTH = 8;
const MAX_ITEMS = 100;
const MAX_OBJECTS = 200;
const MAX_TEXT = 4_096;

function isSecret(key: string): boolean {
  const plain = key.toLowerCase().replace(/[^a-z0-9]/g, "");
  return PRIVATE_KEYS.has(plain) || SECRET_PARTS.some((part) => plain.includes(part));
}

/** A copy that JSON can hold: secrets hidden at any depth, sizes bounded, circles cut. It never throws at a log call. */
function printable(facts: Readonly<Record<string, unknown>>): Record<string, unknown> {
  try {
    return new Copier().fields(facts, 0);
  } catch (error) {
    // A getter or a proxy among the facts threw; the message must still be logged.
    return { unprintable: String(error) };
  }
}

class Copier {
  /** Objects that refer to each other often would otherwise grow with every level. */
  #objectsLeft = MAX_OBJECTS;

  fields(value: object, depth: number): Record<string, unknown> {
    const entries: Iterable<[unknown, unknown]> = value instanceof Map ? value : Object.entries(value);
    const copy: Record<string, unknown> = {};
    let count = 0;
    for (const [key, item] of entries) {
      count += 1;
      if (count > MAX_ITEMS) {
        copy["…"] = "more left out";
        break;
      }
      const name = depth === 0 && LINE_KEYS.has(String(key)) ? `fact.${key}` : String(key);
      // Not an assignment: "__proto__" would set the prototype and pass the value by.
      Object.defineProperty(copy, name, {
        value: isSecret(name) ? HIDDEN : this.#item(item, depth + 1),
        enumerable: true,
      });
    }
    return copy;
  }

  #item(value: unknown, depth: number): unknown {
    if (typeof value === "string") {
      return value.length <= MAX_TEXT ? value : `${value.slice(0, MAX_TEXT)}… (${value.length} characters)`;
    }
    if (typeof value === "bigint" || typeof value === "symbol") return String(value);
    if (typeof value !== "object" || value === null) return value;
    if (value instanceof Date) return Number.isNaN(value.getTime()) ? "invalid time" : value.toISOString();
    if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `[${value.byteLength} bytes]`;
    // Circles end here as well.
    if (depth >= MAX_DEPTH || this.#objectsLeft <= 0) return "[more]";
    this.#objectsLeft -= 1;
    if (value instanceof Error) return { ...this.#error(value, depth), ...this.fields(value, depth) };
    if (Array.isArray(value) || value instanceof Set) {
      const items = [...value];
      const shown = items.slice(0, MAX_ITEMS).map((item) => this.#item(item, depth + 1));
      return items.length > MAX_ITEMS ? [...shown, `… ${items.length - MAX_ITEMS} more`] : shown;
    }
    return this.fields(value, depth);
  }

  #error(error: Error, depth: number): Record<string, unknown> {
    return {
      type: error.name,
      message: this.#item(error.message, depth + 1),
      stack: this.#item(error.stack, depth + 1),
      ...(error.cause === undefined ? {} : { cause: this.#item(error.cause, depth + 1) }),
    };
  }
}
