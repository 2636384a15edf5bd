import type { MountSettings } from "dockerode";
import { SystemFault } from "../../domain/errors.ts";
import type { Daemon } from "./daemon.ts";
import { NO_IPV6 } from "./host-config.ts";
import { demultiplex } from "./multiplexed.ts";

const MAX_OUTPUT_BYTES = 64 * 1024;
const TIMEOUT_MILLIS = 30_000;

export interface ThrowawayOrder {
  readonly name: string;
  readonly imageId: string;
  readonly command: readonly string[];
  /** The daemon's default when absent. */
  readonly runtime?: string;
  /** None at all when absent. */
  readonly network?: string;
  readonly env: readonly string[];
  readonly mounts: readonly MountSettings[];
  readonly labels: Readonly<Record<string, string>>;
}

export interface ThrowawayEnd {
  readonly exitCode: number;
  /** What it wrote, both streams. */
  readonly output: string;
}

/** Runs one command in a locked-down container that is gone afterwards: how the host and images are asked questions. */
export async function runThrowaway(daemon: Daemon, order: ThrowawayOrder): Promise<ThrowawayEnd> {
  await using cleanup = new AsyncDisposableStack();
  const id = await daemon.create(order.name, {
    Image: order.imageId,
    User: "0:0",
    WorkingDir: "/",
    Entrypoint: [...order.command],
    Cmd: [],
    Env: [...order.env],
    Healthcheck: { Test: ["NONE"] },
    Labels: { ...order.labels },
    AttachStdout: true,
    AttachStderr: true,
    HostConfig: {
      ...(order.runtime === undefined ? {} : { Runtime: order.runtime }),
      ReadonlyRootfs: true,
      CapDrop: ["ALL"],
      SecurityOpt: ["no-new-privileges:true"],
      NetworkMode: order.network ?? "none",
      Sysctls: order.network === undefined ? {} : { ...NO_IPV6 },
      Memory: 128 * 2 ** 20,
      MemorySwap: 128 * 2 ** 20,
      PidsLimit: 16,
      LogConfig: { Type: "none", Config: {} },
      Mounts: [...order.mounts],
    },
  });
  cleanup.defer(() => daemon.remove(id));
  const stream = await daemon.attach(id, { stdout: true, stderr: true });
  cleanup.defer(() => void stream.destroy());
  const output = collect(stream);
  await daemon.start(id);
  const exitCode = await withTimeout(daemon.exitCode(id), `container ${order.name} did not end`);
  // The stream ends when the container does; what it carried before that is all there is.
  return { exitCode, output: await withTimeout(output, `container ${order.name} kept its output open`) };
}

async function collect(stream: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream) {
    bytes += chunk.length;
    if (bytes > MAX_OUTPUT_BYTES) break;
    chunks.push(chunk);
  }
  return demultiplex(Buffer.concat(chunks));
}

async function withTimeout<T>(promise: Promise<T>, message: string): Promise<T> {
  const { promise: expired, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => reject(new SystemFault(`${message} within ${TIMEOUT_MILLIS / 1000} s`)),
    TIMEOUT_MILLIS,
  );
  try {
    return await Promise.race([promise, expired]);
  } finally {
    clearTimeout(timer);
  }
}
