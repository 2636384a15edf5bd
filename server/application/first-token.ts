import { tokenProblem } from "../domain/access-token.ts";
import type { TokenStore } from "../domain/ports/access-store.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import { SCOPES } from "../domain/principal.ts";
import type { ManageTokens } from "./manage-tokens.ts";

const PAGE_SIZE = 1000;
const SERVER = { tenant: "default", subject: "server", credential: "", peer: "" };

export interface FirstTokenDeps {
  readonly store: TokenStore;
  readonly tokens: ManageTokens;
  /** Answers where it was put. */
  readonly deliver: (token: string) => Promise<string>;
  readonly log: Log;
  readonly clock: () => Date;
}

/**
 * Makes a token with every scope unless one with the scope operator is good: at the first start, and after the last one was revoked or
 * lost, since whoever may restart the server and read its files may do everything anyway.
 */
export async function issueFirstToken({ store, tokens, deliver, log, clock }: FirstTokenDeps): Promise<void> {
  if (await hasOperator(store, clock())) return;
  let file = "";
  const { token } = await tokens.issue(
    SERVER,
    {
      tenant: "default",
      subject: "admin",
      scopes: SCOPES,
      description: "made by the server, since there was no token with the scope operator",
      lifetime: null,
    },
    async (secret) => {
      file = await deliver(secret);
    },
  );
  log.info("made the first administrator's credential", { id: token.id, file });
}

async function hasOperator(store: TokenStore, now: Date): Promise<boolean> {
  for (let afterId = ""; ; ) {
    const page = await store.list({ tenant: null, afterId, limit: PAGE_SIZE });
    if (page.some((token) => token.scopes.includes("operator") && tokenProblem(token, now) === undefined))
      return true;
    const last = page.at(-1);
    if (last === undefined || page.length < PAGE_SIZE) return false;
    afterId = last.id;
  }
}
