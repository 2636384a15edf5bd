import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { fromBinary } from "@bufbuild/protobuf";
import { type FileDescriptorProto, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { InterceptingCall, type Interceptor, status } from "@grpc/grpc-js";
import { errorInfoOf } from "./grpc-calls.ts";

/** Status code name to the reasons that the RPC's comment lists with it; empty where it lists none. */
export type DocumentedCodes = ReadonlyMap<string, ReadonlySet<string>>;

interface Observed {
  readonly rpc: string;
  readonly code: string;
  readonly reason: string;
  readonly message: string;
}

/** Field numbers of descriptor.proto: services of a file, RPCs of a service. */
const SERVICE = 6;
const METHOD = 2;
const LISTS = /(?:Errors|Any call may also end with): ([^.]*)\./g;
const ENTRY = /([A-Z_]+)(?: \(([A-Z_, ]+)\))?/g;

/** Path of every RPC of longshore.v1 ("/longshore.v1.TaskService/GetTask") with the codes its comment and its service's list. */
export async function readDocumentedCodes(): Promise<ReadonlyMap<string, DocumentedCodes>> {
  const bytes = await readFile(fileURLToPath(import.meta.resolve("@longshore/proto/descriptors.binpb")));
  const files = fromBinary(FileDescriptorSetSchema, bytes).file.filter(
    (file) => file.package === "longshore.v1",
  );
  return new Map(files.flatMap(documentedCodesOf));
}

function documentedCodesOf(file: FileDescriptorProto): [string, DocumentedCodes][] {
  const locations = file.sourceCodeInfo?.location ?? [];
  const comment = (...path: number[]) =>
    locations.find((location) => location.path.join() === path.join())?.leadingComments ?? "";
  return file.service.flatMap((service, s) =>
    service.method.map((method, m): [string, DocumentedCodes] => [
      `/${file.package}.${service.name}/${method.name}`,
      parseCodes(`${comment(SERVICE, s)}\n${comment(SERVICE, s, METHOD, m)}`),
    ]),
  );
}

/** The lists of codes in a comment: "Errors: INVALID_ARGUMENT (INVALID_REQUEST), NOT_FOUND." Throws for words that are no code. */
export function parseCodes(comment: string): DocumentedCodes {
  const codes = new Map<string, Set<string>>();
  for (const [, list = ""] of comment.replaceAll(/\s+/g, " ").matchAll(LISTS)) {
    if (list === "none of its own") continue;
    if (list.replaceAll(ENTRY, "").replaceAll(/[, ]/g, "") !== "")
      throw new Error(`not a list of codes: ${list}`);
    for (const [, code = "", reasons = ""] of list.matchAll(ENTRY)) {
      if (!(code in status)) throw new Error(`${code} is not a status code`);
      const known = codes.get(code) ?? new Set();
      for (const reason of reasons.split(", ").filter((name) => name !== "")) known.add(reason);
      codes.set(code, known);
    }
  }
  return codes;
}

/** Records what calls end with, as their client sees it: also what grpc-js itself answers. */
export class ObservedCodes {
  readonly #observed: Observed[] = [];

  /** For the `interceptors` of any grpc-js client. */
  readonly interceptor: Interceptor = (options, nextCall) => {
    const rpc = options.method_definition.path;
    return new InterceptingCall(nextCall(options), {
      start: (metadata, _listener, next) =>
        next(metadata, {
          onReceiveStatus: (ended, pass) => {
            const reason = errorInfoOf({ metadata: ended.metadata })?.reason ?? "";
            this.#observed.push({ rpc, code: status[ended.code], reason, message: ended.details });
            pass(ended);
          },
        }),
    });
  };

  get rpcs(): ReadonlySet<string> {
    return new Set(this.#observed.map(({ rpc }) => rpc));
  }

  /** One sentence for each way an RPC of longshore.v1 ended that its comment does not tell of. */
  async undocumented(): Promise<string[]> {
    const documented = await readDocumentedCodes();
    const sentences = this.#observed.flatMap(({ rpc, code, reason, message }) => {
      const codes = documented.get(rpc);
      if (codes === undefined || code === "OK") return [];
      const reasons = codes.get(code);
      if (reasons === undefined)
        return [`${rpc} ended with ${code}, which its comment does not list: ${message}`];
      if (reason === "" || reasons.has(reason)) return [];
      return [`${rpc} ended with ${code} for reason ${reason}, which its comment does not list: ${message}`];
    });
    return [...new Set(sentences)];
  }
}
