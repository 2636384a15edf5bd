import { existsSync } from "node:fs";

/** Why no environment can be installed here; false where it can. Whether the package index answers shows only then. */
export const packagesMissing: string | false =
  (process.env.LONGSHORE_UV ?? "") === "" &&
  "LONGSHORE_UV names no uv; scripts/test fetches one where PyPI answers";

/** As this machine's own pip reaches the index: behind a proxy of a company's, say. */
export const packageSettings: Readonly<Record<string, string>> = settings();

function settings(): Record<string, string> {
  const {
    PIP_CERT = "",
    SSL_CERT_FILE = "",
    PIP_INDEX_URL = "",
    HTTPS_PROXY = "",
    NO_PROXY = "",
  } = process.env;
  const bundle = [PIP_CERT, SSL_CERT_FILE].find((path) => path !== "" && existsSync(path));
  return {
    ...(bundle !== undefined && { LONGSHORE_BUILD_CA_BUNDLE: bundle }),
    ...(PIP_INDEX_URL !== "" && { LONGSHORE_BUILD_INDEX_URL: PIP_INDEX_URL }),
    ...(HTTPS_PROXY !== "" && { LONGSHORE_BUILD_PROXY: HTTPS_PROXY, LONGSHORE_BUILD_NO_PROXY: NO_PROXY }),
  };
}
