import type { AuditEvent as AuditEventMessage, Token } from "@longshore/proto/longshore/v1/access_service.ts";
import type { AccessToken } from "#server/domain/access-token.ts";
import type { AuditEvent } from "#server/domain/audit.ts";
import { int64 } from "./to-wire.ts";

export function tokenToProto(token: AccessToken): Token {
  return {
    id: token.id,
    tenant: token.tenant,
    subject: token.subject,
    scopes: [...token.scopes],
    description: token.description,
    createTime: token.createTime,
    createdBy: token.createdBy,
    expireTime: token.expireTime ?? undefined,
    revokeTime: token.revokeTime ?? undefined,
  };
}

export function auditEventToProto(event: AuditEvent): AuditEventMessage {
  return { ...event, count: int64(event.count) };
}
