import { setTimeout as delay } from "node:timers/promises";
import type { Longshore } from "@longshore/client";
import type { RunningServer } from "../support/running-server.ts";

/**
 * Until the server has taken away what the last task left and has made what the next may find warm: with `docker run --rm` the
 * removal is in its time, and here it would be in that of whatever is measured next. What it costs is in case (e).
 */
export async function untilQuiet(client: Longshore, server: RunningServer): Promise<void> {
  let before = "";
  for (;;) {
    const { warm = 0, running = 0 } = await client.capacity();
    const now = `${warm} warm of ${(await server.leftovers()).filter((left) => left.startsWith("container")).length}`;
    if (running === 0 && now === `${warm} warm of ${warm}` && now === before) return;
    before = now;
    await delay(100);
  }
}
