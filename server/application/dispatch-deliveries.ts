import { setTimeout as delay } from "node:timers/promises";
import { Unavailable } from "../domain/errors.ts";
import type { Answer, DeliveryChannel } from "../domain/ports/delivery-channel.ts";
import type { Metrics } from "../domain/ports/metrics.ts";
import type { SecretBox } from "../domain/ports/secret-box.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import type { Busy, Outbox, WebhookStore } from "../domain/ports/webhook-store.ts";
import { type Delivery, type DeliveryState, isSigned, targetOf } from "../domain/webhook.ts";
import { Latch } from "./changes.ts";
import { afterTry, type DeliverySchedule } from "./delivery-schedule.ts";
import { openSecrets } from "./signing-secrets.ts";
import { untilAvailable } from "./until-available.ts";

/** On their way at once; each is little more than an open connection. */
const MAX_AT_ONCE = 32;
/** Of these, so that a receiver that hangs holds up neither its tenant's others nor other tenants. */
const MAX_PER_TENANT = 16;
const MAX_PER_TARGET = 4;
/** A clock that was set, and what a commit of unknown outcome left behind, are found after so long. */
const LONGEST_WAIT_MILLIS = 60_000;
const RETRY_MILLIS = 1_000;

/** What a try came to, as metrics name it. */
const OUTCOMES = {
  DELIVERED: "delivered",
  PENDING: "retry",
  FAILED: "given_up",
} as const satisfies Record<DeliveryState, string>;

export interface DispatchDeliveriesDeps {
  readonly store: WebhookStore;
  readonly outbox: Outbox;
  /** By the protocol of the address: "https:", "mailto:". */
  readonly channels: ReadonlyMap<string, DeliveryChannel>;
  readonly secretBox: SecretBox;
  readonly schedule: DeliverySchedule;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly clock: () => Date;
}

/**
 * Sends what is due. All that is known of a delivery is in the outbox: what was on its way when a server ended is still due there, and the
 * next server sends it again with the same id.
 */
export class DispatchDeliveries {
  readonly #deps: DispatchDeliveriesDeps;
  readonly #wake = new Latch();
  readonly #stop = new AbortController();
  readonly #active = new Map<string, Delivery>();
  readonly #tries = new Set<Promise<void>>();
  /** What becomes of an endpoint depends on what it was: one after the other. */
  #tail: Promise<unknown> = Promise.resolve();
  #loop: Promise<void> = Promise.resolve();
  #deaf: () => void = () => undefined;

  constructor(deps: DispatchDeliveriesDeps) {
    this.#deps = deps;
  }

  start(): void {
    // Shows the series before anything has happened.
    for (const outcome of Object.values(OUTCOMES))
      this.#deps.metrics.count("longshore.delivery.tries", { outcome }, 0);
    this.#deaf = this.#deps.outbox.onAdded(() => this.#wake.set());
    this.#loop = this.#run();
  }

  /** Cuts what is on its way; it stays due. */
  async close(): Promise<void> {
    this.#deaf();
    this.#stop.abort(new Unavailable("the server is stopping"));
    await this.#loop;
    await Promise.all(this.#tries);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      let pause = RETRY_MILLIS;
      try {
        pause = await this.#launchDue();
      } catch (error) {
        this.#deps.log.warn("deliveries wait for the database", { error: String(error) });
      }
      await this.#wake.wait(signal, pause);
    }
  }

