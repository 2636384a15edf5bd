import { setTimeout as delay } from "node:timers/promises";
import { Unavailable } from "../domain/errors.ts";

const FIRST_PAUSE_MILLIS = 50;
const LONGEST_PAUSE_MILLIS = 5_000;

/**
 * Repeats `attempt` while what it needs is away: for what has happened already and must be recorded or undone, so that giving up
 * would lose it. Any other error is thrown as it is; rejects when `signal` aborts in a pause.
 */
export async function untilAvailable<T>(
  attempt: () => Promise<T>,
  signal: AbortSignal,
  onRefusal: (error: Unavailable) => void,
): Promise<T> {
  for (let pause = FIRST_PAUSE_MILLIS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MILLIS)) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      onRefusal(error);
    }
    // A full disk or a daemon that restarts tells nobody when it is back.
    await delay(pause, undefined, { signal });
  }
}
