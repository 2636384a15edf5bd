import type { AccessServiceService } from "@longshore/proto/longshore/v1/access_service.ts";
import type { Access } from "./application.ts";
import { pageSize } from "./page-size.ts";
import type { ServiceHandlers } from "./service-handlers.ts";
import { auditEventToProto, tokenToProto } from "./translate/access-to-proto.ts";
import { FieldCheck } from "./translate/field-check.ts";

export function accessService(access: Access): ServiceHandlers<typeof AccessServiceService> {
  return {
    async getCaller(_request, { caller }) {
      const { tenant, subject, scopes, credential, expireTime } = caller;
      return { tenant, subject, scopes: [...scopes], credential, expireTime: expireTime ?? undefined };
    },

    async createToken(request, { caller }) {
      const check = new FieldCheck();
      const lifetimeMillis = check.duration("lifetime", request.lifetime, "above 0");
      const { tenant, subject, scopes, description } = request;
      const { violations } = check;
      const wanted = { tenant, subject, scopes, description, lifetimeMillis, violations };
      const { token, secret } = await access.createToken(caller, wanted);
      return { token: tokenToProto(token), secret };
    },

    async listTokens(request, { caller }) {
      const check = new FieldCheck();
      const size = pageSize(request.pageSize, check);
      const { tenant, pageToken } = request;
      const { violations } = check;
      const page = await access.listTokens(caller, { tenant, pageSize: size, pageToken, violations });
      return { tokens: page.tokens.map(tokenToProto), nextPageToken: page.nextPageToken };
    },

    async revokeToken(request, { caller }) {
      const check = new FieldCheck();
      const id = check.required("id", request.id);
      check.throwIfAny();
      return { token: tokenToProto(await access.revokeToken(caller, id)) };
    },

    async listAuditEvents(request, { caller }) {
      const check = new FieldCheck();
      const { tenant, pageToken } = request;
      const page = await access.listAuditEvents(caller, {
        tenant,
        pageToken,
        since: check.time("since", request.since),
        until: check.time("until", request.until),
        pageSize: pageSize(request.pageSize, check),
        violations: check.violations,
      });
      return { events: page.events.map(auditEventToProto), nextPageToken: page.nextPageToken };
    },
  };
}
