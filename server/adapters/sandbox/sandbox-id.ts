const SANDBOX_ID = /^[0-9A-Z]{26}$/;

/** A sandbox id becomes part of paths and names, so nothing but a ULID may pass. */
export function checkedSandboxId(id: string): string {
  if (!SANDBOX_ID.test(id))
    throw new RangeError(`${JSON.stringify(id.slice(0, 64))} is no sandbox id (a ULID)`);
  return id;
}

export function isSandboxId(text: string): boolean {
  return SANDBOX_ID.test(text);
}
