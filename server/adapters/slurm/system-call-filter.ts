const EPERM = 1;
const ENOSYS = 38;
/** CLONE_NEW*: a user namespace of its own would open most of the kernel to a task. */
const NEW_NAMESPACES = 0x7e020000;

/** What no task needs and what widens its way into the kernel, on top of what the runner filters itself. */
const REFUSED = [
  ...[
    "acct",
    "add_key",
    "bpf",
    "create_module",
    "delete_module",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
  ],
  ...[
    "fspick",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
  ],
  ...[
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "mount",
    "mount_setattr",
    "move_mount",
    "nfsservctl",
  ],
  ...[
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "quotactl",
    "reboot",
    "request_key",
    "setns",
  ],
  ...[
    "swapoff",
    "swapon",
    "umount",
    "umount2",
    "unshare",
    "userfaultfd",
    "vhangup",
    "chroot",
    "settimeofday",
  ],
];

/** The bundle's own seccomp rules. */
export function systemCallFilter(): Record<string, unknown> {
  return {
    defaultAction: "SCMP_ACT_ALLOW",
    syscalls: [
      { names: REFUSED, action: "SCMP_ACT_ERRNO", errnoRet: EPERM },
      // Its flags lie in memory where no filter can see them; programs fall back to clone.
      { names: ["clone3"], action: "SCMP_ACT_ERRNO", errnoRet: ENOSYS },
      ...[...bitsOf(NEW_NAMESPACES)].map((flag) => ({
        names: ["clone"],
        action: "SCMP_ACT_ERRNO",
        errnoRet: EPERM,
        args: [{ index: 0, value: flag, valueTwo: flag, op: "SCMP_CMP_MASKED_EQ" }],
      })),
    ],
  };
}

function* bitsOf(mask: number): Generator<number> {
  for (let bit = 1; bit <= mask; bit *= 2) if ((mask & bit) !== 0) yield bit;
}
