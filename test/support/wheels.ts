import { execFile } from "node:child_process";
import { promisify } from "node:util";

export interface Wheel {
  readonly name: string;
  readonly version: string;
  /** "py3-none-any" when left out. */
  readonly tag?: string;
  readonly files: Readonly<Record<string, string>>;
  /** Commands, each as "module:function". */
  readonly scripts?: Readonly<Record<string, string>>;
  readonly requires?: readonly string[];
}

/** zipfile does what a build backend would, without one. */
const MAKE = `
import base64, hashlib, json, sys, zipfile
folder, wheel = sys.argv[1], json.loads(sys.argv[2])
name, version = wheel["name"].replace("-", "_"), wheel["version"]
tag = wheel.get("tag") or "py3-none-any"
info = f"{name}-{version}.dist-info/"
files = dict(wheel["files"])
requires = "".join(f"Requires-Dist: {line}\\n" for line in wheel.get("requires") or ())
files[info + "METADATA"] = f"Metadata-Version: 2.1\\nName: {wheel['name']}\\nVersion: {version}\\n{requires}"
files[info + "WHEEL"] = f"Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: {tag}\\n"
scripts = "".join(f"{command} = {target}\\n" for command, target in (wheel.get("scripts") or {}).items())
if scripts:
    files[info + "entry_points.txt"] = "[console_scripts]\\n" + scripts
record = ""
with zipfile.ZipFile(f"{folder}/{name}-{version}-{tag}.whl", "w") as archive:
    for path, content in files.items():
        archive.writestr(path, content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(content.encode())}\\n"
    archive.writestr(info + "RECORD", record + info + "RECORD,,\\n")
`;

/** Makes a wheel file in a folder, as a package index would hold it. */
export async function makeWheel(folder: string, wheel: Wheel): Promise<void> {
  await promisify(execFile)("python3", ["-c", MAKE, folder, JSON.stringify(wheel)]);
}
