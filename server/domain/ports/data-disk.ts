/** The disk that holds the server's own data. */
export interface DataDisk {
  /** Bytes that can still be written. */
  freeBytes(): Promise<number>;
}
