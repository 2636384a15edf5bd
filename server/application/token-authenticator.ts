import { createHash, timingSafeEqual } from "node:crypto";
import { type AccessToken, parseToken, principalOf, tokenProblem } from "../domain/access-token.ts";
import { Unauthenticated } from "../domain/errors.ts";
import type { TokenStore } from "../domain/ports/access-store.ts";
import type { Authenticator, Credentials } from "../domain/ports/authenticator.ts";
import type { Principal } from "../domain/principal.ts";

/** Rows of tokens that were used lately; each call of a busy client would otherwise read the database. */
const MAX_KEPT = 10_000;

export function digestOfSecret(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}

/** Knows the tokens that this server has made. */
export class TokenAuthenticator implements Authenticator {
  readonly #store: TokenStore;
  readonly #clock: () => Date;
  readonly #kept = new Map<string, AccessToken>();
  /** Counts revocations: a row that was read before one may be older than it. */
  #revocations = 0;

  constructor(deps: { store: TokenStore; clock: () => Date }) {
    this.#store = deps.store;
    this.#clock = deps.clock;
  }

  async authenticate({ bearer }: Credentials): Promise<Principal | undefined> {
    const shown = bearer === undefined ? undefined : parseToken(bearer);
    if (shown === undefined) return undefined;
    const token = await this.#find(shown.id);
    if (token === undefined || !isSecretOf(token, shown.secret))
      throw new Unauthenticated("the token is not one of this server; ask its administrator for another");
    const problem = tokenProblem(token, this.#clock());
    if (problem === undefined) return principalOf(token);
    throw new Unauthenticated(`${problem}; ask the server's administrator for another`, principalOf(token));
  }

  /** Called after a revocation was committed. */
  forget(id: string): void {
    this.#revocations += 1;
    this.#kept.delete(id);
  }

  async #find(id: string): Promise<AccessToken | undefined> {
    const kept = this.#kept.get(id);
    if (kept !== undefined) return kept;
    for (;;) {
      const before = this.#revocations;
      const token = await this.#store.find(id);
      if (before !== this.#revocations) continue;
      if (token !== undefined) this.#keep(token);
      return token;
    }
  }

  #keep(token: AccessToken): void {
    const [oldest] = this.#kept.keys();
    if (this.#kept.size >= MAX_KEPT && oldest !== undefined) this.#kept.delete(oldest);
    this.#kept.set(token.id, token);
  }
}

function isSecretOf(token: AccessToken, secret: string): boolean {
  return timingSafeEqual(Buffer.from(token.secretDigest), Buffer.from(digestOfSecret(secret)));
}
