"""What the kernel says about the sandbox: cgroup v1 or v2 counters, /proc where a sandbox has no cgroup files (gVisor)."""

import os
import resource

import identity

ROOT = "/sys/fs/cgroup"
STORAGE_FOLDERS = (identity.WORKSPACE, "/tmp", identity.HOME)

# A filesystem far larger than what was asked for is shared with others, and says nothing about this task.
SHARED_FACTOR = 2
SHARED_SLACK = 64 << 20


class File:
    """A counter file kept open: reading it again is one system call. Absent files read as None."""

    def __init__(self, *paths):
        self._fd = None
        for path in paths:
            try:
                self._fd = os.open(ROOT + "/" + path, os.O_RDONLY | os.O_CLOEXEC)
                return
            except OSError:
                # Another cgroup version, or none: the next path or the fallback has it.
                continue

    def read(self):
        if self._fd is None:
            return None
        try:
            return os.pread(self._fd, 8192, 0)
        except OSError:
            return None

    def number(self):
        return _number(self.read())

    def fields(self):
        """`name value` lines as a dictionary; empty where the file is absent."""
        found = {}
        for line in (self.read() or b"").split(b"\n"):
            name, _, value = line.partition(b" ")
            if value.isdigit():
                found[name] = int(value)
        return found


def _own_anonymous():
    with open("/proc/self/statm", "rb") as statm:
        fields = statm.read().split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


def _number(text):
    text = (text or b"").strip()
    return int(text) if text.isdigit() else None


class Counters:
    """Everything since `start`: CPU used, memory now and at most, processes, storage, limits that were touched."""

    def __init__(self):
        self._memory = File("memory/memory.stat", "memory.stat")
        self._oom = File("memory/memory.oom_control", "memory.events")
        self._processes = File("pids/pids.current", "pids.current")
        self._refused = File("pids/pids.events", "pids.events")
        self._cpu_v1 = File("cpuacct/cpuacct.usage", "cpu,cpuacct/cpuacct.usage")
        self._user_v1 = File("cpuacct/cpuacct.usage_user", "cpu,cpuacct/cpuacct.usage_user")
        self._system_v1 = File("cpuacct/cpuacct.usage_sys", "cpu,cpuacct/cpuacct.usage_sys")
        self._cpu_v2 = File("cpu.stat")
        self._storage = Storage()
        self._start_cpu = (0, 0, 0)
        self._start_oom = 0
        self._start_refused = 0
        self.peak_ram = 0
        self.peak_processes = 0
        self.peak_storage = 0
        self.storage_full = None

    def start(self, prestarted, storage_bytes, one_volume):
        self._start_cpu = self._cpu()
        if not self._has_cpu() and prestarted is not None:
            # Its time before the spec will be among the children's once it is reaped.
            user, system = _times_of(prestarted)
            total, all_user, all_system = self._start_cpu
            self._start_cpu = (total + user + system, all_user + user, all_system + system)
        self._start_oom = self._oom_kills()
        self._start_refused = self._refusals()
        self._storage.start(storage_bytes, one_volume)

    def cpu(self):
        """(total, user, system) in microseconds since the spec arrived."""
        return tuple(max(0, now - before) for now, before in zip(self._cpu(), self._start_cpu))

    def _has_cpu(self):
        return self._cpu_v1.read() is not None or b"usage_usec" in (self._cpu_v2.read() or b"")

    def _cpu(self):
        total = self._cpu_v1.number()
        if total is not None:
            return total // 1000, (self._user_v1.number() or 0) // 1000, (self._system_v1.number() or 0) // 1000
        fields = self._cpu_v2.fields()
        if b"usage_usec" in fields:
            return fields[b"usage_usec"], fields.get(b"user_usec", 0), fields.get(b"system_usec", 0)
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        user, system = round(usage.ru_utime * 1e6), round(usage.ru_stime * 1e6)
        return user + system, user, system

    def sample(self):
        """Reads what has to be sampled; returns (ram, processes, storage) as they are now."""
        ram, processes = self._ram(), self._process_count()
        storage = self._storage.used()
        self.storage_full = self._storage.full() or self.storage_full
        self.peak_ram = max(self.peak_ram, ram)
        self.peak_processes = max(self.peak_processes, processes)
        self.peak_storage = max(self.peak_storage, storage)
        return ram, processes, storage

    def _ram(self):
        fields = self._memory.fields()
        for anonymous, shared in ((b"total_rss", b"total_shmem"), (b"rss", b"shmem"), (b"anon", b"shmem")):
            if anonymous in fields:
                # The runner shares the cgroup, but its memory comes on top of what was asked for.
                return max(0, fields[anonymous] + fields.get(shared, 0) - _own_anonymous())
        return sum(_resident(pid) for pid in _pids() if pid != 1)

    def _process_count(self):
        now = self._processes.number()
        return (len(_pids()) if now is None else now) - 1

    def _oom_kills(self):
        return self._oom.fields().get(b"oom_kill", 0)

    def _refusals(self):
        return self._refused.fields().get(b"max", 0)

    def out_of_memory(self):
        return self._oom_kills() > self._start_oom

    def processes_refused(self):
        return self._refusals() > self._start_refused


class Storage:
    """The filesystems that hold the workspace, /tmp and HOME, each counted once."""

    def __init__(self):
        self._folders = []
        self._start = 0

    def start(self, asked, one_volume):
        seen = set()
        # gVisor gives each mount a device number of its own, whatever it is a part of.
        for folder in STORAGE_FOLDERS[:1] if one_volume else STORAGE_FOLDERS:
            try:
                device = os.stat(folder).st_dev
                total = os.statvfs(folder)
            except OSError:
                continue
            shared = total.f_blocks * total.f_frsize > asked * SHARED_FACTOR + SHARED_SLACK
            if device not in seen and not shared:
                self._folders.append(folder)
            seen.add(device)
        self._start = self._used()

    def used(self):
        return max(0, self._used() - self._start)

    def _used(self):
        return sum((state.f_blocks - state.f_bfree) * state.f_frsize for state in self._states())

    def full(self):
        """"storage" or "inodes" when one of them has run out, else None."""
        for state in self._states():
            total, free = state.f_blocks * state.f_frsize, state.f_bavail * state.f_frsize
            # A write that fails can leave a few blocks over.
            if free < min(1 << 20, total // 100):
                return "storage"
            if state.f_files > 0 and state.f_favail == 0:
                return "inodes"
        return None

    def _states(self):
        states = []
        for folder in self._folders:
            try:
                states.append(os.statvfs(folder))
            except OSError:
                # Gone with its device; the engine will say so.
                continue
        return states


def _pids():
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return [1]


def _proc_fields(pid, file):
    try:
        fd = os.open("/proc/%d/%s" % (pid, file), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        return os.read(fd, 4096).rpartition(b")")[2].split()
    except OSError:
        return []
    finally:
        os.close(fd)


def _resident(pid):
    fields = _proc_fields(pid, "statm")
    pages = int(fields[1]) - int(fields[2]) if len(fields) > 2 else 0
    return max(0, pages) * resource.getpagesize()


def _times_of(pid):
    fields = _proc_fields(pid, "stat")
    if len(fields) < 13:
        return 0, 0
    tick = 1_000_000 // os.sysconf("SC_CLK_TCK")
    return int(fields[11]) * tick, int(fields[12]) * tick