  /** Answers after how many milliseconds there is more to do, unless something happens before. */
  async #launchDue(): Promise<number> {
    const { outbox, clock } = this.#deps;
    for (;;) {
      const room = MAX_AT_ONCE - this.#active.size;
      if (room === 0 || this.#stop.signal.aborted) return LONGEST_WAIT_MILLIS;
      const due = await outbox.due(clock(), this.#busy(), room);
      if (due.length === 0) break;
      // Of one target there may be more than it takes at once; the next look passes over it.
      for (const delivery of due) if (this.#hasRoomFor(delivery)) this.#launch(delivery);
    }
    const now = clock();
    const next = await outbox.nextDueTime(now);
    return Math.min(
      LONGEST_WAIT_MILLIS,
      next === null ? LONGEST_WAIT_MILLIS : next.getTime() - now.getTime(),
    );
  }

  #busy(): Busy {
    const active = [...this.#active.values()];
    return {
      ids: active.map(({ id }) => id),
      targets: fullOnes(active.map(targetOf), MAX_PER_TARGET),
      tenants: fullOnes(
        active.map(({ tenant }) => tenant),
        MAX_PER_TENANT,
      ),
    };
  }

  #hasRoomFor(delivery: Delivery): boolean {
    const { targets, tenants } = this.#busy();
    return !targets.includes(targetOf(delivery)) && !tenants.includes(delivery.tenant);
  }

  #launch(delivery: Delivery): void {
    this.#active.set(delivery.id, delivery);
    const trial = this.#try(delivery)
      .catch(async (error: unknown) => {
        const { signal } = this.#stop;
        if (signal.aborted) return;
        this.#deps.log.error("a delivery could not be tried", { ...factsOf(delivery), error: String(error) });
        // It is still due; what is wrong with it will not be mended within a moment.
        await delay(LONGEST_WAIT_MILLIS, undefined, { signal }).catch(() => undefined);
      })
      .finally(() => {
        this.#tries.delete(trial);
        this.#active.delete(delivery.id);
        this.#wake.set();
      });
    this.#tries.add(trial);
  }

  async #try(delivery: Delivery): Promise<void> {
    const answer = await this.#send(delivery).catch((error: unknown) => {
      this.#stop.signal.throwIfAborted();
      // A secret that cannot be opened, say: it counts as a try, or it would be due again at once and for ever.
      return refused(error instanceof Error ? error.message : String(error));
    });
    const turn = this.#tail.then(() => this.#record(delivery, answer));
    this.#tail = turn.catch(() => undefined);
    await turn;
  }

  async #send(delivery: Delivery): Promise<Answer> {
    const { store, channels, secretBox, clock } = this.#deps;
    const { id, tenant, url, body } = delivery;
    const channel = URL.canParse(url) ? channels.get(new URL(url).protocol) : undefined;
    if (channel === undefined) return refused("this server does not send to such addresses any more");
    const time = clock();
    const stored = isSigned(url) ? await store.secrets(tenant) : null;
    if (stored === undefined)
      return refused("the tenant has no signing secret; make one with longshore webhook rotate");
    const secrets = stored === null ? [] : openSecrets(secretBox, stored, time);
    return await channel.send({ id, url, body, time, secrets }, this.#stop.signal);
  }

  async #record(delivery: Delivery, answer: Answer): Promise<void> {
    const { store, outbox, schedule, metrics, log, clock } = this.#deps;
    const attempt = async () => {
      const { endpointId } = delivery;
      const endpoint = endpointId === "" ? null : ((await store.find(endpointId)) ?? null);
      const tried = afterTry(delivery, endpoint, answer, schedule, clock(), Math.random());
      const isOrphan = endpointId !== "" && endpoint === null && tried.delivery.state === "PENDING";
      const next: Delivery = isOrphan
        ? { ...tried.delivery, state: "FAILED", nextTryTime: null, lastError: "its webhook was deleted" }
        : tried.delivery;
      await outbox.save(next, tried.endpoint);
      metrics.count("longshore.delivery.tries", { outcome: OUTCOMES[next.state] });
      const facts = { ...factsOf(next), tries: next.tries, status: answer.statusCode };
      if (next.state === "DELIVERED") log.debug("delivered", facts);
      else log.info("a delivery failed", { ...facts, error: answer.error, next: next.nextTryTime });
      if (tried.endpoint?.disableTime != null)
        log.warn("a webhook was turned off", { webhook: endpointId, reason: tried.endpoint.disableReason });
    };
    await untilAvailable(attempt, this.#stop.signal, (error) =>
      log.warn("the outcome of a delivery waits for the database", { error: error.message }),
    );
  }
}

/** Not the address itself: its path may be its secret. */
function factsOf({ id, tenant, taskId, url }: Delivery): Record<string, string> {
  const host = URL.canParse(url) ? new URL(url).host : "";
  return { delivery: id, tenant, task: taskId, ...(host !== "" && { host }) };
}

function fullOnes(keys: readonly string[], most: number): string[] {
  return [...Map.groupBy(keys, (key) => key)].filter(([, same]) => same.length >= most).map(([key]) => key);
}

function refused(error: string): Answer {
  return { statusCode: 0, error, response: "", gone: false, retryAfterMillis: null };
}
