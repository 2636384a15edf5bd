import type { DockerOptions } from "dockerode";
import type { IpRange, IpTarget } from "../../domain/ip-range.ts";
import type { Log } from "../../domain/ports/telemetry.ts";
import type { TrackingServer } from "../../domain/tracking.ts";
import type { UidRange } from "../sandbox/uids.ts";

export interface PoolSettings {
  /** Most idle warm sandboxes; 0 turns the pool off. */
  readonly maxIdle: number;
  /** What idle sandboxes may hold together, each counted with `idleBytes`. */
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

export interface EgressSettings {
  /** Reached although they are not public. */
  readonly allow: readonly IpTarget[];
  /** Refused although they are public: what a company uses inside. */
  readonly deny: readonly IpRange[];
  /** Addresses of the sandboxes' own network; null lets Docker choose free ones. */
  readonly subnet: IpRange | null;
  /** Resolvers that sandboxes are given; none means the host's. */
  readonly nameservers: readonly IpRange[];
  /** The tool that sets packet rules, of the kind that dockerd uses; "iptables" when absent. */
  readonly iptables?: string;
  /** Refuses everything but this one address and port, name servers included; `host` stands for it in the sandbox. */
  readonly only?: OnlyTarget;
}

export interface OnlyTarget {
  /** A name of the operator's, or the address itself. */
  readonly host: string;
  /** IPv4. */
  readonly address: string;
  readonly port: number;
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
  /** Absent turns network EGRESS off, and takes away what an earlier server set up for it. */
  readonly egress?: EgressSettings;
  /** For each a network that leads nowhere else. */
  readonly trackingServers?: readonly TrackingServer[];
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
