import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Metrics } from "../../domain/ports/metrics.ts";

/** Over so long the figures are taken, however many collect and however often. */
const WINDOW_MILLIS = 10_000;
/** The monitor counts the time between its own ticks, of which this much is meant to pass. */
const RESOLUTION_MILLIS = 20;
const NANOS = 1e9;

interface Delays {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** How late the event loop is, and what the process takes; watched until it is disposed. */
export class EventLoopGauges implements Disposable {
  readonly #histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MILLIS });
  readonly #window: NodeJS.Timeout;
  readonly #stops: readonly (() => void)[];
  /** Of the latest whole window. */
  #latest: Delays | undefined;

  constructor(metrics: Metrics) {
    this.#histogram.enable();
    this.#window = setInterval(() => {
      this.#latest = this.#read();
      this.#histogram.reset();
    }, WINDOW_MILLIS);
    this.#window.unref();
    const one = (value: number) => [{ labels: {}, value }];
    const delays = () => this.#latest ?? this.#read();
    this.#stops = [
      metrics.observe("nodejs.eventloop.delay.p50", () => one(delays().p50)),
      metrics.observe("nodejs.eventloop.delay.p99", () => one(delays().p99)),
      metrics.observe("nodejs.eventloop.delay.max", () => one(delays().max)),
      metrics.observe("process.memory.usage", () => one(process.memoryUsage.rss())),
      metrics.observe("process.cpu.time", () => {
        const { user, system } = process.cpuUsage();
        return one((user + system) / 1e6);
      }),
    ];
  }

  [Symbol.dispose](): void {
    clearInterval(this.#window);
    this.#histogram.disable();
    for (const stop of this.#stops) stop();
  }

  #read(): Delays {
    const late = (nanos: number) => Math.max(0, nanos / NANOS - RESOLUTION_MILLIS / 1000);
    const { count } = this.#histogram;
    if (count === 0) return { p50: 0, p99: 0, max: 0 };
    return {
      p50: late(this.#histogram.percentile(50)),
      p99: late(this.#histogram.percentile(99)),
      max: late(this.#histogram.max),
    };
  }
}
