import type { BenchCase } from "../bench-case.ts";
import { atMost, notRun } from "../row.ts";

/** Waits for the feature itself: nothing installs requirements.txt yet. */
export const environments: BenchCase = {
  letter: "h",
  title: "a scikit-learn fit, environment preloaded, against docker run doing the same imports",
  run: async () => [
    notRun(
      { group: "h", name: "scikit-learn fit / docker run", goal: atMost(0.1) },
      "needs environments, which this server does not make yet",
    ),
  ],
};
