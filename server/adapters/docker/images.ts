import picomatch from "picomatch";
import { ImageRefused } from "../../domain/errors.ts";
import type { ImageInfo } from "../../domain/ports/engine.ts";
import type { Daemon } from "./daemon.ts";
import type { ImageNames } from "./image-names.ts";
import { installationPrefix, LABELS } from "./naming.ts";
import { runThrowaway } from "./throwaway.ts";

const LEAST_PYTHON = [3, 9] as const;
const PYTHON_PROBE = "import json, sys; print(json.dumps(list(sys.version_info[:2])))";
/** What a name of an image may look like; anything else never gets to the daemon. */
const IMAGE_NAME = /^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}$/;

export interface KnownImage {
  readonly id: string;
  readonly envNames: readonly string[];
  /** undefined while nobody asked whether the runner can work in it. */
  readonly refusal: { readonly rule: string; readonly message: string } | null;
}

export interface ImagePolicy {
  readonly defaultImage: string;
  readonly allowed: readonly string[];
  readonly installationId: string;
}

/** Decides which images may run, and remembers the verdict by content, so that each image is probed once. */
export class Images {
  readonly #daemon: Daemon;
  readonly #names: ImageNames;
  readonly #policy: ImagePolicy;
  readonly #isAllowed: (name: string) => boolean;
  readonly #known = new Map<string, Promise<KnownImage>>();
  #probes = 0;

  constructor(daemon: Daemon, names: ImageNames, policy: ImagePolicy) {
    this.#daemon = daemon;
    this.#names = names;
    this.#policy = policy;
    const matches = policy.allowed.map((pattern) =>
      picomatch(pattern, { dot: true, nobrace: true, noext: true }),
    );
    this.#isAllowed = (name) => name === policy.defaultImage || matches.some((match) => match(name));
  }

  /** Throws ImageRefused with what to do about it. */
  async resolve(name: string): Promise<ImageInfo> {
    if (!IMAGE_NAME.test(name))
      throw new ImageRefused(name, "name", `${JSON.stringify(name)} is no name of an image`);
    if (!this.#isAllowed(name)) {
      const allowed = [this.#policy.defaultImage, ...this.#policy.allowed].join(", ");
      throw new ImageRefused(
        name,
        "not_allowed",
        `image ${name} is not among those this server allows (${allowed}); ask its operator to add it`,
      );
    }
    const digest = await this.#names.idOf(name);
    if (digest === undefined) {
      const advice =
        name === this.#policy.defaultImage
          ? "build it with scripts/build-image"
          : `ask the server's operator to run: docker pull ${name}`;
      throw new ImageRefused(name, "missing", `image ${name} is not on this host; ${advice}`);
    }
    const known = await this.#know(digest);
    if (known.refusal !== null)
      throw new ImageRefused(name, known.refusal.rule, `image ${name} ${known.refusal.message}`);
    return { name, digest };
  }

  /** For a sandbox of an image that was resolved before, by this server or an earlier one. */
  async byDigest(digest: string): Promise<KnownImage> {
    const known = await this.#know(digest);
    if (known.refusal !== null)
      throw new ImageRefused(digest, known.refusal.rule, `image ${digest} ${known.refusal.message}`);
    return known;
  }

  #know(digest: string): Promise<KnownImage> {
    const kept = this.#known.get(digest);
    if (kept !== undefined) return kept;
    const known = this.#examine(digest);
    this.#known.set(digest, known);
    // A daemon that was away says nothing about the image.
    known.catch(() => this.#known.delete(digest));
    return known;
  }

  async #examine(digest: string): Promise<KnownImage> {
    const image = await this.#daemon.image(digest);
    if (image === undefined)
      throw new ImageRefused(
        digest,
        "missing",
        `image ${digest} was removed from this host; submit the task again`,
      );
    const envNames = (image.Config.Env ?? [])
      .map((entry) => entry.split("=", 1)[0] ?? "")
      .filter((envName) => envName !== "");
    const volumes = Object.keys(image.Config.Volumes ?? {});
    if (volumes.length > 0) {
      const message = `declares VOLUME ${volumes.join(", ")}, which would give a task unlimited disk outside its storage; build it without`;
      return { id: image.Id, envNames, refusal: { rule: "volume", message } };
    }
    return { id: image.Id, envNames, refusal: await this.#pythonRefusal(image.Id, envNames) };
  }

  async #pythonRefusal(imageId: string, envNames: readonly string[]): Promise<KnownImage["refusal"]> {
    const advice = `the sandbox's runner needs python3 >= ${LEAST_PYTHON.join(".")} on /usr/local/bin or /usr/bin; build on an image that has it`;
    let end: { exitCode: number; output: string };
    try {
      end = await runThrowaway(this.#daemon, {
        name: `longshore-${installationPrefix(this.#policy.installationId)}-probe-${process.pid}-${this.#probes++}`,
        imageId,
        command: ["python3", "-I", "-S", "-E", "-B", "-c", PYTHON_PROBE],
        env: [
          "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
          ...envNames.filter((name) => name !== "PATH"),
        ],
        mounts: [],
        labels: { [LABELS.installation]: this.#policy.installationId, [LABELS.probe]: "image" },
      });
    } catch (error) {
      // The daemon says so in words when there is no such executable; anything else is a fault of the engine, not the image.
      if (
        error instanceof Error &&
        /executable file not found|no such file or directory/i.test(error.message)
      ) {
        return { rule: "python", message: `has no python3; ${advice}` };
      }
      throw error;
    }
    const version = /\[(\d+), (\d+)\]/.exec(end.output);
    if (end.exitCode !== 0 || version === null)
      return { rule: "python", message: `has no python3 that starts; ${advice}` };
    const [major, minor] = [Number(version[1]), Number(version[2])];
    const enough = major > LEAST_PYTHON[0] || (major === LEAST_PYTHON[0] && minor >= LEAST_PYTHON[1]);
    return enough ? null : { rule: "python", message: `has Python ${major}.${minor}; ${advice}` };
  }
}
