import { createTransport, type Transporter } from "nodemailer";
import type { Answer, DeliveryChannel, Message } from "../../domain/ports/delivery-channel.ts";
import { taskMail } from "./task-mail.ts";

const MAX_RESPONSE_CHARACTERS = 1024;
/** One plain address: no list, no display name, no header fields behind a "?", nothing encoded. */
const ADDRESS = /^mailto:([A-Za-z0-9._+=~^'-]{1,64}@((?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,63}))$/;

export interface SmtpSenderOptions {
  readonly host: string;
  readonly port: number;
  /** TLS from the first byte; else by STARTTLS where the server offers it. */
  readonly secure: boolean;
  readonly auth: { readonly user: string; readonly pass: string } | null;
  readonly from: string;
  /** Domains that mail may go to; "*" means any. */
  readonly domains: readonly string[];
  readonly timeoutMillis: number;
}

/** Mails messages by the operator's own SMTP server, to the domains that the operator allows. */
export class SmtpSender implements DeliveryChannel, Disposable {
  readonly #options: SmtpSenderOptions;
  readonly #transport: Transporter;

  constructor(options: SmtpSenderOptions) {
    const { host, port, secure, auth, timeoutMillis } = options;
    this.#options = options;
    this.#transport = createTransport({
      host,
      port,
      secure,
      // Whoever sits between could take the offer of encryption away, and would be told the password.
      requireTLS: auth !== null && !isLoopback(host),
      ...(auth !== null && { auth }),
      connectionTimeout: timeoutMillis,
      greetingTimeout: timeoutMillis,
      socketTimeout: timeoutMillis,
      dnsTimeout: timeoutMillis,
      disableFileAccess: true,
      disableUrlAccess: true,
    });
  }

  problem(url: string): string | undefined {
    const domain = ADDRESS.exec(url)?.[2]?.toLowerCase();
    if (domain === undefined) return "is no single address such as mailto:ana@example.com";
    const { domains } = this.#options;
    if (domains.includes("*") || domains.some((allowed) => allowed.toLowerCase() === domain))
      return undefined;
    return `is of ${domain}, which this server sends no mail to; the operator allows ${domains.join(", ")} (LONGSHORE_SMTP_DOMAINS)`;
  }

  async send(message: Message, signal: AbortSignal): Promise<Answer> {
    // The operator may have taken a domain off the list since.
    const problem = this.problem(message.url);
    if (problem !== undefined) return answer(0, `the address ${problem}`);
    const limit = AbortSignal.timeout(this.#options.timeoutMillis);
    try {
      const { response = "" } = await untilAborted(this.#mail(message), AbortSignal.any([signal, limit]));
      return answer(Number(/^\d{3}/.exec(response)?.[0] ?? 0), "", response);
    } catch (error) {
      signal.throwIfAborted();
      if (limit.aborted)
        return answer(0, `no answer of the mail server within ${this.#options.timeoutMillis / 1000} s`);
      return refusalOf(error);
    }
  }

  async #mail({ id, url, body }: Message): Promise<{ readonly response?: string | undefined }> {
    const { subject, text } = taskMail(body);
    return await this.#transport.sendMail({
      from: this.#options.from,
      to: ADDRESS.exec(url)?.[1] ?? "",
      subject,
      text,
      // The same for each try, so that mail readers show one that came twice once.
      messageId: `<${id}@longshore>`,
      headers: { "Auto-Submitted": "auto-generated", "X-Longshore-Delivery": id },
    });
  }

  [Symbol.dispose](): void {
    this.#transport.close();
  }
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host.startsWith("127.");
}

/** nodemailer knows no signals; its own timeouts end what is left behind here. */
async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

function refusalOf(error: unknown): Answer {
  if (!(error instanceof Error)) return answer(0, String(error));
  const code = "responseCode" in error && typeof error.responseCode === "number" ? error.responseCode : 0;
  const response = "response" in error && typeof error.response === "string" ? error.response : "";
  const why = error.message.replace(/\p{Cc}+/gu, " ").slice(0, 300);
  return answer(code, `the mail server did not take it: ${why}`, response);
}

function answer(statusCode: number, error: string, text = ""): Answer {
  const response = text.slice(0, MAX_RESPONSE_CHARACTERS).replace(/[^\P{Cc}\n\t]/gu, "\uFFFD");
  return { statusCode, error, response, gone: false, retryAfterMillis: null };
}
