/** What a runtime's version says of the known ways out of its containers. */
export interface RuntimeVerdict {
  readonly holds: boolean;
  readonly sentence: string;
  readonly advice: string;
}

/**
 * CVE-2024-21626: a descriptor of the host that runc leaked into the container, and with it the host's files. Closed in 1.1.12.
 * CVE-2025-31133, CVE-2025-52565 and CVE-2025-52881: mounts and writes redirected while a container is set up, which needs a hostile
 * image or mounts that two containers share. Closed in 1.2.8, 1.3.3 and 1.4.0.
 */
const LEAKED_DESCRIPTOR_CLOSED = [1, 1, 12] as const;
const SET_UP_RACES_CLOSED: readonly (readonly [number, number, number])[] = [
  [1, 2, 8],
  [1, 3, 3],
  [1, 4, 0],
];
/** Builds of distributors that keep an old number and carry the patch for CVE-2024-21626. */
const PATCHED_BUILDS: ReadonlyMap<string, string> = new Map([
  ["1.1.5+ds1-1+deb12u1", "Debian 12 patched it in this build (DSA-5615-1)"],
]);

/** Judges "runc 1.1.5+ds1-1+deb12u1" or "runc v1.3.3-0-gd842d771"; undefined for what is no runc. */
export function judgeRuntime(runtime: string): RuntimeVerdict | undefined {
  const [name, version = ""] = runtime.split(" ");
  if (name !== "runc") return undefined;
  const match = /^v?(\d+)\.(\d+)\.(\d+)(.*)$/.exec(version);
  if (match === null) {
    return {
      holds: false,
      sentence: "the server could not tell the version of runc",
      advice: "compare `runc --version` on the host with 1.1.12, which closed CVE-2024-21626",
    };
  }
  const [, major, minor, patch, suffix = ""] = match;
  const number = [Number(major), Number(minor), Number(patch)] as const;
  const line = SET_UP_RACES_CLOSED.find(([, lineMinor]) => lineMinor === number[1]);
  const newest = SET_UP_RACES_CLOSED.at(-1);
  if (!isBelow(number, newest ?? number) || (line !== undefined && !isBelow(number, line))) {
    return {
      holds: true,
      sentence: `${version} has no known way out that this program knows of`,
      advice: "",
    };
  }
  const setUpRaces = "CVE-2025-31133, CVE-2025-52565 and CVE-2025-52881 are closed in 1.2.8, 1.3.3 and 1.4.0";
  const patched = PATCHED_BUILDS.get(version.replace(/^v/, ""));
  if (!isBelow(number, LEAKED_DESCRIPTOR_CLOSED) || patched !== undefined) {
    return {
      holds: true,
      sentence: `CVE-2024-21626 is closed${patched === undefined ? "" : `: ${patched}`}`,
      advice: `${setUpRaces}: allow only images that you trust, or use a newer runc`,
    };
  }
  const ofDistributor = /^[+~-]|ubuntu|deb|el\d/.test(suffix) && !/^-\d+-g[0-9a-f]+$/.test(suffix);
  return {
    holds: false,
    sentence: `${version} is older than 1.1.12, which closed CVE-2024-21626`,
    advice: ofDistributor
      ? "this is a distributor's build, whose number does not tell what was patched: see their security tracker for CVE-2024-21626, or use a newer runc"
      : "use a newer runc: this one lets a container reach the host's files",
  };
}

function isBelow(version: readonly number[], floor: readonly number[]): boolean {
  for (const [index, part] of floor.entries()) {
    const own = version[index] ?? 0;
    if (own !== part) return own < part;
  }
  return false;
}
