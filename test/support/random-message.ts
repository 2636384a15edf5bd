import {
  type DescField,
  type DescMessage,
  type DescOneof,
  type JsonObject,
  type JsonValue,
  ScalarType,
} from "@bufbuild/protobuf";
import fc from "fast-check";

/** The JSON form of any message of a type, from its descriptor alone; values that every implementation holds without loss. */
export function randomMessage(desc: DescMessage): fc.Arbitrary<JsonValue> {
  // ts-proto turns timestamps into Date, which counts milliseconds.
  if (desc.typeName === "google.protobuf.Timestamp") {
    return fc
      .date({ min: new Date(0), max: new Date("9999-12-31"), noInvalidDate: true })
      .map((date) => date.toISOString());
  }
  if (desc.typeName === "google.protobuf.Duration") {
    return fc.integer({ min: 0, max: 1e9 }).map((millis) => `${(millis / 1000).toFixed(3)}s`);
  }
  const members = desc.members.map((member) =>
    member.kind === "oneof" ? randomChoice(member) : randomProperty(member),
  );
  return fc.tuple(...members).map((parts): JsonObject => Object.assign({}, ...parts));
}

/** At most one field of a oneof. */
function randomChoice(oneof: DescOneof): fc.Arbitrary<JsonObject> {
  return fc.oneof(
    fc.constant({}),
    ...oneof.fields.map((field) => randomValue(field).map((value) => ({ [field.jsonName]: value }))),
  );
}

/** The field or its absence. */
function randomProperty(field: DescField): fc.Arbitrary<JsonObject> {
  return fc.option(randomValue(field)).map((value) => (value === null ? {} : { [field.jsonName]: value }));
}

function randomValue(field: DescField): fc.Arbitrary<JsonValue> {
  if (field.fieldKind === "list") return fc.array(randomItem(field), { maxLength: 3 });
  if (field.fieldKind !== "map") return randomItem(field);
  // Every map of this API has string keys. Short ones: JavaScript objects cannot hold "__proto__".
  return fc.dictionary(fc.string({ maxLength: 5 }), randomItem(field), { maxKeys: 3, noNullPrototype: true });
}

function randomItem(field: DescField): fc.Arbitrary<JsonValue> {
  if (field.message !== undefined) return randomMessage(field.message);
  if (field.enum !== undefined) return fc.constantFrom(...field.enum.values.map(({ name }) => name));
  switch (field.scalar) {
    case ScalarType.STRING:
      return fc.string({ unit: "grapheme", maxLength: 10 });
    case ScalarType.BYTES:
      return fc.uint8Array({ maxLength: 10 }).map((bytes) => Buffer.from(bytes).toString("base64"));
    case ScalarType.BOOL:
      return fc.boolean();
    case ScalarType.INT32:
      return fc.integer();
    case ScalarType.INT64:
      return fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String);
    default:
      throw new Error(
        `${field.parent.typeName}.${field.name} has a type that this API did not use before: add it here`,
      );
  }
}
