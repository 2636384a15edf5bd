import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import { createInterface } from "node:readline";
import { SystemFault } from "../../domain/errors.ts";
import { type IpRange, overlap, parseIpRange } from "../../domain/ip-range.ts";
import type { Daemon } from "./daemon.ts";
import { installationPrefix, LABELS } from "./naming.ts";
import { runThrowaway } from "./throwaway.ts";

const WITNESSES = 2;
/** Of each witness in its own namespace. */
const WITNESS_PORT = 4999;
/** The rules are by interface: a few of the host's addresses say as much as all. */
const MOST_HOST_ADDRESSES = 8;
const MOST_BYTES = 64 * 1024;
const EXCHANGE_MILLIS = 20_000;

/** Listens, reports to the server, tries what the server names, and stays until the server hangs up: the other one may still try. */
const WITNESS = `
import json, socket, sys, threading
gateway, port, nonce = sys.argv[1], int(sys.argv[2]), sys.argv[3]
listener = socket.create_server(("0.0.0.0", ${WITNESS_PORT}))
reached = []
def reach(target):
    try:
        with socket.create_connection((target["address"], target["port"]), 1):
            reached.append(target["name"])
    except OSError:
        pass
def ipv6():
    try:
        lines = open("/proc/net/if_inet6").read().splitlines()
    except FileNotFoundError:
        return
    if any(line.split()[-1] != "lo" for line in lines):
        reached.append("IPv6")
with socket.create_connection((gateway, port), 10) as control:
    stream = control.makefile("rw")
    print(nonce, file=stream, flush=True)
    threads = [threading.Thread(target=reach, args=(target,)) for target in json.loads(stream.readline())]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    ipv6()
    print(json.dumps(reached), file=stream, flush=True)
    stream.readline()
`;

export interface ProofOrder {
  readonly daemon: Daemon;
  readonly installationId: string;
  readonly imageId: string;
  readonly network: string;
  readonly gateway: string;
  readonly subnet: IpRange;
  /** Lets sandboxes reach this one port of the host. */
  open(port: number): Promise<void>;
}

interface Target {
  readonly name: string;
  readonly address: string;
  readonly port: number;
}

/**
 * Starts two sandboxes that try to reach this host and each other, and answers what they reached: nothing, where the rules hold. They
 * report through the one port that the rules let them have, so a network on which nothing works at all does not pass for a safe one.
 */
export async function proveEgress(order: ProofOrder): Promise<string[]> {
  await using stack = new AsyncDisposableStack();
  const seen = new Set<string>();
  const forbidden = createServer((socket) => {
    if (isFrom(order.subnet, socket)) seen.add("the host");
    socket.destroy();
  });
  stack.defer(() => void forbidden.close());
  const forbiddenPort = await listen(forbidden, "0.0.0.0");
  const desk = new ProofDesk();
  stack.defer(() => desk.close());
  const controlPort = await desk.open(order.gateway);
  await order.open(controlPort);
  const containers = Array.from({ length: WITNESSES }, (_, index) =>
    runThrowaway(order.daemon, {
      name: `longshore-${installationPrefix(order.installationId)}-probe-egress-${process.pid}-${index}`,
      imageId: order.imageId,
      command: [
        ...["python3", "-I", "-S", "-E", "-B", "-c", WITNESS],
        ...[order.gateway, String(controlPort), desk.nonce],
      ],
      network: order.network,
      env: [],
      mounts: [],
      labels: { [LABELS.installation]: order.installationId, [LABELS.probe]: "egress" },
    }),
  );
  stack.defer(async () => {
    desk.close();
    await Promise.allSettled(containers);
  });
  const tooEarly = Promise.all(containers).then((ends) => {
    const output = ends.map((end) => end.output.trim().split("\n").at(-1)).join("; ");
    throw new SystemFault(`a probe on network ${order.network} ended before it could report: ${output}`);
  });
  const reached = await Promise.race([desk.exchange(hostTargets(order.gateway, forbiddenPort)), tooEarly]);
  return [...new Set([...reached, ...seen])];
}

/** Where the witnesses report. */
class ProofDesk {
  readonly nonce = randomUUID();
  readonly #arrived: Witness[] = [];
  readonly #all = Promise.withResolvers<readonly Witness[]>();
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((socket) => void this.#greet(socket));

  open(address: string): Promise<number> {
    return listen(this.#server, address);
  }

  async exchange(hosts: readonly Target[]): Promise<string[]> {
    const expired = AbortSignal.timeout(EXCHANGE_MILLIS);
    const late = once(expired, "abort").then(() => {
      throw new SystemFault(`the egress probes did not report within ${EXCHANGE_MILLIS / 1000} s`);
    });
    return Promise.race([this.#exchange(hosts), late]);
  }

  async #exchange(hosts: readonly Target[]): Promise<string[]> {
    const witnesses = await this.#all.promise;
    const reports = witnesses.map(async (witness) => {
      const others = witnesses.filter((other) => other !== witness);
      const neighbours = others.map(({ address }) => ({
        name: "another sandbox",
        address,
        port: WITNESS_PORT,
      }));
      witness.tell(JSON.stringify([...hosts, ...neighbours]));
      const report: unknown = JSON.parse(await witness.line());
      if (!Array.isArray(report)) throw new SystemFault("an egress probe gave no list");
      return report.map(String);
    });
    return (await Promise.all(reports)).flat();
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Sandboxes of an earlier server may knock too: without the nonce they are nobody. */
  async #greet(socket: Socket): Promise<void> {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    const witness = new Witness(socket);
    try {
      if ((await witness.line()) !== this.nonce) return void socket.destroy();
    } catch {
      // It hung up; a witness that does so is missed by the exchange.
      return;
    }
    this.#arrived.push(witness);
    if (this.#arrived.length === WITNESSES) this.#all.resolve(this.#arrived);
  }
}

class Witness {
  readonly address: string;
  readonly #socket: Socket;
  readonly #lines: AsyncIterator<string>;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.address = socket.remoteAddress ?? "";
    // A close follows, and ends the lines.
    socket.on("error", () => socket.destroy());
    let bytes = 0;
    socket.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > MOST_BYTES) socket.destroy();
    });
    this.#lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  }

  tell(line: string): void {
    this.#socket.write(`${line}\n`);
  }

  async line(): Promise<string> {
    const { done, value } = await this.#lines.next();
    if (done === true) throw new SystemFault("an egress probe hung up");
    return value;
  }
}

function hostTargets(gateway: string, port: number): Target[] {
  const addresses = new Set([gateway, ...hostAddresses()]);
  return [...addresses]
    .slice(0, MOST_HOST_ADDRESSES)
    .map((address) => ({ name: `the host at ${address}`, address, port }));
}

/** This host's own IPv4 addresses but loopback. */
export function hostAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((entries) =>
    (entries ?? []).flatMap(({ family, internal, address }) =>
      family === "IPv4" && !internal ? [address] : [],
    ),
  );
}

function isFrom(subnet: IpRange, socket: Socket): boolean {
  const address = parseIpRange(socket.remoteAddress ?? "");
  return address !== undefined && overlap(subnet, address);
}

async function listen(server: Server, host: string): Promise<number> {
  server.listen(0, host);
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string")
    throw new SystemFault(`no TCP port is free at ${host}`);
  return address.port;
}
