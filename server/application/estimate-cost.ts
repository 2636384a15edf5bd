import { amountOf } from "../domain/charge.ts";
import { gpuPrice, type PriceBook, type Prices, unitPrices } from "../domain/price-book.ts";
import type { Estimate, TaskRequest } from "./api.ts";
import type { Caller } from "./caller.ts";
import type { CreateTask } from "./create-task.ts";
import type { EngineHost } from "./engine-host.ts";
import type { Meter } from "./meter.ts";

/** EstimateCost: the most a task can cost, and what it is likely to, at the prices of now. */
export class EstimateCost {
  readonly #create: CreateTask;
  readonly #prices: PriceBook | null;
  readonly #meter: Meter;
  readonly #clock: () => Date;

  constructor(deps: { createTask: CreateTask; prices: PriceBook | null; meter: Meter; clock: () => Date }) {
    this.#create = deps.createTask;
    this.#prices = deps.prices;
    this.#meter = deps.meter;
    this.#clock = deps.clock;
  }

  async estimate(caller: Caller, request: TaskRequest): Promise<Estimate> {
    const { limits, host, image, expectedMillis: likely } = await this.#create.measure(caller, request);
    const { spec } = request;
    const task = { image, limits };
    const longestMillis = this.#meter.longestMillis(task) * this.#meter.mostCharged(task, spec.maxAttempts);
    const expectedMillis = likely === null ? null : Math.min(likely, longestMillis);
    const prices = this.#prices?.at(this.#clock());
    if (prices === undefined || this.#prices === null)
      return { limits, longestMillis, most: null, expectedMillis, expected: null };
    const model = spec.resources?.gpuModel || dearestModel(prices, host);
    const unit = unitPrices(prices, limits.gpuCount === 0 ? [] : [{ model, count: limits.gpuCount }]);
    const { currency } = this.#prices;
    const amount = (millis: number) => ({ currency, nanos: amountOf(unit, limits, millis) });
    return {
      limits,
      longestMillis,
      most: { ...unit, ...amount(longestMillis) },
      expectedMillis,
      expected: expectedMillis === null ? null : amount(expectedMillis),
    };
  }
}

function dearestModel(prices: Prices, { capabilities }: EngineHost): string {
  const models = [...new Set(capabilities.gpus.map(({ model }) => model))];
  return models.reduce(
    (dearest, model) => (gpuPrice(prices, model) > gpuPrice(prices, dearest) ? model : dearest),
    models[0] ?? "",
  );
}
