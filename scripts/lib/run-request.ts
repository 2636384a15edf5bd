/** Sends a request's JSON unchanged to RunTask and prints the output as it comes, as grpcurl would: run-request.ts ADDRESS FILE.json */
import { readFileSync } from "node:fs";
import { credentials } from "@grpc/grpc-js";
import { CreateTaskRequest, type Task, Task_State } from "@longshore/proto/longshore/v1/task.ts";
import {
  LogChunk_Stream,
  type RunTaskResponse,
  type TaskEvent,
  TaskServiceClient,
} from "@longshore/proto/longshore/v1/task_service.ts";

function print(event: TaskEvent): void {
  if (event.event?.$case !== "log") return;
  const chunk = event.event.value;
  const out = chunk.stream === LogChunk_Stream.STDERR ? process.stderr : process.stdout;
  out.write(chunk.text === "" ? chunk.data : chunk.text);
}

const [address, file] = process.argv.slice(2);
if (address === undefined || file === undefined) throw new Error("usage: run-request.ts ADDRESS FILE.json");

const client = new TaskServiceClient(address, credentials.createInsecure());
const request = CreateTaskRequest.fromJSON(JSON.parse(readFileSync(file, "utf8")));
const stream: AsyncIterable<RunTaskResponse> = client.runTask(request);
let last: Task | undefined;
try {
  for await (const { event } of stream) {
    if (event === undefined) continue;
    print(event);
    if (event.event?.$case === "task") last = event.event.value;
  }
} catch (error) {
  // grpc-js rejects with Errors only; the server's own words, without a stack, are what a user can act on.
  console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
} finally {
  client.close();
}
const succeeded = last?.state === Task_State.SUCCEEDED;
console.error(`${succeeded ? "succeeded" : "did not succeed"}   task ${last?.id ?? "unknown"}`);
process.exitCode = succeeded ? 0 : 1;
