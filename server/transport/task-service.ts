import { Task_State, TaskResult_Reason } from "@longshore/proto/longshore/v1/task.ts";
import { type TaskServiceService, TaskView } from "@longshore/proto/longshore/v1/task_service.ts";
import type { Application, WatchRequest } from "./application.ts";
import { pageSize } from "./page-size.ts";
import type { ServiceHandlers } from "./service-handlers.ts";
import { TaskMessages } from "./task-messages.ts";
import { uploadFromProto } from "./translate/blob-to-proto.ts";
import { eventsAsData, eventsAsText } from "./translate/events-to-proto.ts";
import { FieldCheck } from "./translate/field-check.ts";
import { projectFromProto } from "./translate/project-from-proto.ts";
import { resourcesFromProto, specFromProto } from "./translate/spec-from-proto.ts";
import { artifactToProto, taskToProto, type View } from "./translate/task-to-proto.ts";
import { int64 } from "./translate/to-wire.ts";
import { openUpload } from "./upload-parts.ts";

/** A message holds whole tasks, each with its spec: a screenful stays small. */
const DEFAULT_WATCHED_TASKS = 50;
const MOST_WATCHED_TASKS = 200;

export function taskService(application: Application): ServiceHandlers<typeof TaskServiceService> {
  return {
    async createTask(request, { caller }) {
      const task = await application.createTask(caller, specFromProto(request));
      return { task: taskToProto(task, "basic") };
    },

    async *runTask(request, context) {
      // Not bound to the signal: a task that was asked for is made even if its client has gone by now.
      const { id } = await application.createTask(context.caller, specFromProto(request));
      const watch: WatchRequest = { id, cursor: "", follow: true, tailBytes: 0, logs: true };
      const events = application.watchTask(context.caller, watch, context.endOnDrain());
      for await (const event of eventsAsText(events)) yield { event };
    },

    async submitTask(parts, { caller, signal }) {
      const { header, chunks } = await openUpload(parts);
      const check = new FieldCheck();
      if (header.task === undefined) check.add("header.task", "is required");
      if (header.archive === undefined) check.add("header.archive", "is required");
      if (header.task === undefined || header.archive === undefined) throw check.failure();
      const request = specFromProto(header.task, check);
      const upload = uploadFromProto(header.archive, "header.archive", "optional", check);
      const task = await application.submitTask(caller, request, upload, chunks, signal);
      return { task: taskToProto(task, "basic") };
    },

    async validateTask({ task, project }, { caller }) {
      const check = new FieldCheck();
      if (task === undefined) check.add("task", "is required");
      const announced = project === undefined ? null : projectFromProto(project, check);
      if (task === undefined) throw check.failure();
      await application.validateTask(caller, specFromProto(task, check), announced);
      return {};
    },

    async getTask(request, { caller }) {
      const check = new FieldCheck();
      const id = check.required("id", request.id);
      const view = viewOf(request.view, "full", check);
      check.throwIfAny();
      return { task: taskToProto(await application.getTask(caller, id), view) };
    },

    async listTasks(request, { caller }) {
      const check = new FieldCheck();
      const view = viewOf(request.view, "basic", check);
      const answer = new TaskMessages(view);
      const { tasks, nextPageToken } = await application.listTasks(caller, {
        owner: request.owner,
        states: check.choices("states", Task_State, request.states),
        reasons: check.choices("reasons", TaskResult_Reason, request.reasons),
        labels: request.labels,
        createdAfter: check.time("created_after", request.createdAfter),
        createdBefore: check.time("created_before", request.createdBefore),
        pageSize: pageSize(request.pageSize, check),
        pageToken: request.pageToken,
        violations: check.violations,
        fits: (task) => answer.add(task),
      });
      return { tasks: answer.first(tasks.length), nextPageToken };
    },

    async *watchTask(request, context) {
      const check = new FieldCheck();
      const watch: WatchRequest = {
        id: check.required("id", request.id),
        cursor: request.cursor,
        follow: !request.noFollow,
        tailBytes: check.size("tail_bytes", request.tailBytes),
        logs: !request.noLogs,
      };
      check.throwIfAny();
      const events = application.watchTask(context.caller, watch, context.endOnDrain());
      const inWireForm = request.text ? eventsAsText : eventsAsData;
      for await (const event of inWireForm(events)) yield { event };
    },

    async *watchTasks(request, context) {
      const check = new FieldCheck();
      const asked = check.count("max_tasks", request.maxTasks);
      check.throwIfAny();
      const maxTasks = asked === 0 ? DEFAULT_WATCHED_TASKS : Math.min(asked, MOST_WATCHED_TASKS);
      const wanted = { labels: request.labels, maxTasks };
      const pictures = application.watchTasks(context.caller, wanted, context.endOnDrain());
      for await (const { tasks, totalCount } of pictures) {
        const message = new TaskMessages("basic");
        yield { tasks: message.first(tasks.filter((task) => message.add(task)).length), totalCount };
      }
    },

    async cancelTask(request, { caller }) {
      const check = new FieldCheck();
      const id = check.required("id", request.id);
      const grace = check.duration("grace", request.grace, "0 or more");
      check.throwIfAny();
      return { task: taskToProto(await application.cancelTask(caller, id, request.reason, grace), "basic") };
    },

    async rerunTask(request, { caller }) {
      const check = new FieldCheck();
      const id = check.required("id", request.id);
      const timeoutMillis = check.duration("timeout", request.timeout, "above 0");
      // Without an id there is no spec to check the rest against.
      if (id === "") check.throwIfAny();
      const { requestId } = request;
      const { violations } = check;
      const resources = resourcesFromProto(request.resources);
      const task = await application.rerunTask(caller, {
        id,
        requestId,
        resources,
        timeoutMillis,
        violations,
      });
      return { task: taskToProto(task, "basic") };
    },

    async deleteTask(request, { caller }) {
      const check = new FieldCheck();
      const id = check.required("id", request.id);
      check.throwIfAny();
      await application.deleteTask(caller, id);
      return {};
    },

    async listArtifacts(request, { caller }) {
      const check = new FieldCheck();
      const taskId = check.required("task_id", request.taskId);
      const size = pageSize(request.pageSize, check);
      if (taskId === "") check.throwIfAny();
      const { pageToken } = request;
      const { violations } = check;
      const page = await application.listArtifacts(caller, { taskId, pageSize: size, pageToken, violations });
      return { artifacts: page.artifacts.map(artifactToProto), nextPageToken: page.nextPageToken };
    },

    async *downloadArtifact(request, { caller, signal }) {
      const check = new FieldCheck();
      const taskId = check.required("artifact.task_id", request.artifact?.taskId ?? "");
      const path = check.required("artifact.path", request.artifact?.path ?? "");
      const offset = check.size("offset_bytes", request.offsetBytes);
      check.throwIfAny();
      const chunks = application.downloadArtifact(caller, taskId, path, offset, signal);
      for await (const { offset, chunk } of chunks) yield { offsetBytes: int64(offset), chunk };
    },
  };
}

function viewOf(view: number, unspecified: View, check: FieldCheck): View {
  const choice = check.choice("view", TaskView, view);
  if (choice === null) return unspecified;
  return choice === "FULL" ? "full" : "basic";
}
