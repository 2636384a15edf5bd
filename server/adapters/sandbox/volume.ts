/** Folders of the volume and where a sandbox sees them. */
export const VOLUME_FOLDERS = [
  { name: "workspace", target: "/workspace", mode: 0o755 },
  { name: "tmp", target: "/tmp", mode: 0o1777 },
  { name: "home", target: "/home/task", mode: 0o755 },
] as const;

export const INODE_BYTES = 256;
/** The root folder, lost+found, our three folders and ext4's own first eleven. */
export const OWN_INODES = 32;
export const BLOCK_BYTES = 4096;
/** Blocks that one bitmap block covers. */
const GROUP_BYTES = 8 * BLOCK_BYTES * BLOCK_BYTES;

/** The asked storage is what the task can use, so what the file system keeps for itself comes on top. */
export function imageBytes(storageBytes: number, inodes: number): number {
  const groups = Math.ceil(storageBytes / GROUP_BYTES) + 1;
  // Inode tables (each group's rounded up to a block), bitmaps and descriptors of each group, superblocks and the root.
  const tables = inodes * INODE_BYTES + groups * 9 * BLOCK_BYTES + 64 * BLOCK_BYTES;
  // ext4 holds back 2% (at most 4096 blocks) of any file system for delayed allocation.
  const heldBack = Math.min(Math.ceil((storageBytes + tables) / 49), 4096 * BLOCK_BYTES);
  return Math.ceil((storageBytes + tables + heldBack) / BLOCK_BYTES) * BLOCK_BYTES;
}
