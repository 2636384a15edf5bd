import type { Access, Caller } from "#server/application/access-api.ts";
import { type AccessParts, type ComposedAccess, composeAccess } from "#server/application/compose-access.ts";
import { createIds } from "#server/application/identity.ts";
import { LOCAL_USER, type Scope } from "#server/domain/principal.ts";
import { CollectingLog } from "./fakes/collecting-log.ts";
import { MemoryAuditLog, MemoryTokenStore } from "./fakes/memory-access.ts";

export const OPERATOR: Caller = { ...LOCAL_USER, traceparent: undefined, peer: "127.0.0.1" };

/** Who may call, over stores in memory. */
export class AccessBench implements AsyncDisposable {
  readonly audit = new MemoryAuditLog();
  readonly tokens = new MemoryTokenStore(this.audit);
  readonly log = new CollectingLog();
  /** The tokens that were delivered to the file of the first one. */
  readonly delivered: string[] = [];
  /** Added to the clock. */
  aheadMillis = 0;
  #composed: ComposedAccess | undefined;

  /** Asks for tokens, unless `authenticators` is null. */
  static async open(changes: Partial<AccessParts> = {}): Promise<AccessBench> {
    const bench = new AccessBench();
    await bench.start(changes);
    return bench;
  }

  async start(changes: Partial<AccessParts> = {}): Promise<void> {
    this.#composed = await composeAccess({
      authenticators: [],
      tokens: this.tokens,
      audit: this.audit,
      deliverFirstToken: async (token) => {
        this.delivered.push(token);
        return "admin.token";
      },
      log: this.log,
      clock: () => new Date(Date.now() + this.aheadMillis),
      newId: createIds(),
      ...changes,
    });
  }

  get access(): Access {
    if (this.#composed === undefined) throw new Error("access is not composed");
    return this.#composed.access;
  }

  /** A new token for `authorization: Bearer`. */
  async token(
    tenant: string,
    scopes: readonly Scope[],
    more: { readonly subject?: string; readonly lifetimeMillis?: number } = {},
  ): Promise<{ readonly id: string; readonly secret: string }> {
    const { subject = "user", lifetimeMillis = null } = more;
    const request = { tenant, subject, scopes, description: "", lifetimeMillis, violations: [] };
    const { token, secret } = await this.access.createToken(OPERATOR, request);
    return { id: token.id, secret };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#composed?.[Symbol.asyncDispose]();
  }
}
