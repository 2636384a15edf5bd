import type { EngineCapabilities } from "../../domain/ports/engine.ts";
import type { LocalSandboxFiles } from "../sandbox/sandbox-files.ts";
import type { SandboxCgroups } from "./cgroups.ts";
import type { CommandHost } from "./command-host.ts";
import type { Daemon } from "./daemon.ts";
import type { Egress } from "./egress-network.ts";
import type { ImageNames } from "./image-names.ts";
import type { Images } from "./images.ts";
import type { DockerEngineOptions } from "./options.ts";
import type { SandboxStorage } from "./storage.ts";
import type { TrackingNetworks } from "./tracking-networks.ts";

/** What the engine stands on, found out about when it is opened. */
export interface EngineParts {
  readonly options: DockerEngineOptions;
  readonly daemon: Daemon;
  readonly images: Images;
  readonly imageNames: ImageNames;
  readonly commands: CommandHost;
  readonly files: LocalSandboxFiles;
  readonly storage: SandboxStorage;
  readonly runnerFolder: string;
  /** For sandboxes that the runtime leaves outside of control groups. */
  readonly cgroups: SandboxCgroups | undefined;
  readonly egress: Egress;
  readonly tracking: TrackingNetworks;
  readonly capabilities: EngineCapabilities;
}
