import type { Metadata, ServerUnaryCall } from "@grpc/grpc-js";
import { MissingScope, Unauthenticated } from "#server/domain/errors.ts";
import type { ClientCertificate } from "#server/domain/ports/authenticator.ts";
import type { Access, Caller, Principal } from "./application.ts";
import type { Need } from "./rpc-scopes.ts";
import { traceparentOf } from "./traceparent.ts";

/** grpc-js does not export the name of it. */
type AuthContext = ReturnType<ServerUnaryCall<unknown, unknown>["getAuthContext"]>;

/** What a call brings with it, of any kind that grpc-js has. */
export interface Visitor {
  readonly metadata: Metadata;
  getPeer(): string;
  getAuthContext(): AuthContext;
}

const NOBODY = { tenant: "", subject: "", credential: "" };

/** Lets a call in once it is known who makes it and that they may; notes those that are sent away. */
export class Gate {
  readonly #access: Access;

  constructor(access: Access) {
    this.#access = access;
  }

  async admit(path: string, need: Need, visitor: Visitor): Promise<Caller> {
    const peer = hostOf(visitor.getPeer());
    const denied = (who: Pick<Principal, "tenant" | "subject" | "credential">, reason: string) => {
      const { tenant, subject, credential } = who;
      this.#access.denied({ caller: { tenant, subject, credential }, peer, path, detail: reason });
    };
    const principal = await this.#identify(visitor, denied);
    if (need === "any" || principal.scopes.has(need)) {
      return { ...principal, peer, traceparent: traceparentOf(visitor.metadata) };
    }
    denied(principal, `MISSING_SCOPE: ${need}`);
    const held = [...principal.scopes].join(", ");
    throw new MissingScope(
      need,
      `this call needs the scope ${need}; yours has ${held}. Ask for a token with it`,
    );
  }

  async #identify(
    visitor: Visitor,
    denied: (who: Pick<Principal, "tenant" | "subject" | "credential">, reason: string) => void,
  ): Promise<Principal> {
    try {
      const bearer = bearerOf(visitor.metadata);
      const certificate = certificateOf(visitor.getAuthContext());
      return await this.#access.authenticate({ bearer, certificate });
    } catch (error) {
      if (error instanceof Unauthenticated)
        denied(error.known ?? NOBODY, `UNAUTHENTICATED: ${error.message.slice(0, 200)}`);
      throw error;
    }
  }
}

/** Whom a call comes from that needs no credential. */
export function stranger(visitor: Visitor): Caller {
  const traceparent = traceparentOf(visitor.metadata);
  return { ...NOBODY, scopes: new Set(), expireTime: null, peer: hostOf(visitor.getPeer()), traceparent };
}

function bearerOf(metadata: Metadata): string | undefined {
  const [value, ...more] = metadata.get("authorization");
  if (value === undefined) return undefined;
  // Two of them could be read differently by whoever checks and whoever logs.
  if (more.length > 0) throw new Unauthenticated("authorization was sent more than once; send it once");
  const [, token] = /^Bearer +(\S+)$/i.exec(value.toString()) ?? [];
  if (token === undefined) throw new Unauthenticated('authorization is not of the form "Bearer TOKEN"');
  return token;
}

function certificateOf(context: AuthContext): ClientCertificate | undefined {
  const certificate = context?.sslPeerCertificate;
  if (certificate === undefined) return undefined;
  const { subject, fingerprint256, valid_to } = certificate;
  return {
    commonName: single(subject.CN),
    organization: single(subject.O),
    fingerprint: fingerprint256.replaceAll(":", "").toLowerCase(),
    expireTime: new Date(valid_to),
  };
}

/** A certificate may name several; none of them is better than the others. */
function single(name: string | string[] | undefined): string {
  return typeof name === "string" ? name : "";
}

/** "10.0.0.1:4711" and "[::1]:4711" without the port, which is another for each connection. */
function hostOf(peer: string): string {
  return peer.replace(/:\d+$/, "").slice(0, 100);
}
