import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { describe, test } from "node:test";
import { OidcAuthenticator, type OidcOptions } from "#server/adapters/oidc/oidc-authenticator.ts";
import { Unauthenticated, Unavailable } from "#server/domain/errors.ts";
import type { Principal } from "#server/domain/principal.ts";
import { AccessBench } from "../support/access-bench.ts";
import { IdentityProvider } from "../support/identity-provider.ts";

class Desk implements AsyncDisposable {
  readonly provider: IdentityProvider;
  readonly #authenticator: OidcAuthenticator;
  aheadMillis = 0;

  private constructor(provider: IdentityProvider, changes: Partial<OidcOptions>) {
    this.provider = provider;
    const options: OidcOptions = {
      issuer: provider.issuer,
      audience: "longshore",
      jwksUrl: null,
      algorithms: ["ES256"],
      clockSkewMillis: 30_000,
      subjectClaim: "sub",
      tenantClaim: null,
      tenant: "default",
      scopesClaim: "scope",
      scopes: [],
      ...changes,
    };
    this.#authenticator = new OidcAuthenticator(options, () => new Date(Date.now() + this.aheadMillis));
  }

  static async open(changes: Partial<OidcOptions> = {}): Promise<Desk> {
    return new Desk(await IdentityProvider.start(), changes);
  }

  show(bearer: string): Promise<Principal | undefined> {
    return this.#authenticator.authenticate({ bearer, certificate: undefined });
  }

  async refuses(bearer: string, pattern: RegExp): Promise<void> {
    await assert.rejects(
      () => this.show(bearer),
      (error) => {
        assert.ok(error instanceof Unauthenticated, String(error));
        assert.match(error.message, pattern);
        assert.ok(!error.message.includes(bearer));
        return true;
      },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.provider[Symbol.asyncDispose]();
  }
}

const part = (json: object) => Buffer.from(JSON.stringify(json)).toString("base64url");

describe("a JWT of the provider", () => {
  test("says who calls; the provider is asked once", async () => {
    await using desk = await Desk.open();
    const bearer = await desk.provider.sign();
    const principal = await desk.show(bearer);
    assert.deepEqual(
      [principal?.tenant, principal?.subject, [...(principal?.scopes ?? [])], principal?.credential],
      ["default", "ana", ["tasks:read"], "oidc ana"],
    );
    await desk.show(bearer);
    await desk.show(await desk.provider.sign({ sub: "bob" }));
    assert.deepEqual(desk.provider.asked, ["/.well-known/openid-configuration", "/keys"]);
  });

  test("gives tenant, subject and scopes as the configuration has it", async () => {
    await using desk = await Desk.open({
      tenantClaim: "org",
      subjectClaim: "email",
      scopesClaim: "groups",
      scopes: ["usage"],
    });
    const claims = { org: "blue", email: "ana@example.com", groups: ["blobs", "admins", 7] };
    const principal = await desk.show(await desk.provider.sign(claims));
    assert.deepEqual(
      [principal?.tenant, principal?.subject, [...(principal?.scopes ?? [])]],
      ["blue", "ana@example.com", ["usage", "blobs"]],
    );
    await desk.refuses(
      await desk.provider.sign({ ...claims, org: "Blue Team" }),
      /claim org names no tenant/,
    );
    await desk.refuses(await desk.provider.sign({ ...claims, org: undefined }), /no claim org/);
    await desk.refuses(await desk.provider.sign({ ...claims, email: "a\nb" }), /claim email/);
  });

  test("is refused when it is for another, of another, too old or too young", async () => {
    await using desk = await Desk.open();
    const now = Math.floor(Date.now() / 1000);
    const wrong = [
      [{ aud: "billing" }, /claim aud/],
      [{ aud: undefined }, /claim aud/],
      [{ iss: "http://127.0.0.1:1" }, /claim iss/],
      [{ exp: now - 31 }, /expired/],
      [{ exp: undefined }, /claim exp/],
      [{ nbf: now + 60 }, /claim nbf/],
    ] as const;
    for (const [claims, pattern] of wrong) await desk.refuses(await desk.provider.sign(claims), pattern);
    assert.ok(await desk.show(await desk.provider.sign({ exp: now - 25, nbf: now + 25 })), "within the skew");
  });

  test("is refused when its signature does not hold", async () => {
    await using desk = await Desk.open();
    await using stranger = await IdentityProvider.start();
    stranger.issuer = desk.provider.issuer;
    await desk.refuses(await stranger.sign(), /signature/);
    await desk.provider.addKey("weak", "RS256");
    await desk.refuses(await desk.provider.sign({}, "weak"), /signature/);
    await desk.provider.addKey("secret", "ES256", { published: false });
    await desk.refuses(await desk.provider.sign({}, "secret"), /signature/);
    const [head = "", body = "", signature = ""] = (await desk.provider.sign()).split(".");
    const other = part({ ...JSON.parse(Buffer.from(body, "base64url").toString()), sub: "root" });
    await desk.refuses(`${head}.${other}.${signature}`, /signature/);
    await desk.refuses(`${part({ alg: "none" })}.${body}.`, /signature/);
    const hmac = part({ alg: "HS256", kid: "first" });
    const forged = createHmac("sha256", "public key").update(`${hmac}.${body}`).digest("base64url");
    await desk.refuses(`${hmac}.${body}.${forged}`, /signature/);
    await desk.refuses(`${"a".repeat(20_000)}.b.c`, /longer/);
  });

  test("ends at its time also when it was known", async () => {
    await using desk = await Desk.open();
    const bearer = await desk.provider.sign({ exp: Math.floor(Date.now() / 1000) + 20 });
    await desk.show(bearer);
    desk.aheadMillis = 60_000;
    await desk.refuses(bearer, /expired/);
  });

  test("cannot be judged while the provider is away, which is not the caller's fault", async () => {
    await using desk = await Desk.open({ jwksUrl: "http://127.0.0.1:1/keys" });
    await assert.rejects(async () => desk.show(await desk.provider.sign()), Unavailable);
    await using other = await Desk.open();
    other.provider.failing = 503;
    await assert.rejects(async () => other.show(await other.provider.sign()), Unavailable);
    await using liar = await Desk.open();
    const bearer = await liar.provider.sign();
    liar.provider.issuer = "http://127.0.0.1:1";
    await assert.rejects(() => liar.show(bearer), Unavailable);
  });

  test("is no matter of this authenticator when it is none", async () => {
    await using desk = await Desk.open();
    assert.equal(await desk.show("lsh_0_a"), undefined);
    assert.deepEqual(desk.provider.asked, []);
  });

  test("counts beside the server's own tokens", async () => {
    await using provider = await IdentityProvider.start();
    const options: OidcOptions = {
      issuer: provider.issuer,
      audience: "longshore",
      jwksUrl: `${provider.address}/keys`,
      algorithms: ["ES256"],
      clockSkewMillis: 0,
      subjectClaim: "sub",
      tenantClaim: null,
      tenant: "blue",
      scopesClaim: "scope",
      scopes: [],
    };
    await using bench = await AccessBench.open({
      authenticators: [new OidcAuthenticator(options, () => new Date())],
    });
    const { secret } = await bench.token("red", ["blobs"]);
    const tenantOf = async (bearer: string) =>
      (await bench.access.authenticate({ bearer, certificate: undefined })).tenant;
    assert.deepEqual([await tenantOf(secret), await tenantOf(await provider.sign())], ["red", "blue"]);
  });
});
