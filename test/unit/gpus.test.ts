import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseGpus } from "#server/adapters/docker/gpus.ts";

const A = "GPU-8a56a4bc-e184-a047-2620-be19fdf913d5";
const B = "GPU-c9a9d5b4-3a07-3ac5-9f2d-0d1b5f1c77aa";

describe("what nvidia-smi says", () => {
  test("of several cards, with line ends of either kind and a card whose memory it cannot read", () => {
    for (const end of ["\n", "\r\n"]) {
      const csv = [`${A}, NVIDIA H200, 143771`, `${B}, Tesla T4, [N/A]`, ""].join(end);
      assert.deepEqual(parseGpus(csv), [
        { id: A, model: "NVIDIA H200", memoryBytes: 143_771 * 2 ** 20 },
        { id: B, model: "Tesla T4", memoryBytes: 0 },
      ]);
    }
  });

  test("when it has no card, or no driver, or lost one: nothing is offered that cannot be given", () => {
    for (const text of [
      "",
      "No devices were found\n",
      "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA driver is installed and running.\n",
      "Failed to initialize NVML: Driver/library version mismatch\n",
      "Unable to determine the device handle for GPU0000:3B:00.0: GPU is lost.  Reboot the system to recover this GPU\n",
    ])
      assert.deepEqual(parseGpus(text), [], text);
    const oneLost = `Unable to determine the device handle for GPU 0000:3B:00.0: Unknown Error\n${B}, Tesla T4, 15360\n`;
    assert.deepEqual(
      parseGpus(oneLost).map(({ id }) => id),
      [B],
    );
  });

  test("that is no id of a device never becomes one", () => {
    for (const id of ["all", "0", "GPU-1 --privileged", "GPU-../../dev/sda", "MIG-GPU"])
      assert.deepEqual(parseGpus(`${id}, NVIDIA H200, 143771\n`), []);
  });
});
