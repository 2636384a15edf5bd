/** What the transport calls is defined by the application; this is the one door to it. */

export type * from "#server/application/access-api.ts";
export type * from "#server/application/api.ts";
export type * from "#server/application/caller.ts";
export type * from "#server/application/webhooks-api.ts";
