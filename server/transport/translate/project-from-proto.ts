import type { ProjectDescription } from "@longshore/proto/longshore/v1/task_service.ts";
import type { ProjectAnnouncement } from "#server/domain/announced-project.ts";
import { inputPath } from "#server/domain/workspace-path.ts";
import type { FieldCheck } from "./field-check.ts";

const MOST_PATHS = 50_000;

/** Null where it is too large, or has paths that are none: what there is to say of them the archive's own check says. */
export function projectFromProto(project: ProjectDescription, check: FieldCheck): ProjectAnnouncement | null {
  const { files, folders, requirements } = project;
  const contentBytes = check.size("project.content_bytes", project.contentBytes);
  const archiveBytes = check.size("project.archive_bytes", project.archiveBytes);
  const paths = [...files, ...folders];
  if (paths.length > MOST_PATHS || paths.some((path) => inputPath(path) !== path)) return null;
  return {
    files,
    folders,
    contentBytes,
    archiveBytes,
    requirements: new Map(requirements.map(({ path, content }) => [path, content])),
  };
}
