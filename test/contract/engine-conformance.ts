import { engineLimitsSuite } from "./engine-limits-suite.ts";
import { engineRestartSuite } from "./engine-restart-suite.ts";
import { engineSuite } from "./engine-suite.ts";
import type { EngineUnderTest } from "./engine-under-test.ts";

/** Everything that a task may count on, wherever it runs. */
export function engineConformance(
  name: string,
  open: () => Promise<EngineUnderTest>,
  options: { skip?: string | false } = {},
): void {
  engineSuite(name, open, options);
  engineLimitsSuite(name, open, options);
  engineRestartSuite(name, open, options);
}
