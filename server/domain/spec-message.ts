import { InvalidRequest } from "./errors.ts";
import type { RunnerSpec } from "./ports/engine.ts";
import type { Program } from "./task.ts";

/** The runner refuses more; checked here so that the refusal has a reason. */
const MAX_SPEC_BYTES = 8 * 2 ** 20;

/** The one place where our spec becomes the wire form of executor-image/CONTRACT.md: a length, then JSON. */
export function specMessage(spec: RunnerSpec, inputBytes: number): Buffer {
  const { limits } = spec;
  const json = Buffer.from(
    JSON.stringify({
      version: 1,
      attempt_id: spec.attemptId,
      program: programMessage(spec.program),
      code: spec.code,
      args: spec.args,
      env: spec.env,
      stdin: spec.stdin,
      working_directory: spec.workingDirectory,
      input_bytes: inputBytes,
      outputs: spec.outputs,
      stop_grace_ms: spec.stopGraceMillis,
      spans: spec.spans,
      limits: {
        run_ms: limits.runMillis,
        deadline_unix_ms: spec.deadline === null ? null : spec.deadline.getTime(),
        log_bytes: limits.logBytes,
        artifact_bytes: limits.artifactBytes,
        artifact_ms: spec.collectMillis,
        stage_in_ms: spec.stageInMillis,
        open_files: limits.openFiles,
        processes: limits.processes,
        ram_bytes: limits.ramBytes,
        storage_bytes: limits.storageBytes,
      },
    }),
  );
  if (json.length > MAX_SPEC_BYTES) {
    throw new InvalidRequest([
      {
        field: "code",
        description: `code, args, env and stdin come to ${json.length} bytes together, more than ${MAX_SPEC_BYTES}; send large inputs as a project`,
      },
    ]);
  }
  const message = Buffer.allocUnsafeSlow(4 + json.length);
  message.writeUInt32BE(json.length, 0);
  json.copy(message, 4);
  return message;
}

function programMessage(program: Program): Record<string, unknown> {
  switch (program.kind) {
    case "script":
      return { script: program.script };
    case "module":
      return { module: program.module, function: program.function };
    case "command":
      return { command: program.command };
  }
}
