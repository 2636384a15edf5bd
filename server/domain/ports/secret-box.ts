/** Keeps values that a client trusts us with unreadable wherever they are stored. */
export interface SecretBox {
  /** `name` is bound to the value: a sealed value opens under its own name only. */
  seal(name: string, value: string): string;
  /** Throws SystemFault where the sealed text is damaged or was sealed with another key. */
  open(name: string, sealed: string): string;
  /** The same for the same name and value, and useless for guessing them without the key. */
  fingerprint(name: string, value: string): string;
}
