/** The flag that sets a field of the request, so that people are told of what they typed. */
const FLAGS: Readonly<Record<string, string>> = {
  "resources.cpu": "--cpu",
  "resources.gpu": "--gpu",
  "resources.gpu_model": "--gpu-model",
  "resources.ram": "--ram",
  "resources.storage": "--storage",
  timeout: "--timeout",
  queue_timeout: "--queue-timeout",
  total_timeout: "--total-timeout",
  env: "--env",
  secret_env: "--secret-env",
  entrypoint: "--entrypoint",
  image: "--image",
  labels: "--label",
  network: "--network",
  isolation: "--isolation",
  "placement.engine": "--engine",
  "placement.account": "--account",
  "placement.partition": "--partition",
  "placement.instance_type": "--instance-type",
  outputs: "--out",
  stdin: "--stdin",
  priority: "--priority",
  expected_duration: "--expected-duration",
  depends_on: "--depends-on",
  use_result_cache: "--cache",
  display_name: "--name",
  code: "--code",
  working_directory: "--workdir",
  request_id: "--request-id",
  max_attempts: "--max-attempts",
  require_enforced: "--require-enforced",
  states: "--state",
  grace: "--grace",
  by: "--by",
  grouping: "--by",
  scopes: "--scope",
  subject: "--subject",
  tenant: "--tenant",
  description: "--description",
  lifetime: "--lifetime",
  inputs: "--input",
  webhooks: "--webhook",
  "environment.requirements": "--requirements",
  "environment.preload": "--preload",
  "filter.start_time": "--since",
  "filter.end_time": "--until",
  args: "arguments after --",
  command: "--command",
  archive_sha256: "what is to run",
  overlap: "--overlap",
  url: "URL",
};

/** Fields that cannot be mistaken for words of a sentence. */
const TELLING = new RegExp(
  `(?<![\\w.])(?:${Object.keys(FLAGS)
    .filter((field) => /[_.]/.test(field))
    .map((field) => field.replaceAll(".", "\\."))
    .join("|")})(?![\\w.]\\w)(?!\\w)`,
  "g",
);

/** "env[KEY]" and "labels.team" are parts of a field that one flag sets. */
export function flagOf(field: string): string {
  const whole = FLAGS[field];
  if (whole !== undefined) return whole;
  const [, list = "", position = ""] = /^([\w.]+)\[(\d+)\]/.exec(field) ?? [];
  // People count what they typed from one; what is wrong within it, its description says.
  if (FLAGS[list] !== undefined) return `${FLAGS[list]} #${Number(position) + 1}`;
  const [, base = "", rest = ""] = /^(\w+)(.*)$/s.exec(field) ?? [];
  const flag = FLAGS[base];
  return flag === undefined ? field : `${flag} ${rest.replace(/^[.[]|\]$/g, "")}`.trim();
}

/** A sentence of the server's with the flags that people typed in place of the fields that it names. */
export function withFlags(text: string): string {
  return text.replace(TELLING, flagOf);
}
