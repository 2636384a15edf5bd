import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { explainBuildFailure } from "#server/domain/build-failure.ts";
import { parseRequirements } from "#server/domain/requirements.ts";

const START = "Using CPython 3.11.2 interpreter at: /usr/bin/python3\n";
const NO_SOLUTION = `${START}error: No solution found when resolving dependencies\n  cause: `;

/** Outputs are uv 0.13's own. */
function explain(lines: string, output: string) {
  return explainBuildFailure(
    output,
    parseRequirements(lines, { urls: false }).requirements,
    "requirements.txt",
  );
}

describe("why a build failed", () => {
  test("a package that does not exist, by its line", () => {
    const { message, passing } = explain(
      "# ours\nsix==1.16.0\nscikit-lern\n",
      `${NO_SOLUTION}Because scikit-lern was not found in the package registry and you require scikit-lern, we can conclude that your requirements are unsatisfiable.\n`,
    );
    assert.equal(message, "requirements.txt line 3: there is no package scikit-lern");
    assert.equal(passing, false);
  });

  test("a version that does not exist", () => {
    const { message } = explain(
      "numpy\nsix==99.0",
      `${NO_SOLUTION}Because there is no version of six==99.0 and you require six==99.0, we can conclude that your requirements are unsatisfiable.\n`,
    );
    assert.equal(message, "requirements.txt line 2: there is no version six==99.0");
  });

  test("a wheel for another platform, with those there are", () => {
    const { message } = explain(
      "pywin32==306",
      `${NO_SOLUTION}Because pywin32==306 has no wheels with a matching platform tag (e.g., \`manylinux_2_36_x86_64\`) and you require pywin32==306, we can conclude that your requirements are unsatisfiable.\n\nhint: Wheels are available for \`pywin32\` (v306) on the following platforms: \`win32\`, \`win_amd64\`, \`win_arm64\`\n`,
    );
    assert.equal(
      message,
      "requirements.txt line 1: pywin32==306 has no wheel for this platform (no matching platform tag (e.g., manylinux_2_36_x86_64)); there are wheels for win32, win_amd64, win_arm64",
    );
  });

  test("a package that comes as source alone", () => {
    const { message } = explain(
      "docopt==0.6.2",
      `${NO_SOLUTION}Because docopt==0.6.2 has no usable wheels and you require docopt==0.6.2, we can conclude that your requirements are unsatisfiable.\n\nhint: Wheels are required for \`docopt\` because building from source is disabled for all packages (i.e., with \`--no-build\`)\n`,
    );
    assert.match(message, /^requirements\.txt line 1: docopt==0\.6\.2 has no wheel .* only source/);
  });

  test("requirements that contradict each other, in uv's words", () => {
    const { message } = explain(
      "requests==2.32.0\nurllib3==1.20",
      `${NO_SOLUTION}Because requests==2.32.0 depends on urllib3>=1.21.1,<3 and you require requests==2.32.0, we can conclude that you require urllib3>=1.21.1,<3.\n         And because you require urllib3==1.20, we can conclude that your requirements are unsatisfiable.\n`,
    );
    assert.match(
      message,
      /^requirements\.txt line \d: the requirements cannot all be met: Because requests==2\.32\.0/,
    );
  });

  test("a package that another one needs is blamed on the line that asked for that one", () => {
    const { message } = explain(
      "six\nouter==1.0",
      `${NO_SOLUTION}Because inner was not found in the package registry and outer==1.0 depends on inner, we can conclude that outer==1.0 cannot be used.\n         And because you require outer==1.0, we can conclude that your requirements are unsatisfiable.\n`,
    );
    assert.equal(message, "requirements.txt line 2: there is no package inner, which outer needs");
  });

  test("an index whose certificate nobody vouches for is the operator's to name", () => {
    const { message, advice } = explain(
      "six",
      `${START}error: Failed to fetch: https://pypi.org/simple/six/\n  cause: client error (Connect)\n  cause: invalid peer certificate: UnknownIssuer\n`,
    );
    assert.match(message, /could not be reached \(certificate\)/);
    assert.match(advice, /operator: LONGSHORE_BUILD_CA_BUNDLE/);
  });

  test("an index that cannot be reached is nobody's line, and may pass", () => {
    const { message, passing } = explain(
      "six",
      `${START}error: Request failed after 3 retries in 31.4s\n  cause: Failed to fetch: https://index.example/simple/six/\n  cause: dns error\n`,
    );
    assert.match(message, /index could not be reached \(dns error\)/);
    assert.equal(passing, true);
  });

  test("anything else is told by uv's last words", () => {
    assert.match(explain("six", `${START}error: something new\n`).message, /something new/);
    assert.match(explain("six", "").message, /requirements\.txt/);
  });
});
