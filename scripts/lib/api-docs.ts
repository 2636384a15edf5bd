/** Prints docs/api.md from the descriptor set that `buf build` makes: every service, RPC, message and enum with its comments. */
import { readFileSync } from "node:fs";
import { fromBinary } from "@bufbuild/protobuf";
import {
  type DescriptorProto,
  type EnumDescriptorProto,
  type FieldDescriptorProto,
  type FileDescriptorProto,
  FileDescriptorSetSchema,
  FieldDescriptorProto_Label as Label,
  type MethodDescriptorProto,
  type ServiceDescriptorProto,
  FieldDescriptorProto_Type as Type,
} from "@bufbuild/protobuf/wkt";

/** Field numbers of descriptor.proto: source locations are addressed by them. */
const FILE = { message: 4, enum: 5, service: 6 };
const MESSAGE = { field: 2, nested: 3, enum: 4 };
const SERVICE = { method: 2 };
const ENUM = { value: 2 };

/** The comment of what stands at a path of field numbers and indexes. */
type CommentAt = (path: readonly number[]) => string;

function commentsOf(file: FileDescriptorProto): CommentAt {
  const byPath = new Map<string, string>();
  for (const location of file.sourceCodeInfo?.location ?? []) {
    const text = (location.leadingComments || location.trailingComments).trim();
    if (text !== "") byPath.set(location.path.join("."), text.replace(/\n\s*/g, "\n"));
  }
  return (path) => byPath.get(path.join(".")) ?? "";
}

/** `.longshore.v1.Task.State` as people write it: `Task.State`; other packages keep their name. */
const shortName = (typeName: string) => typeName.replace(/^\.(longshore\.v1\.)?/, "");

const anchor = (name: string) => name.toLowerCase().replaceAll(".", "");

function typeLink(typeName: string): string {
  const name = shortName(typeName);
  return typeName.startsWith(".longshore.v1.") ? `[${name}](#${anchor(name)})` : name;
}

/** Scalar types by number: the enum's own names are upper case. */
const scalarName = (type: Type) => (Type[type] ?? "unknown").toLowerCase();

function typeOf(field: FieldDescriptorProto, parent: DescriptorProto): string {
  const entry = parent.nestedType.find(
    (nested) => nested.options?.mapEntry && field.typeName.endsWith(`.${parent.name}.${nested.name}`),
  );
  if (entry !== undefined) {
    const [key, value] = entry.field;
    if (key === undefined || value === undefined) throw new Error(`map ${field.name} lacks its key or value`);
    return `map of ${typeOf(key, entry)} to ${typeOf(value, entry)}`;
  }
  const name = field.typeName === "" ? scalarName(field.type) : typeLink(field.typeName);
  return field.label === Label.REPEATED ? `repeated ${name}` : name;
}

const cell = (text: string) => text.replaceAll("\n", " ").replaceAll("|", "\\|");

function table(heads: readonly string[], rows: readonly string[][]): string[] {
  if (rows.length === 0) return [];
  return [
    `| ${heads.join(" | ")} |`,
    `|${heads.map(() => "---").join("|")}|`,
    ...rows.map((row) => `| ${row.map(cell).join(" | ")} |`),
    "",
  ];
}

function describeMethod(method: MethodDescriptorProto, comment: string): string[] {
  const side = (typeName: string, streamed: boolean) =>
    `${streamed ? "stream of " : ""}${typeLink(typeName)}`;
  const [text = "", errors] = comment.split(/\bErrors: /);
  return [
    `### ${method.name}`,
    "",
    `${side(method.inputType, method.clientStreaming)} → ${side(method.outputType, method.serverStreaming)}`,
    "",
    text.trim(),
    "",
    ...(errors === undefined ? [] : [`**Errors:** ${errors.trim()}`, ""]),
  ];
}

function describeService(service: ServiceDescriptorProto, path: readonly number[], at: CommentAt): string[] {
  const methods = service.method.flatMap((method, index) =>
    describeMethod(method, at([...path, SERVICE.method, index])),
  );
  return [`## ${service.name}`, "", at(path), "", ...methods];
}

function describeEnum(
  type: EnumDescriptorProto,
  prefix: string,
  path: readonly number[],
  at: CommentAt,
): string[] {
  const rows = type.value.map((value, index) => [
    `\`${value.name}\``,
    String(value.number),
    at([...path, ENUM.value, index]),
  ]);
  return [`### ${prefix}${type.name}`, "", at(path), "", ...table(["value", "number", "meaning"], rows)];
}

function describeMessage(
  message: DescriptorProto,
  prefix: string,
  path: readonly number[],
  at: CommentAt,
): string[] {
  const rows = message.field.map((field, index) => {
    const oneof = field.proto3Optional ? undefined : message.oneofDecl[field.oneofIndex ?? -1];
    const choice = oneof === undefined ? "" : `One of \`${oneof.name}\`. `;
    const presence = field.proto3Optional ? "Optional. " : "";
    const meaning = choice + presence + at([...path, MESSAGE.field, index]);
    return [`\`${field.name}\``, String(field.number), typeOf(field, message), meaning];
  });
  const name = `${prefix}${message.name}`;
  return [
    `### ${name}`,
    "",
    at(path),
    "",
    ...table(["field", "number", "type", "meaning"], rows),
    ...message.nestedType.flatMap((nested, index) =>
      nested.options?.mapEntry
        ? []
        : describeMessage(nested, `${name}.`, [...path, MESSAGE.nested, index], at),
    ),
    ...message.enumType.flatMap((type, index) =>
      describeEnum(type, `${name}.`, [...path, MESSAGE.enum, index], at),
    ),
  ];
}

function describe(files: readonly FileDescriptorProto[]): string {
  const services: string[] = [];
  const messages: string[] = [];
  const enums: string[] = [];
  for (const file of files) {
    const at = commentsOf(file);
    file.service.forEach((type, index) => {
      services.push(...describeService(type, [FILE.service, index], at));
    });
    file.messageType.forEach((type, index) => {
      messages.push(...describeMessage(type, "", [FILE.message, index], at));
    });
    file.enumType.forEach((type, index) => {
      enums.push(...describeEnum(type, "", [FILE.enum, index], at));
    });
  }
  return [
    "# The Longshore API",
    "",
    "Package `longshore.v1`, generated from `proto/` by `scripts/generate`. In JSON, field names may be written as here or in",
    "lowerCamelCase; enums are their names, 64-bit numbers and bytes are strings.",
    "",
    ...services,
    "## Messages",
    "",
    ...messages,
    "## Enums",
    "",
    ...enums,
  ]
    .join("\n")
    .replace(/\n{3,}/g, "\n\n")
    .trimEnd()
    .concat("\n");
}

const [descriptors] = process.argv.slice(2);
if (descriptors === undefined) throw new Error("usage: api-docs.ts DESCRIPTORS.binpb");
const set = fromBinary(FileDescriptorSetSchema, readFileSync(descriptors));
process.stdout.write(describe(set.file.filter((file) => file.package === "longshore.v1")));
