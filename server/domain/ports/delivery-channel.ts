/** One try to tell an address of something. */
export interface Message {
  readonly id: string;
  readonly url: string;
  /** A CloudEvent as JSON. */
  readonly body: string;
  readonly time: Date;
  /** Each adds a signature; empty for mail. */
  readonly secrets: readonly string[];
}

/** What came of it. */
export interface Answer {
  /** 0 without an answer. */
  readonly statusCode: number;
  /** One sentence; empty when it arrived. */
  readonly error: string;
  /** Beginning of what was answered. */
  readonly response: string;
  /** The address asks for no more, ever. */
  readonly gone: boolean;
  /** The address asks for a pause; null when it says nothing. */
  readonly retryAfterMillis: number | null;
}

/** A way to reach addresses of one kind. */
export interface DeliveryChannel {
  /** What is wrong with an address by its form alone; undefined when nothing is. */
  problem(url: string): string | undefined;
  /** Bounded in time. Whatever goes wrong on the way is an answer; rejects only when `signal` aborts. */
  send(message: Message, signal: AbortSignal): Promise<Answer>;
}
