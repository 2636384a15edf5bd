import { setTimeout as delay } from "node:timers/promises";
import { EXPORT_MILLIS } from "./otlp-settings.ts";

/** Waits for what is being sent, but not for a collector that is away: that must not change how the server stops. */
export async function boundedClose(shutdown: () => Promise<void>): Promise<void> {
  const stopWaiting = new AbortController();
  const sent = shutdown().catch(() => {
    // The collector is away, and nobody is left to hear of it.
  });
  const deadline = delay(EXPORT_MILLIS, undefined, { signal: stopWaiting.signal }).catch(() => {
    // Everything was sent before.
  });
  await Promise.race([sent, deadline]);
  stopWaiting.abort();
}
