import {
  HealthCheckResponse_ServingStatus,
  type HealthService,
} from "@longshore/proto/grpc/health/v1/health.ts";
import { NotFound } from "#server/domain/errors.ts";
import type { ServiceHandlers } from "./service-handlers.ts";

/** Whether this server takes calls, told by grpc.health.v1 for the server as a whole ("") and each service by name. */
export class Health {
  readonly #services: ReadonlySet<string>;
  readonly #watchers = new Set<() => void>();
  #serving = true;

  constructor(services: readonly string[]) {
    this.#services = new Set(["", ...services]);
  }

  get serving(): boolean {
    return this.#serving;
  }

  set serving(serving: boolean) {
    if (serving === this.#serving) return;
    this.#serving = serving;
    for (const tell of this.#watchers) tell();
  }

  status(service: string): HealthCheckResponse_ServingStatus {
    const { SERVICE_UNKNOWN, SERVING, NOT_SERVING } = HealthCheckResponse_ServingStatus;
    if (!this.#services.has(service)) return SERVICE_UNKNOWN;
    return this.#serving ? SERVING : NOT_SERVING;
  }

  /** Of the server and every service. */
  all(): Record<string, { status: HealthCheckResponse_ServingStatus }> {
    return Object.fromEntries(
      [...this.#services].map((service) => [service, { status: this.status(service) }]),
    );
  }

  /** The present status and every later one; a change that is undone before it is read may be left out. */
  async *watch(service: string, signal: AbortSignal): AsyncGenerator<HealthCheckResponse_ServingStatus> {
    let changed = Promise.withResolvers<void>();
    const tell = () => changed.resolve();
    this.#watchers.add(tell);
    signal.addEventListener("abort", tell, { once: true });
    try {
      for (let last: number | undefined; !signal.aborted; await changed.promise) {
        changed = Promise.withResolvers<void>();
        const status = this.status(service);
        if (status !== last) yield status;
        last = status;
      }
    } finally {
      this.#watchers.delete(tell);
      signal.removeEventListener("abort", tell);
    }
  }
}

export function healthService(health: Health): ServiceHandlers<typeof HealthService> {
  return {
    async check({ service }) {
      const status = health.status(service);
      if (status === HealthCheckResponse_ServingStatus.SERVICE_UNKNOWN)
        throw new NotFound("service", service);
      return { status };
    },

    async list() {
      return { statuses: health.all() };
    },

    async *watch({ service }, { signal }) {
      for await (const status of health.watch(service, signal)) yield { status };
    },
  };
}
