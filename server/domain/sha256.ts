const SHA256 = /^[0-9a-f]{64}$/;

/** The one way in which a SHA-256 digest is written: 64 lower-case hex digits. */
export function isSha256(text: string): boolean {
  return SHA256.test(text);
}
