const UNITS: Readonly<Record<string, string>> = { s: "seconds", By: "bytes" };

/** "longshore.log.written", "By" of a total is "longshore_log_written_bytes_total": the rules of OpenTelemetry's specification. */
export function prometheusName(name: string, unit: string, grows: boolean): string {
  const plain = name.replace(/[^a-zA-Z0-9]+/g, "_");
  const suffix = UNITS[unit];
  const withUnit = suffix === undefined || plain.endsWith(`_${suffix}`) ? plain : `${plain}_${suffix}`;
  return grows ? `${withUnit}_total` : withUnit;
}
