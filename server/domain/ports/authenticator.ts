import type { Principal } from "../principal.ts";

/** What a call brings to show who sent it; none of it may be logged. */
export interface Credentials {
  /** What followed "Bearer " in the authorization metadata; undefined when there was none. */
  readonly bearer: string | undefined;
  /** The client's TLS certificate, already verified against the configured authorities. */
  readonly certificate: ClientCertificate | undefined;
}

export interface ClientCertificate {
  /** Common name of its subject. */
  readonly commonName: string;
  /** Organization of its subject. */
  readonly organization: string;
  /** SHA-256 of the certificate as hex digits. */
  readonly fingerprint: string;
  readonly expireTime: Date;
}

/** Checks one kind of credential. */
export interface Authenticator {
  /**
   * Who shows these; undefined where nothing among them is of this kind. Throws Unauthenticated where it is but does not hold, and
   * Unavailable where that cannot be told now.
   */
  authenticate(credentials: Credentials): Promise<Principal | undefined>;
}
