/** What a credential allows; none implies another. The words are those of tokens, of OIDC claims and of errors. */
export const SCOPES = [
  "tasks:read",
  "tasks:write",
  "blobs",
  "usage",
  /** Tokens, webhooks and the audit log of the own tenant. */
  "admin",
  /** Those of every tenant, and what the server as a whole did. */
  "operator",
] as const;

export type Scope = (typeof SCOPES)[number];

export function isScope(word: string): word is Scope {
  return (SCOPES as readonly string[]).includes(word);
}

/** Somebody whose credential was checked. */
export interface Principal {
  readonly tenant: string;
  readonly subject: string;
  readonly scopes: ReadonlySet<Scope>;
  /** Names the credential without its secret: "token ID", "oidc SUBJECT", "certificate FINGERPRINT" or "local". */
  readonly credential: string;
  /** When the credential ends; null means never. */
  readonly expireTime: Date | null;
}

/** Who everybody is where no credential is asked for: the one user of this machine. */
export const LOCAL_USER: Principal = {
  tenant: "default",
  subject: "local",
  scopes: new Set(SCOPES),
  credential: "local",
  expireTime: null,
};

const MAX_SUBJECT_LENGTH = 200;
/** Tenants become parts of keys beside other text, so that nothing that could separate parts is allowed in them. */
const TENANT = /^[a-z0-9][a-z0-9._-]{0,62}$/;
/** Control characters, which could forge lines where names are shown. */
const UNPRINTABLE = /\p{Cc}/u;

/** What is wrong with a tenant's name; undefined when nothing is. */
export function tenantProblem(tenant: string): string | undefined {
  if (TENANT.test(tenant)) return undefined;
  return 'must begin with a lower-case letter or digit and go on with these, ".", "_" and "-", at most 63 in all';
}

/** What is wrong with the name of somebody or the purpose of something; undefined when nothing is. */
export function nameProblem(name: string): string | undefined {
  if (name.length > MAX_SUBJECT_LENGTH)
    return `has ${name.length} characters; at most ${MAX_SUBJECT_LENGTH} are allowed`;
  if (UNPRINTABLE.test(name) || !name.isWellFormed()) return "holds characters that cannot be shown";
  return undefined;
}
