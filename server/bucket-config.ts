import type { Values } from "./settings.ts";

/** Where blobs are kept beyond this machine. */
export interface BucketConfig {
  readonly bucket: string;
  /** Without slashes at its ends. */
  readonly prefix: string;
  readonly endpoint: string | null;
  readonly publicEndpoint: string | null;
  readonly region: string;
  readonly pathStyle: boolean;
  /** Of presigned addresses. */
  readonly lifetimeMillis: number;
  readonly maxLifetimeMillis: number;
}

export function bucketProblems(v: Values): string[] {
  if (v.LONGSHORE_BLOBS !== "files") return [];
  return (["LONGSHORE_S3_ENDPOINT", "LONGSHORE_S3_PUBLIC_ENDPOINT"] as const).flatMap((name) =>
    v[name] === "" ? [] : [`${name} means nothing without LONGSHORE_BLOBS=s3://BUCKET/PREFIX`],
  );
}

export function bucketOf(v: Values, env: Readonly<Record<string, string | undefined>>): BucketConfig | null {
  if (v.LONGSHORE_BLOBS === "files") return null;
  const [bucket = "", ...prefix] = v.LONGSHORE_BLOBS.slice("s3://".length).replace(/\/$/, "").split("/");
  const orNull = (text: string) => (text === "" ? null : text);
  return {
    bucket,
    prefix: prefix.join("/"),
    endpoint: orNull(v.LONGSHORE_S3_ENDPOINT),
    publicEndpoint: orNull(v.LONGSHORE_S3_PUBLIC_ENDPOINT),
    region: v.LONGSHORE_S3_REGION || env.AWS_REGION || env.AWS_DEFAULT_REGION || "us-east-1",
    lifetimeMillis: v.LONGSHORE_URL_LIFETIME,
    maxLifetimeMillis: v.LONGSHORE_MAX_URL_LIFETIME,
    pathStyle:
      v.LONGSHORE_S3_PATH_STYLE === "auto"
        ? v.LONGSHORE_S3_ENDPOINT !== ""
        : v.LONGSHORE_S3_PATH_STYLE === "true",
  };
}
