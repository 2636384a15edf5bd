import { Unauthenticated } from "../domain/errors.ts";
import type { Authenticator, Credentials } from "../domain/ports/authenticator.ts";
import { nameProblem, type Principal, type Scope, tenantProblem } from "../domain/principal.ts";

/**
 * Knows clients by the TLS certificate that they show: its organization (O) is the tenant, its common name (CN) the subject. Which
 * authorities may say so is what the connection was made with.
 */
export class CertificateAuthenticator implements Authenticator {
  readonly #scopes: ReadonlySet<Scope>;

  constructor(scopes: readonly Scope[]) {
    this.#scopes = new Set(scopes);
  }

  async authenticate({ bearer, certificate }: Credentials): Promise<Principal | undefined> {
    // A token is the more particular of the two: a proxy's certificate says nothing of who calls through it.
    if (bearer !== undefined || certificate === undefined) return undefined;
    const { organization, commonName, fingerprint, expireTime } = certificate;
    const wrongTenant = tenantProblem(organization);
    if (wrongTenant !== undefined)
      throw new Unauthenticated(
        `the organization (O) of the client's certificate names no tenant: it ${wrongTenant}`,
      );
    const wrongName = commonName === "" ? "is empty" : nameProblem(commonName);
    if (wrongName !== undefined)
      throw new Unauthenticated(`the common name (CN) of the client's certificate ${wrongName}`);
    return {
      tenant: organization,
      subject: commonName,
      scopes: this.#scopes,
      credential: `certificate ${fingerprint}`,
      expireTime,
    };
  }
}
