import type { DockerOptions } from "dockerode";
import type { Log } from "../../domain/ports/telemetry.ts";

export interface UidRange {
  readonly first: number;
  readonly count: number;
}

export interface PoolSettings {
  /** Most idle warm sandboxes; 0 turns the pool off. */
  readonly maxIdle: number;
  /** What idle sandboxes may hold together, each counted with `IDLE_SANDBOX_BYTES`. */
  readonly idleRamBytes: number;
  /** A shape that nobody asked for this long is kept warm no more. */
  readonly keepMillis: number;
}

export interface RuntimeNames {
  /** Name of the OCI runtime in the daemon's settings, for `container` isolation. */
  readonly container: string;
  /** The same for gVisor; null turns that tier off. It is offered only where the daemon knows it. */
  readonly gvisor: string | null;
}

export interface DockerEngineOptions {
  readonly name: string;
  /** How to reach the daemon; without it DOCKER_HOST or the local socket. */
  readonly connection?: DockerOptions;
  readonly dataDirectory: string;
  /** Tells our containers from another server's on the same daemon. */
  readonly installationId: string;
  /** The runner's source; copied below the data directory under the name of its content. */
  readonly runnerDirectory: string;
  readonly defaultImage: string;
  /** Names or globs ("registry.example/team/*") of images that tasks may ask for, besides the default. */
  readonly allowedImages: readonly string[];
  readonly uids: UidRange;
  readonly runtimes: RuntimeNames;
  readonly pool: PoolSettings;
  /** Engine calls in flight that start or remove a container. */
  readonly parallelCalls: number;
  readonly log: Log;
}

export const DEFAULT_UIDS: UidRange = { first: 70_000, count: 1000 };
export const DEFAULT_RUNTIMES: RuntimeNames = { container: "runc", gvisor: "runsc" };
export const DEFAULT_POOL: PoolSettings = {
  maxIdle: 8,
  idleRamBytes: 512 * 2 ** 20,
  keepMillis: 10 * 60_000,
};
