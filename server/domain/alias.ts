/** What a name stands for may be called: it is written into command lines, JSON files and tables. */
const ALIAS = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** Reads "name=value" items; each wrong one is added to `problems`. */
export function parseAliases<T>(
  items: readonly string[],
  read: (value: string) => T | undefined,
  problems: string[],
): ReadonlyMap<string, T> {
  const aliases = new Map<string, T>();
  for (const item of items) {
    const at = item.indexOf("=");
    const name = item.slice(0, Math.max(0, at)).trim();
    const value = at < 0 ? undefined : read(item.slice(at + 1).trim());
    if (!ALIAS.test(name) || value === undefined) problems.push(item);
    else if (aliases.has(name)) problems.push(`${name} twice`);
    else aliases.set(name, value);
  }
  return aliases;
}

/** For messages: what there is to choose from. */
export function listNames(names: Iterable<string>): string {
  const all = [...names];
  return all.length === 0 ? "none" : all.join(", ");
}
