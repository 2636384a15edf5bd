import type { Longshore } from "@longshore/client";
import { Task_State } from "@longshore/proto/longshore/v1/task.ts";

/** Starts a task that holds every CPU of the server, so that those created after it stay queued. */
export async function occupy(client: Longshore): Promise<void> {
  const { total } = await client.capacity();
  const cpu = Number(total?.cpuMillis ?? 1000) / 1000;
  const task = await client.submit({ code: "import time; time.sleep(7200)" }, { cpu, timeout: "3h" });
  for await (const event of task.watch())
    if (event.kind === "task" && event.task.state === Task_State.RUNNING) return;
  throw new Error("the task that was to hold every CPU ended");
}
