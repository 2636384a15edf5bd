import {
  addResources,
  type Hold,
  type HostRooms,
  type Shortage,
  shortages,
  subtractResources,
} from "./capacity.ts";
import type { Resources } from "./resources.ts";

/**
 * What the next task can have on each host. Tasks that the engine has not told of yet are put where they fit, on the roomiest, as
 * schedulers of clusters do.
 */
export function roomsFor({ hosts, each }: HostRooms, holds: Iterable<Hold>): Resources[] {
  const left = hosts.map(({ resources }) => subtractResources(resources, each));
  const placeOf = new Map(hosts.flatMap(({ taskIds }, place) => taskIds.map((id) => [id, place] as const)));
  const take = (place: number, { resources }: Hold) => {
    const room = left[place];
    if (room !== undefined) left[place] = subtractResources(room, addResources(resources, each));
  };
  const all = [...holds];
  for (const hold of all) {
    const place = placeOf.get(hold.taskId);
    if (place !== undefined) take(place, hold);
  }
  for (const hold of all) if (!placeOf.has(hold.taskId)) take(roomiestFor(left, hold.resources), hold);
  return left;
}

/** What keeps a task from fitting any of the rooms, told of the one that lacks least; undefined where it fits one. */
export function roomShortage(rooms: readonly Resources[], needed: Resources): Shortage | undefined {
  if (rooms.some((room) => fits(needed, room))) return undefined;
  const lacking = rooms.map((room) => shortages(needed, room));
  const share = ([first]: readonly Shortage[]) => (first === undefined ? 0 : first.available / first.needed);
  lacking.sort((a, b) => a.length - b.length || share(b) - share(a));
  return lacking[0]?.[0] ?? { limit: "CPU", needed: needed.cpuMillis, available: 0 };
}

/** -1 where it fits none: it waits for a host then, and holds nothing of any. */
function roomiestFor(rooms: readonly Resources[], needed: Resources): number {
  let found = -1;
  for (const [place, room] of rooms.entries())
    if (fits(needed, room) && room.cpuMillis > (rooms[found]?.cpuMillis ?? -1)) found = place;
  return found;
}

function fits(needed: Resources, room: Resources): boolean {
  return (
    needed.cpuMillis <= room.cpuMillis &&
    needed.ramBytes <= room.ramBytes &&
    needed.storageBytes <= room.storageBytes &&
    needed.gpuCount <= room.gpuCount
  );
}
