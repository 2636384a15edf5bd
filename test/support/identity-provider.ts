import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from "jose";

type Key = Awaited<ReturnType<typeof generateKeyPair>>["privateKey"];

/** An OpenID Connect provider of a test's own, as far as a server that checks tokens sees one. */
export class IdentityProvider implements AsyncDisposable {
  readonly #server: Server;
  readonly #keys = new Map<string, { readonly algorithm: string; readonly key: Key }>();
  readonly #published: object[] = [];
  /** Paths asked for. */
  readonly asked: string[] = [];
  /** Answers every request with this status. */
  failing: number | undefined;
  /** What it calls itself; its own address unless a test says otherwise. */
  issuer = "";

  private constructor() {
    this.#server = createServer((request, response) => {
      this.asked.push(request.url ?? "");
      const discovery = { issuer: this.issuer, jwks_uri: `${this.address}/keys` };
      const body = request.url === "/keys" ? { keys: this.#published } : discovery;
      response.writeHead(this.failing ?? 200, { "content-type": "application/json" });
      response.end(JSON.stringify(body));
    });
  }

  static async start(): Promise<IdentityProvider> {
    const provider = new IdentityProvider();
    provider.#server.listen(0, "127.0.0.1");
    await once(provider.#server, "listening");
    provider.issuer = provider.address;
    await provider.addKey("first", "ES256");
    return provider;
  }

  get address(): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the provider is not listening");
    return `http://127.0.0.1:${address.port}`;
  }

  async addKey(kid: string, algorithm: string, { published = true } = {}): Promise<void> {
    const { privateKey, publicKey } = await generateKeyPair(algorithm, { extractable: true });
    this.#keys.set(kid, { algorithm, key: privateKey });
    if (published) this.#published.push({ ...(await exportJWK(publicKey)), kid, alg: algorithm, use: "sig" });
  }

  /** A token of the provider for an hour, with these claims in place of the usual ones. */
  async sign(claims: JWTPayload = {}, kid = "first"): Promise<string> {
    const { key, algorithm } = this.#keys.get(kid) ?? { key: undefined, algorithm: "" };
    if (key === undefined) throw new Error(`there is no key ${kid}`);
    const now = Math.floor(Date.now() / 1000);
    const usual = {
      iss: this.issuer,
      aud: "longshore",
      sub: "ana",
      exp: now + 3600,
      scope: "openid tasks:read",
    };
    return await new SignJWT({ ...usual, ...claims }).setProtectedHeader({ alg: algorithm, kid }).sign(key);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, "close");
  }
}
