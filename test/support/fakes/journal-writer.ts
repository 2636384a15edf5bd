/** Writes journal format v1 as executor-image/CONTRACT.md has it: the test double of the runner's writer. */
export function journalHeader(attemptId: string): Buffer {
  const id = Buffer.from(attemptId, "ascii");
  const header = Buffer.alloc(10);
  header.write("LSJRNL01", 0, "ascii");
  header.writeUInt16BE(id.length, 8);
  return Buffer.concat([header, id]);
}

export const FRAME_KINDS = {
  stdout: 1,
  stderr: 2,
  accepted: 3,
  stage: 4,
  gap: 5,
  end: 6,
  build: 7,
  usage: 8,
} as const;

export type FrameKind = keyof typeof FRAME_KINDS;

export function journalFrame(
  kind: FrameKind | number,
  payload: Uint8Array | object,
  time = new Date(),
): Buffer {
  const bytes = payload instanceof Uint8Array ? payload : Buffer.from(JSON.stringify(payload));
  const header = Buffer.alloc(13);
  header.writeUInt32BE(bytes.length, 0);
  header.writeUInt8(typeof kind === "number" ? kind : FRAME_KINDS[kind], 4);
  header.writeBigUInt64BE(BigInt(time.getTime()) * 1000n, 5);
  return Buffer.concat([header, bytes]);
}

/** An end frame of a program that exited well, with what differs given. */
export function endPayload(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    reason: "exited",
    exit_code: 0,
    signal: null,
    killer: null,
    limit: null,
    limit_value: 0,
    observed_peak: 0,
    process: null,
    limits_hit: [],
    message: null,
    usage: {
      cpu_micros: 0,
      peak_ram_bytes: 0,
      peak_storage_bytes: 0,
      peak_processes: 0,
      stdout_bytes: 0,
      stderr_bytes: 0,
      wall_micros: 0,
      user_micros: 0,
      system_micros: 0,
    },
    artifacts: { count: 0, bytes: 0, error: null },
    ...changes,
  };
}
