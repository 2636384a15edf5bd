import { setTimeout as delay } from "node:timers/promises";
import { LongshoreError } from "@longshore/client";

const PAUSE_MILLIS = 100;

/** Asks a server that is being killed and started again until it answers; calls must be safe to repeat. */
export async function untilAnswered<T>(call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof LongshoreError) || !["UNAVAILABLE", "ABORTED"].includes(error.code)) throw error;
    }
    await delay(PAUSE_MILLIS);
  }
}
