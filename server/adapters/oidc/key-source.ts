import { createRemoteJWKSet, type JWTVerifyGetKey } from "jose";
import { z } from "zod";
import { Unavailable } from "../../domain/errors.ts";

const TIMEOUT_MILLIS = 5_000;
/** A provider that is away is not asked anew by every call. */
const COOLDOWN_MILLIS = 2_000;

/** Where a provider says that its keys are; other fields do not matter here. */
const discovered = z.object({ issuer: z.string(), jwks_uri: z.url() });

/** The provider's keys, fetched when they are first needed and again when an unknown one is named. */
export class KeySource {
  readonly #issuer: string;
  #keys: Promise<JWTVerifyGetKey> | undefined;

  /** Without `jwksUrl` the issuer is asked for it, as OpenID Connect Discovery 1.0 has it. */
  constructor(issuer: string, jwksUrl: string | null) {
    this.#issuer = issuer;
    if (jwksUrl !== null) this.#keys = Promise.resolve(remoteKeys(jwksUrl));
  }

  /** Throws Unavailable where the provider does not say. */
  async keys(): Promise<JWTVerifyGetKey> {
    if (this.#keys === undefined) {
      const asked = this.#discover();
      this.#keys = asked;
      asked.catch(() => setTimeout(() => this.#forget(asked), COOLDOWN_MILLIS).unref());
    }
    return await this.#keys;
  }

  #forget(asked: Promise<JWTVerifyGetKey>): void {
    if (this.#keys === asked) this.#keys = undefined;
  }

  async #discover(): Promise<JWTVerifyGetKey> {
    const address = `${this.#issuer.replace(/\/$/, "")}/.well-known/openid-configuration`;
    try {
      const signal = AbortSignal.timeout(TIMEOUT_MILLIS);
      const answer = await fetch(address, { signal, redirect: "error" });
      if (!answer.ok) throw new Error(`it answered with ${answer.status}`);
      const { issuer, jwks_uri } = discovered.parse(await answer.json());
      if (issuer !== this.#issuer) throw new Error("it calls itself by another name");
      return remoteKeys(jwks_uri);
    } catch (cause) {
      throw new Unavailable(
        `the identity provider cannot be asked for its keys (${address}); try again`,
        2000,
        {
          cause,
        },
      );
    }
  }
}

function remoteKeys(address: string): JWTVerifyGetKey {
  return createRemoteJWKSet(new URL(address), { timeoutDuration: TIMEOUT_MILLIS });
}
