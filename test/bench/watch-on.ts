import type { Task } from "@longshore/client";

/** Resolves when the watch has given its first event; the watch goes on until the signal. */
export async function watchOn(task: Task, signal: AbortSignal): Promise<void> {
  const events = task.watch({ signal });
  await events.next();
  // Ends by the signal alone; what it throws then is the end that was asked for.
  void events.next().catch(() => undefined);
}
