import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { readConfig } from "#server/config.ts";

const MAIL = {
  LONGSHORE_SMTP_URL: "smtp://ana:p%40ss@mail.example.com",
  LONGSHORE_SMTP_FROM: "longshore@example.com",
  LONGSHORE_SMTP_DOMAINS: "example.com, example.org",
};

describe("settings of notifications", () => {
  test("allow private addresses and loopback, never a link's or clouds' metadata", () => {
    const allowed = (text: string) =>
      readConfig({ LONGSHORE_WEBHOOK_ALLOW: text }).notifications.webhooks.allowed;
    assert.deepEqual(allowed(""), []);
    assert.equal(allowed("10.0.0.0/8,127.0.0.1:8080,192.168.1.1").length, 3);
    for (const wrong of ["169.254.169.254", "0.0.0.0/0", "224.0.0.0/8", "168.0.0.0/7"])
      assert.throws(() => allowed(wrong), /never allowed/, wrong);
  });

  test("take a mail server's address apart", () => {
    const { mail } = readConfig(MAIL).notifications;
    assert.deepEqual(
      [mail?.host, mail?.port, mail?.secure, mail?.auth, mail?.domains],
      ["mail.example.com", 587, false, { user: "ana", pass: "p@ss" }, ["example.com", "example.org"]],
    );
    const other = readConfig({ ...MAIL, LONGSHORE_SMTP_URL: "smtps://[::1]" }).notifications.mail;
    assert.deepEqual([other?.host, other?.port, other?.secure, other?.auth], ["::1", 465, true, null]);
    assert.equal(readConfig({}).notifications.mail, null);
  });

  test("of mail belong together, and a password is not repeated", () => {
    const wrong = [
      [{ ...MAIL, LONGSHORE_SMTP_FROM: "" }, /needs a sender/],
      [{ ...MAIL, LONGSHORE_SMTP_DOMAINS: "" }, /needs domains/],
      [{ ...MAIL, LONGSHORE_SMTP_URL: "" }, /mean nothing without/],
      [{ ...MAIL, LONGSHORE_SMTP_URL: "http://ana:geheim@mail.example.com" }, /is not an address such as/],
    ] as const;
    for (const [env, expected] of wrong) {
      assert.throws(
        () => readConfig(env),
        (error) =>
          error instanceof Error && expected.test(error.message) && !error.message.includes("geheim"),
      );
    }
  });
});
