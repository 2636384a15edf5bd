import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:http";

/**
 * What is reached in an OutsideNetwork: node outside-server.ts NAMESERVER... Answers HTTP on ports 8080 and 8081 of every address with
 * the address that was asked, and DNS at each NAMESERVER with 203.0.113.10. Says "ready" when it does, and ends with its stdin.
 */
for (const port of [8080, 8081]) {
  const server = createServer((request, response) => response.end(request.socket.localAddress));
  await once(server.listen(port, "0.0.0.0"), "listening");
}
for (const address of process.argv.slice(2)) {
  const socket = createSocket("udp4", (query, from) => socket.send(answer(query), from.port, from.address));
  socket.bind(53, address);
  await once(socket, "listening");
}
console.log("ready");
process.stdin.on("end", () => process.exit()).resume();

/** The question back, with one address where it asked for one (type A) and none otherwise. */
function answer(query: Buffer): Buffer {
  const end = query.indexOf(0, 12) + 5;
  const isAddress = query.readUInt16BE(end - 4) === 1;
  const head = Buffer.from([0x81, 0x80, 0, 1, 0, isAddress ? 1 : 0, 0, 0, 0, 0]);
  const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 203, 0, 113, 10]);
  return Buffer.concat([query.subarray(0, 2), head, query.subarray(12, end), ...(isAddress ? [record] : [])]);
}
