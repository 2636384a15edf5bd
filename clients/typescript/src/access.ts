import {
  AccessServiceService,
  type AuditEvent,
  type GetCallerResponse,
  type Token,
} from "@longshore/proto/longshore/v1/access_service";
import type { CallOptions, Channel } from "./channel.ts";
import { type FieldViolation, InvalidRequest, LongshoreError } from "./errors.ts";
import { listOf } from "./lists.ts";
import { type DurationText, readDuration } from "./spec.ts";

export type { AuditEvent, GetCallerResponse as CallerRecord, Token as TokenRecord };

export interface CreateTokenOptions extends CallOptions {
  /** What it may do: tasks:read, tasks:write, blobs, usage, admin, operator. */
  readonly scopes: readonly string[];
  /** Who uses it; yourself when left out. */
  readonly subject?: string;
  /** Your own when left out; another needs the scope operator. */
  readonly tenant?: string;
  readonly description?: string;
  /** Such as "90d"; 90 days when left out. */
  readonly lifetime?: DurationText;
}

export interface ListTokensOptions extends CallOptions {
  readonly tenant?: string;
  readonly pageSize?: number;
}

export interface AuditOptions extends ListTokensOptions {
  readonly since?: Date;
  readonly until?: Date;
}

/** What the server keeps of a token, and the token itself, which is never shown again. */
export interface CreatedToken {
  readonly token: Token;
  readonly secret: string;
}

/** Who may call, and who did what: `client.access`. */
export class Access {
  readonly #channel: Channel;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** Whom the server takes this client for. */
  caller(options: CallOptions = {}): Promise<GetCallerResponse> {
    return this.#channel.unary(AccessServiceService.getCaller, {}, { ...options, retry: true });
  }

  /** Makes a token; `secret` is the token itself and is never shown again. */
  async createToken(options: CreateTokenOptions): Promise<CreatedToken> {
    const violations: FieldViolation[] = [];
    const request = {
      tenant: options.tenant ?? "",
      subject: options.subject ?? "",
      scopes: [...listOf("scopes", options.scopes, violations)],
      description: options.description ?? "",
      lifetime: readDuration("lifetime", options.lifetime, violations),
    };
    if (violations.length > 0) throw new InvalidRequest(violations);
    // Not repeated by itself: a second token would be left that nobody knows of.
    const answer = await this.#channel.unary(AccessServiceService.createToken, request, {
      ...options,
      retry: false,
    });
    return { token: present(answer.token), secret: answer.secret };
  }

  /** Newest first, revoked and expired ones too, page after page for as long as the loop reads on. */
  async *tokens(options: ListTokensOptions = {}): AsyncGenerator<Token, void, undefined> {
    let pageToken = "";
    do {
      const request = { tenant: options.tenant ?? "", pageSize: options.pageSize ?? 0, pageToken };
      const page = await this.#channel.unary(AccessServiceService.listTokens, request, {
        ...options,
        retry: true,
      });
      yield* page.tokens;
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
  }

  /** Later calls with it are refused, streams that it opened end; tasks go on. */
  async revokeToken(id: string, options: CallOptions = {}): Promise<Token> {
    const answer = await this.#channel.unary(
      AccessServiceService.revokeToken,
      { id },
      { ...options, retry: true },
    );
    return present(answer.token);
  }

  /** Oldest first, page after page for as long as the loop reads on. */
  async *auditEvents(options: AuditOptions = {}): AsyncGenerator<AuditEvent, void, undefined> {
    const { tenant = "", since, until, pageSize = 0 } = options;
    let pageToken = "";
    do {
      const request = { tenant, since, until, pageSize, pageToken };
      const page = await this.#channel.unary(AccessServiceService.listAuditEvents, request, {
        ...options,
        retry: true,
      });
      yield* page.events;
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
  }
}

function present(token: Token | undefined): Token {
  if (token !== undefined) return token;
  throw new LongshoreError("the server answered without a token", { code: "INTERNAL" });
}
