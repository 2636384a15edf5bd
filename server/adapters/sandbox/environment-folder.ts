const FOLDER = /^\/(?:[^\0]*\/)?environments\/([0-9a-f]{64})\/content$/;

/** Id of the environment whose folder on the server this is: by its name it is told from any other folder of the host, undefined. */
export function environmentIdOf(folder: string): string | undefined {
  return FOLDER.exec(folder)?.[1];
}
