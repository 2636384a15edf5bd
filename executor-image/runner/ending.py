"""Why an attempt ended: the main process's own ending first, limits only where it did not end well."""

import journal


class Cause:
    """Why the runner itself stopped an attempt."""

    __slots__ = ("reason", "killer", "limit", "limit_value", "observed", "message")

    def __init__(self, reason, message, killer="runner", limit=None, limit_value=0, observed=0):
        self.reason = reason
        self.killer = killer
        self.limit = limit
        self.limit_value = limit_value
        self.observed = observed
        self.message = message

    @classmethod
    def cancelled(cls):
        return cls("cancelled", "The task was cancelled.", killer="client")

    @classmethod
    def run_time(cls, limit_ms, elapsed_ms):
        message = "The task ran longer than its timeout of %s and was stopped; ask for a longer timeout or do less." % _seconds(limit_ms)
        return cls("timed_out", message, limit="run_time", limit_value=limit_ms, observed=elapsed_ms)

    @classmethod
    def total_time(cls, deadline_unix_ms, now_unix_ms):
        message = "The task's total deadline passed and it was stopped; ask for a later deadline."
        return cls("timed_out", message, limit="total_time", limit_value=deadline_unix_ms, observed=now_unix_ms)

    @classmethod
    def output(cls, limit, written):
        message = "The task wrote more than %s of output and was stopped; write less, or write to a file." % _size(limit)
        return cls("output_limit", message, limit="log", limit_value=limit, observed=written)


# A task that ended by itself before these could stop it was not stopped by them.
PREVENTABLE = ("timed_out", "output_limit")


class Ending:
    """Decides the reason from the main process's end, the runner's cause and the limits that were touched."""

    def __init__(self, spec, main, cause, touched, counters, last_killed):
        self._spec = spec
        self._main = main
        self._cause = cause
        self._touched = touched
        self._counters = counters
        self._last_killed = last_killed

    def describe(self):
        fields = dict.fromkeys(("exit_code", "signal", "killer", "limit", "process", "message"))
        fields.update({"limit_value": 0, "observed_peak": 0, "limits_hit": self._limits_hit()})
        if self._main is not None:
            fields.update({"exit_code": self._main.exit_code, "signal": self._main.signal})
        fields.update(self._decide())
        return fields

    def _limits_hit(self):
        hit = list(self._touched)
        if self._cause is not None and self._cause.limit is not None and self._cause.limit not in hit:
            hit.append(self._cause.limit)
        return hit

    def _ended_well(self):
        return self._main is not None and self._main.exit_code == 0

    def _decide(self):
        cause = self._cause
        if cause is not None and not (cause.reason in PREVENTABLE and self._ended_well()):
            return self._by_cause(cause)
        if not self._ended_well():
            for limit, decide in (
                ("ram", self._out_of_memory),
                ("storage", self._storage_full),
                ("inodes", self._inodes_used_up),
                ("processes", self._process_limit),
            ):
                if limit in self._touched:
                    return {"limit": limit, **decide()}
        return self._by_itself()

    def _by_cause(self, cause):
        killed = self._main is not None and self._main.signal is not None
        return {
            "reason": cause.reason,
            "killer": cause.killer if killed or self._main is None else None,
            "limit": cause.limit,
            "limit_value": cause.limit_value,
            "observed_peak": cause.observed,
            "process": self._main.describe() if killed else None,
            "message": cause.message,
        }

    def _by_itself(self):
        if self._main is None:
            return {"reason": "system_error", "message": "The task was never started."}
        if self._main.signal is None:
            return {"reason": "exited"}
        message = "The task's main process was ended by signal %d." % self._main.signal
        return {"reason": "signaled", "process": self._main.describe(), "message": message}

    def _out_of_memory(self):
        victim = self._last_killed or self._main
        limit = self._spec.limits.ram_bytes
        return {
            "reason": "out_of_memory",
            "killer": "kernel",
            "limit_value": limit,
            # Sampling cannot see the last moment; the kernel kills only at the limit itself.
            "observed_peak": max(limit, self._counters.peak_ram),
            "process": victim.describe() if victim is not None else None,
            "message": "The task used all of its %s of RAM and the kernel killed it; ask for more RAM." % _size(limit),
        }

    def _storage_full(self):
        limit = self._spec.limits.storage_bytes
        return {
            "reason": "storage_full",
            "limit_value": limit,
            "observed_peak": self._counters.peak_storage,
            "message": "The task filled its %s of storage; ask for more storage or write less." % _size(limit),
        }

    def _inodes_used_up(self):
        return {"reason": "storage_full", "message": "The task used up the number of files its storage can hold; write fewer files."}

    def _process_limit(self):
        limit = self._spec.limits.processes
        return {
            "reason": "process_limit",
            "limit_value": limit,
            "observed_peak": self._counters.peak_processes,
            "message": "The task reached its limit of %d processes and threads; start fewer of them." % limit,
        }


def fit(record):
    """An end frame is at most 64 KiB; only its sentences can be long."""
    from json import dumps

    if len(dumps(record)) > journal.MAX_END:
        record["message"] = (record["message"] or "")[:1000]
        record["artifacts"]["error"] = (record["artifacts"]["error"] or "")[:1000]
    return record


def _seconds(milliseconds):
    return "%g s" % (milliseconds / 1000)


def _size(count):
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return "%g %s" % (round(count, 1), unit)
        count /= 1024
