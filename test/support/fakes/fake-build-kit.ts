import type { BuildKit } from "#server/domain/build-kit.ts";
import { GIBIBYTE, MEBIBYTE } from "#server/domain/resources.ts";

/**
 * Plays uv: installs one file for each requirement. `missing` fails as uv does, `gate` waits until somebody opens the FIFO at $GATE,
 * `crash` ends by a signal. Each build adds a line to the file at $BUILDS.
 */
const PROGRAM = `
import json, os, signal, sys
order = json.load(sys.stdin)
with open(os.environ["BUILDS"], "a") as builds:
    print(" ".join(order["requirements"]), file=builds)
print("Resolving", *order["requirements"], flush=True)
os.makedirs("environment")
for line in order["requirements"]:
    if line.startswith("missing"):
        sys.exit("error: No solution found when resolving dependencies\\n  cause: Because missing was not found in the package registry and you require missing, we can conclude that your requirements are unsatisfiable.")
    if line.startswith("crash"):
        os.kill(os.getpid(), signal.SIGKILL)
    if line.startswith("gate"):
        open(os.environ["GATE"]).read()
    with open("environment/" + line.split("=")[0] + ".py", "w") as file:
        file.write("#" * 1000)
print("Installed", flush=True)
`;

export function fakeBuildKit(
  env: Readonly<Record<string, string>>,
  changes: Partial<BuildKit> = {},
): BuildKit {
  return {
    uv: "/nowhere/uv",
    uvVersion: "0",
    program: PROGRAM,
    env,
    caBundle: null,
    wheels: null,
    network: "NONE",
    sources: false,
    urls: false,
    isolation: "CONTAINER",
    limits: {
      cpuMillis: 1000,
      ramBytes: 256 * MEBIBYTE,
      storageBytes: GIBIBYTE,
      gpuCount: 0,
      processes: 64,
      openFiles: 1024,
      inodes: 10_000,
      logBytes: MEBIBYTE,
      artifactBytes: GIBIBYTE,
      runMillis: 60_000,
      queueMillis: null,
      totalMillis: null,
    },
    identity: "fake",
    ...changes,
  };
}
