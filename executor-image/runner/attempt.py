"""One attempt from `accepted` to `end`: stage in, run, kill what is left, collect."""

import os
import select
import time
from signal import SIGKILL, SIGTERM

import collect
import identity
import journal as frames
import program
import spans
import unpack
from ending import Cause, Ending, fit
from helper import Helper
from pump import Feeder, Pump

ARTIFACTS = "/longshore/artifacts"
INPUT = "/longshore/input"

SAMPLE_SECONDS = 0.1
USAGE_SECONDS = 1.0
USAGE_MOST_SECONDS = 10.0

# How long the sweep waits for processes that cannot die, such as one stuck in a device, before it ends without them.
SWEEP_SECONDS = 30.0
# What the collecting process gets beyond its own deadline, to end its tar properly.
COLLECT_GRACE = 2.0
NO_ARTIFACTS = {"count": 0, "bytes": 0, "error": None}


class Attempt:
    def __init__(self, spec, sandbox):
        self._spec = spec
        self._settings = sandbox.settings
        self._journal = sandbox.journal
        self._events = sandbox.events
        self._reaper = sandbox.reaper
        self._pipes = sandbox.pipes
        self._prestarted = sandbox.prestarted
        self._counters = sandbox.counters
        self._spans = sandbox.spans
        self._spans.begin(sandbox.journal, spec.span_budget)
        if self._spans.fd is not None:
            spec.env = {**spec.env, spans.VARIABLE: self._spans.name}
        self._pump = Pump(sandbox.pipes, sandbox.journal, spec.limits.log_bytes)
        self._feeder = Feeder(sandbox.pipes.to_stdin, spec.stdin)
        self._started = time.monotonic()
        self._total_deadline = self._deadline_of_total()
        self._run_started = None
        self._run_seconds = 0.0
        self._kill_at = None
        self._pid = None
        self._main = None
        self._cause = None

    def _deadline_of_total(self):
        deadline = self._spec.limits.deadline_unix_ms
        return float("inf") if deadline is None else self._started + deadline / 1000 - time.time()

    def run(self):
        prestarted = self._prestarted.pid if self._prestarted is not None else None
        self._counters.start(prestarted, self._spec.limits.storage_bytes, self._settings.one_volume)
        touched, artifacts = [], dict(NO_ARTIFACTS)
        try:
            if self._stage_in():
                self._run()
            touched = self._sweep()
            if self._main is not None and self._spec.outputs:
                artifacts = self._collect()
        except frames.JournalFull as problem:
            self._cause = self._cause or Cause("system_error", "The log could not be written: %s." % problem)
            self._pump.keep_no_more()
            self._spans.close()
            touched = self._sweep()
            if not self._journal.try_again():
                raise
        self._pump.write_gaps()
        self._journal.record(frames.END, fit(self._end(touched, artifacts)))

    # Stage in

    def _stage_in(self):
        spec = self._spec
        self._stage("stage_in", "start")
        answer = {"files": 0}
        if spec.input_bytes or spec.working_directory:
            answer = self._unpack()
        elif spec.code is not None:
            answer = self._write_snippet()
        note = _count(answer["files"], "file") if "files" in answer else answer.get("error", "")
        self._stage("stage_in", "end", note)
        if self._cause is None:
            self._interrupted()
        return self._cause is None

    def _unpack(self):
        limit = self._spec.limits.stage_in_ms
        deadline = min(self._total_deadline, time.monotonic() + limit / 1000)
        keep = [os.open(INPUT, os.O_RDONLY | os.O_CLOEXEC)] if self._spec.input_bytes else []
        try:
            helper = Helper(self._settings, self._events, self._reaper, lambda fd=-1: unpack.stage_in(self._spec, fd), keep)
        finally:
            for fd in keep:
                os.close(fd)
        in_time = helper.wait(deadline, self._interrupted)
        answer = helper.answer
        if not in_time and self._cause is None and not self._interrupted():
            self._cause = Cause("input_failed", "Unpacking the project took longer than %d ms." % limit)
        if self._cause is None and (answer is None or "error" in answer):
            self._cause = self._input_failure(answer)
        return answer if answer is not None else {}

    def _write_snippet(self):
        with identity.ActingAsTask(self._settings):
            answer = unpack.stage_snippet(self._spec)
        if "error" in answer:
            self._cause = self._input_failure(answer)
        return answer

    def _input_failure(self, answer):
        if answer is None:
            return Cause("input_failed", "Unpacking the project ended unexpectedly; it may need more RAM or storage.", killer=None)
        self._counters.sample()
        message = "Stage in failed: %s." % answer["error"]
        full = self._counters.storage_full
        if full is None and answer.get("errno") not in unpack.FULL:
            return Cause("input_failed", message, killer=None)
        limit = self._spec.limits.storage_bytes
        return Cause("storage_full", message, None, full or "storage", limit, self._counters.peak_storage)

    # Run

    def _run(self):
        self._stage("run", "start")
        self._run_started = time.monotonic()
        pid = self._pid = self._start()
        if pid is None:
            return
        self._reaper.watch(pid)
        self._feeder.feed()
        self._pipes.close_task_ends()
        try:
            self._pump_until_ended(pid)
        finally:
            self._run_seconds = time.monotonic() - self._run_started
        self._pump.flush()
        self._stage("run", "end")

    def _start(self):
        waiting, self._prestarted = self._prestarted, None
        if waiting is not None:
            if program.suits(self._spec) and self._is_ready(waiting):
                waiting.run(self._spec, self._settings)
                return waiting.pid
            waiting.close()
            self._kill_all()
        if self._cause is not None:
            return None
        return program.start(self._settings, self._spec, self._pipes)

    def _is_ready(self, waiting):
        """An interpreter that is still importing is not waited for: starting a fresh one is sooner."""
        give_up = time.monotonic() + (0 if waiting.preloads else program.READY_SECONDS)
        poll = select.poll()
        poll.register(waiting.status, select.POLLIN)
        poll.register(self._events.fd, select.POLLIN)
        while not waiting.is_ready():
            self._events.clear()
            self._reaper.reap()
            if self._reaper.ended(waiting.pid) is not None or time.monotonic() >= give_up or self._interrupted():
                return False
            poll.poll(100)
        return self._reaper.ended(waiting.pid) is None

    def _pump_until_ended(self, pid):
        poll = select.poll()
        poll.register(self._events.fd, select.POLLIN)
        by_fd = {stream.fd: stream for stream in self._pump.streams}
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        if self._spans.fd is not None:
            poll.register(self._spans.fd, select.POLLIN)
        if self._feeder.fd is not None:
            poll.register(self._feeder.fd, select.POLLOUT)
        only_events = select.poll()
        only_events.register(self._events.fd, select.POLLIN)
        next_sample = time.monotonic() + SAMPLE_SECONDS
        next_usage = self._run_started + USAGE_SECONDS
        while True:
            # With tiny output held back, the task is left alone for a moment instead of being read line by line.
            if self._pump.holds():
                only_events.poll(1)
                self._pump.flush_due()
            ready = poll.poll(0 if self._pump.holds() else self._wait_ms(next_sample))
            for fd, _ in ready:
                if fd in by_fd:
                    self._move(by_fd[fd], poll)
                elif fd == self._feeder.fd:
                    if not self._feeder.feed():
                        poll.unregister(fd)
                elif fd == self._events.fd:
                    self._events.clear()
                    self._reaper.reap()
                elif not self._spans.take():
                    poll.unregister(fd)
            self._main = self._reaper.ended(pid)
            if self._main is not None:
                return
            now = time.monotonic()
            if now >= next_sample:
                next_usage = self._sample(now, next_usage)
                next_sample = now + SAMPLE_SECONDS
            if self._must_end(pid, now):
                return

    def _wait_ms(self, next_sample):
        until = min(next_sample, self._kill_at or next_sample, self._total_deadline, self._run_deadline())
        return max(0, round((until - time.monotonic()) * 1000 + 0.5))

    def _run_deadline(self):
        return self._run_started + self._spec.limits.run_ms / 1000

    def _move(self, stream, poll):
        self._pump.move(stream)
        if not stream.open:
            poll.unregister(stream.fd)

    def _sample(self, now, next_usage):
        ram, processes, storage = self._counters.sample()
        room = self._journal.room()
        if now < next_usage or (room is not None and room == 0):
            return next_usage
        self._pump.flush()
        usage = {"cpu_micros": self._counters.cpu()[0], "ram_bytes": ram, "processes": processes, "storage_bytes": storage}
        self._journal.record(frames.USAGE, usage)
        # Seldomer the longer it runs: a week of samples should not outgrow the log they stand in.
        return now + min(USAGE_MOST_SECONDS, max(USAGE_SECONDS, (now - self._run_started) / 60))

    def _must_end(self, pid, now):
        """Looks for a reason to stop; true when the tree has to be killed now."""
        limits = self._spec.limits
        if self._cause is None:
            if self._pump.over_budget:
                written = self._pump.stdout.read_bytes + self._pump.stderr.read_bytes
                self._cause = Cause.output(limits.log_bytes, written)
            elif now >= self._run_deadline():
                self._cause = Cause.run_time(limits.run_ms, round((now - self._run_started) * 1000))
            else:
                self._interrupted()
            if self._cause is not None and self._cause.reason == "cancelled" and not self._events.kill_asked:
                self._kill_at = now + self._spec.stop_grace_ms / 1000
                _signal_group(pid, SIGTERM)
        if self._cause is None:
            return False
        late = self._kill_at is None or now >= self._kill_at or now >= self._total_deadline or self._pump.over_budget
        return late or self._events.kill_asked

    def _interrupted(self):
        """Notes a stop from outside or the total deadline as the cause; true when the attempt has to end."""
        if self._cause is None:
            if self._events.kill_asked or self._events.stop_asked:
                self._cause = Cause.cancelled()
            elif time.monotonic() >= self._total_deadline:
                self._cause = Cause.total_time(self._spec.limits.deadline_unix_ms, round(time.time() * 1000))
        return self._cause is not None

    # The end of every process

    def _sweep(self):
        """Kills all that is left and empties the pipes; returns the limits that were touched while the task ran."""
        self._counters.sample()
        touched = self._touched()
        last_killed = self._reaper.last_killed
        self._kill_all()
        if self._main is None and self._pid is not None:
            self._main = self._reaper.ended(self._pid)
        self._reaper.last_killed = last_killed or self._main
        self._pump.drain()
        self._spans.drain()
        self._feeder.close()
        if self._pump.over_budget and self._cause is None:
            touched.append("log")
        return touched

    def _touched(self):
        touched = []
        if self._counters.out_of_memory():
            touched.append("ram")
        if self._counters.storage_full is not None:
            touched.append(self._counters.storage_full)
        if self._counters.processes_refused():
            touched.append("processes")
        return touched

    def _kill_all(self):
        give_up = time.monotonic() + SWEEP_SECONDS
        poll = select.poll()
        poll.register(self._events.fd, select.POLLIN)
        while time.monotonic() < give_up:
            try:
                os.kill(-1, SIGKILL)
                alone = False
            except ProcessLookupError:
                alone = True
            if self._reaper.reap():
                # Somebody is still dying. Asked again soon: a fork may have slipped past the signal.
                poll.poll(10)
                self._events.clear()
            elif alone:
                break

    # Collect

    def _collect(self):
        self._stage("collect", "start")
        limits = self._spec.limits
        deadline = time.monotonic() + limits.artifact_ms / 1000
        asked = self._events.asked
        try:
            fd = os.open(ARTIFACTS, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as problem:
            return {**NO_ARTIFACTS, "error": "no place for artifacts: %s" % problem.strerror}
        try:
            helper = Helper(
                *(self._settings, self._events, self._reaper),
                lambda output: collect.collect(self._spec.outputs, limits, deadline, output),
                keep=[fd],
            )
        finally:
            os.close(fd)
        in_time = helper.wait(deadline + COLLECT_GRACE, lambda: self._events.asked != asked)
        artifacts = _checked_artifacts(helper.answer, in_time)
        self._stage("collect", "end", "%s, %d bytes" % (_count(artifacts["count"], "artifact"), artifacts["bytes"]))
        return artifacts

    # Frames

    def _stage(self, stage, event, note=""):
        self._journal.record(frames.STAGE, {"stage": stage, "event": event, "note": note[:1000]})

    def _end(self, touched, artifacts):
        ending = Ending(self._spec, self._main, self._cause, touched, self._counters, self._reaper.last_killed)
        cpu, user, system = self._counters.cpu()
        peak_ram = max(self._counters.peak_ram, self._reaper.largest_rss_bytes if self._main is not None else 0)
        return {
            **ending.describe(),
            "usage": {
                "cpu_micros": cpu,
                "peak_ram_bytes": peak_ram,
                "peak_storage_bytes": self._counters.peak_storage,
                "peak_processes": max(self._counters.peak_processes, 1 if self._main is not None else 0),
                "stdout_bytes": self._pump.stdout.read_bytes,
                "stderr_bytes": self._pump.stderr.read_bytes,
                "wall_micros": round(self._run_seconds * 1e6),
                "user_micros": user,
                "system_micros": system,
            },
            "artifacts": artifacts,
        }


def _count(number, noun):
    return "%d %s%s" % (number, noun, "" if number == 1 else "s")


def _signal_group(pid, number):
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        # Ended in this very moment.
        pass


def _checked_artifacts(answer, in_time):
    if not in_time:
        return {**NO_ARTIFACTS, "error": "collecting was stopped before it was done"}
    if answer is None or not isinstance(answer.get("count"), int) or not isinstance(answer.get("bytes"), int):
        detail = answer.get("error") if answer is not None else None
        return {**NO_ARTIFACTS, "error": "collecting failed: %s" % (detail or "its process was killed")}
    return {"count": answer["count"], "bytes": answer["bytes"], "error": answer.get("error")}
