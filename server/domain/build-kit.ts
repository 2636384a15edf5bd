import type { TaskLimits } from "./limits.ts";
import type { Isolation } from "./task.ts";

/**
 * Everything a build of an environment is given, all of it from the server's own configuration. `env` may hold passwords of an
 * index or a proxy: it goes to the sandbox with the spec, and nowhere else.
 */
export interface BuildKit {
  /** A statically linked uv on the server, readable by everyone. */
  readonly uv: string;
  readonly uvVersion: string;
  /** Source of the program that runs in the sandbox. */
  readonly program: string;
  readonly env: Readonly<Record<string, string>>;
  /** Certificates that the sandbox trusts, a file on the server; null for those of uv itself. */
  readonly caBundle: string | null;
  /** A folder of wheels on the server; null for none. */
  readonly wheels: string | null;
  /** GUARDED: the network of EGRESS tasks. OPEN: the engine's own, where only uv itself ever runs. */
  readonly network: "GUARDED" | "OPEN" | "NONE";
  /** Whether packages that come as source are built, which runs their code. */
  readonly sources: boolean;
  /** Whether requirements may name addresses. */
  readonly urls: boolean;
  readonly isolation: Isolation;
  readonly limits: TaskLimits;
  /** What of all this decides about the outcome, without passwords. */
  readonly identity: string;
}
