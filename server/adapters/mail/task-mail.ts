import { z } from "zod";

const event = z.object({
  type: z.string(),
  time: z.string(),
  data: z.object({
    task_id: z.string(),
    state: z.string(),
    display_name: z.string(),
    owner: z.string(),
    labels: z.record(z.string(), z.unknown()),
    result: z
      .object({
        reason: z.string(),
        exit_code: z.number().nullable(),
        signal: z.number().nullable(),
        message: z.string(),
        advice: z.string(),
      })
      .nullable(),
  }),
});

/** A task's event as people read it. Names and labels are a client's own words: none of them may begin a line that looks like ours. */
export function taskMail(body: string): { readonly subject: string; readonly text: string } {
  const { data, time } = event.parse(JSON.parse(body));
  const { task_id: id, state, display_name: name, owner, labels, result } = data;
  const word = state.toLowerCase();
  const lines: (readonly [string, string])[] = [
    ["task", id],
    ["name", name],
    ["owner", owner],
    ["state", word],
    ["since", time],
    [
      "labels",
      Object.entries(labels)
        .map(([key, value]) => `${key}=${value}`)
        .join(", "),
    ],
  ];
  if (result !== null) {
    const { reason, exit_code: code, signal, message, advice } = result;
    const how = code === null ? (signal === null ? "" : `, signal ${signal}`) : `, exit code ${code}`;
    lines.push(["reason", `${reason}${how}`], ["message", message], ["advice", advice]);
  }
  const told = lines.filter(([, value]) => value !== "");
  return {
    subject: `[longshore] ${oneLine(name === "" ? id : name).slice(0, 150)}: ${word}`,
    text: `${told.map(([label, value]) => `${`${label}:`.padEnd(9)}${oneLine(value)}`).join("\n")}\n\nlongshore describe ${id}\n`,
  };
}

function oneLine(text: string): string {
  return text.replace(/\p{Cc}+/gu, " ").toWellFormed();
}
