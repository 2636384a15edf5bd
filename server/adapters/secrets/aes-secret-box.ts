import { createCipheriv, createDecipheriv, createHmac, randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { SystemFault } from "../../domain/errors.ts";
import type { SecretBox } from "../../domain/ports/secret-box.ts";

const CIPHER = "aes-256-gcm";
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** AES-256-GCM under a key that lies in the data folder, apart from the database: a copied database alone shows nothing. */
export async function openSecretBox(dataDirectory: string): Promise<SecretBox> {
  const path = join(dataDirectory, "secrets.key");
  try {
    await writeFile(path, randomBytes(KEY_BYTES), { flag: "wx", mode: 0o600 });
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
  }
  const key = await readFile(path);
  if (key.length !== KEY_BYTES) {
    throw new SystemFault(
      `${path} must hold ${KEY_BYTES} bytes; restore it, for without it stored secrets cannot be read`,
    );
  }
  return new AesSecretBox(key);
}

class AesSecretBox implements SecretBox {
  readonly #key: Buffer;

  constructor(key: Buffer) {
    this.#key = key;
  }

  seal(name: string, value: string): string {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, this.#key, nonce).setAAD(Buffer.from(name));
    const body = Buffer.concat([cipher.update(value, "utf8"), cipher.final()]);
    return Buffer.concat([nonce, cipher.getAuthTag(), body]).toString("base64");
  }

  open(name: string, sealed: string): string {
    const bytes = Buffer.from(sealed, "base64");
    const nonce = bytes.subarray(0, NONCE_BYTES);
    const tag = bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES);
    try {
      const decipher = createDecipheriv(CIPHER, this.#key, nonce).setAAD(Buffer.from(name)).setAuthTag(tag);
      return (
        decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES), undefined, "utf8") + decipher.final("utf8")
      );
    } catch (error) {
      throw new SystemFault(
        `the secret ${name} cannot be opened; was secrets.key replaced?`,
        {},
        { cause: error },
      );
    }
  }

  fingerprint(name: string, value: string): string {
    return createHmac("sha256", this.#key).update(`${name}=${value}`).digest("base64url");
  }
}
