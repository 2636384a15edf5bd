import { Unsupported } from "../../domain/errors.ts";
import type { Placement, SandboxShape } from "../../domain/ports/engine.ts";
import { MEBIBYTE } from "../../domain/resources.ts";
import { imageBytes } from "../sandbox/volume.ts";
import type { JobRequest } from "./controller.ts";
import type { SlurmEngineOptions } from "./options.ts";

/** What a job takes besides its task: bash, runc and the runner. Measured: 30 MB, and what the kernel keeps for them. */
const JOB_RAM_BYTES = 48 * MEBIBYTE;
/** The root folder, lost+found, our three folders and ext4's own first eleven. */
const OWN_INODES = 32;
/** Beyond its own time limit, for the spec to come, unpacking and collecting: Slurm's limit is only the last resort. */
const SLACK_MILLIS = 30 * 60_000;
/** A job whose server has gone waits no longer for its spec. */
const SPEC_MILLIS = 5 * 60_000;
const WORD = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;
const SAFE = /^[A-Za-z0-9/_.:@+-]+$/;

export interface JobOrder {
  readonly shape: SandboxShape;
  readonly uid: number;
  readonly container: string;
  readonly comment: string;
  readonly folder: string;
  readonly output: string;
  readonly placement: Placement;
  /** Features that some node has. */
  readonly features: ReadonlySet<string>;
}

/** Throws Unsupported for a name that is none. */
export function jobRequest(
  order: JobOrder,
  options: Pick<SlurmEngineOptions, "account" | "partition" | "constraints">,
): JobRequest {
  const { limits } = order.shape;
  const { account, partition, instanceType } = order.placement;
  const constraint =
    options.constraints.get(instanceType) ?? (order.features.has(instanceType) ? instanceType : "");
  return {
    name: order.container,
    comment: order.comment,
    cpus: Math.ceil(limits.cpuMillis / 1000),
    memoryMebibytes: Math.ceil((limits.ramBytes + JOB_RAM_BYTES) / MEBIBYTE),
    minutes: Math.ceil((limits.runMillis + SLACK_MILLIS) / 60_000),
    output: order.output,
    account: checkedWord("account", account || options.account),
    partition: checkedWord("partition", partition || options.partition),
    constraint: checkedWord("constraint", constraint),
  };
}

/** The settings of executor-image/slurm/job.sh and, below them, its text. */
export function jobScript(order: JobOrder, text: string): string {
  const { storageBytes, inodes } = order.shape.limits;
  if (!SAFE.test(order.folder)) throw new RangeError(`${order.folder} is no path that a job can be told`);
  const settings = {
    folder: order.folder,
    volume_bytes: imageBytes(storageBytes, inodes + OWN_INODES),
    inodes: inodes + OWN_INODES,
    uid: order.uid,
    container: order.container,
    most_tenths: SPEC_MILLIS / 100,
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name}='${value}'`);
  return ["#!/bin/bash", ...lines, text].join("\n");
}

function checkedWord(what: string, value: string): string {
  if (value !== "" && !WORD.test(value))
    throw new Unsupported(
      `${what} ${JSON.stringify(value.slice(0, 100))} is no name that Slurm knows; mend placement.${what}`,
    );
  return value;
}
