import { AsyncLocalStorage } from "node:async_hooks";
import { type Context, type ContextManager, context, ROOT_CONTEXT, trace } from "@opentelemetry/api";

/** The ids of a span of a test's own. */
export interface CallerSpan {
  readonly traceId: string;
  readonly spanId: string;
}

/** Makes OpenTelemetry's active context work in this process until it is disposed. */
export function activeContexts(): Disposable {
  const store = new AsyncLocalStorage<Context>();
  const manager: ContextManager = {
    active: () => store.getStore() ?? ROOT_CONTEXT,
    with: (active, run, self, ...args) => store.run(active, () => run.call(self, ...args)),
    bind: (_active, target) => target,
    enable: () => manager,
    disable: () => manager,
  };
  context.setGlobalContextManager(manager);
  return { [Symbol.dispose]: () => context.disable() };
}

/** Runs `work` as a program does that has this span active. */
export function within<T>(span: CallerSpan, work: () => T): T {
  return context.with(trace.setSpanContext(ROOT_CONTEXT, { ...span, traceFlags: 1 }), work);
}
