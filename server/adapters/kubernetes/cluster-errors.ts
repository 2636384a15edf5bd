import { ApiException } from "@kubernetes/client-node";
import { z } from "zod";
import { LongshoreError, SystemFault, Unavailable } from "../../domain/errors.ts";

const apiStatus = z.object({ message: z.string() });

/** 404, 409, 410 and the like; undefined where the cluster did not answer at all. */
export function statusOf(error: unknown): number | undefined {
  if (error instanceof ApiException) return error.code;
  const told = z.object({ statusCode: z.number() }).safeParse(error);
  return told.success ? told.data.statusCode : undefined;
}

/** What went wrong, in the cluster's own words where it said any. */
export function messageOf(error: unknown): string {
  if (error instanceof ApiException) {
    const body = typeof error.body === "string" ? parsed(error.body) : error.body;
    const told = apiStatus.safeParse(body);
    return told.success ? told.data.message : `HTTP ${error.code}`;
  }
  if (!(error instanceof Error)) {
    // The WebSocket's error event.
    const event = apiStatus.safeParse(error);
    return event.success ? event.data.message : String(error);
  }
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}

/** Everything that may heal by itself or by the operator's hand is Unavailable; a request that the cluster refuses is a fault of ours. */
export function clusterError(error: unknown, doing: string): LongshoreError {
  if (error instanceof LongshoreError) return error;
  const status = statusOf(error);
  const told = `the Kubernetes cluster could not ${doing}: ${messageOf(error)}`;
  if (status === 401 || status === 403)
    return new Unavailable(`${told}; deploy/kubernetes has the rights that the server needs`, 5000, {
      cause: error,
    });
  if (status === 400 || status === 422) return new SystemFault(told, {}, { cause: error });
  return new Unavailable(told, 1000, { cause: error });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // A proxy's page instead of the cluster's answer.
    return undefined;
  }
}
