"""Everything that this package raises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .outcome import TaskOutcome


@dataclass(frozen=True)
class FieldViolation:
    """One wrong field, named by its path in the request."""

    field: str
    description: str


@dataclass(frozen=True)
class SourceProblem:
    """One path that cannot be sent, and why."""

    path: str
    problem: str


@dataclass(frozen=True)
class QuotaViolation:
    """One quota that is used up."""

    subject: str
    description: str


class LongshoreError(Exception):
    """What everything raised by this package has in common.

    `code` is the gRPC status name, such as "NOT_FOUND"; `reason` the value of longshore.v1.ErrorReason without its prefix,
    empty when the server gave none; `metadata` the facts that come with the reason.
    """

    def __init__(
        self, message: str, *, code: str = "UNKNOWN", reason: str = "", metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.metadata: Mapping[str, str] = dict(metadata or {})


class InvalidRequest(LongshoreError, ValueError):
    """Fields of a request are wrong; `violations` names all of them, whether found here or by the server."""

    def __init__(self, violations: Sequence[FieldViolation], *, message: str = "", **details: Any) -> None:
        facts = {"code": "INVALID_ARGUMENT", "reason": "INVALID_REQUEST", **details}
        super().__init__(message or _describe(violations), **facts)
        self.violations = tuple(violations)


def _describe(violations: Sequence[FieldViolation]) -> str:
    count = "1 problem" if len(violations) == 1 else f"{len(violations)} problems"
    return f"{count} with the request: " + "; ".join(f"{v.field}: {v.description}" for v in violations)


class BadSource(LongshoreError, ValueError):
    """What was given to run cannot be packed; `problems` names every offending path."""

    def __init__(self, source: str, problems: Sequence[SourceProblem]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        listed = "; ".join(f"{p.path}: {p.problem}" for p in problems)
        super().__init__(f"{count} with {source}: {listed}", code="INVALID_ARGUMENT", reason="BAD_SOURCE")
        self.problems = tuple(problems)


class BadConnection(LongshoreError, ValueError):
    """The settings of a connection are wrong; nothing was sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="INVALID_ARGUMENT", reason="BAD_CONNECTION")


class BadHandler(LongshoreError, TypeError):
    """A function, its arguments or its result cannot be sent; the message says what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="INVALID_ARGUMENT", reason="BAD_HANDLER")


class BadArchive(LongshoreError):
    """The archive broke the server's `rule` in its `entry`."""

    @property
    def rule(self) -> str:
        return self.metadata.get("rule", "")

    @property
    def entry(self) -> str:
        return self.metadata.get("entry", "")


class DigestMismatch(LongshoreError):
    """The bytes that arrived are not those of the promised digest."""


class NeverFits(LongshoreError):
    """No host of this server could ever hold the task; `metadata` holds resource, asked and most."""


class NotEnforced(LongshoreError):
    """A limit that was demanded is not enforced there."""


class ImageRefused(LongshoreError):
    """The image is not allowed, has no Python, or declares volumes."""


class WrongState(LongshoreError):
    """The task's `state` does not allow the call."""

    @property
    def state(self) -> str:
        return self.metadata.get("state", "")


class NotFound(LongshoreError, LookupError):
    """There is no such thing, or not for this caller."""

    def __init__(self, message: str, *, resource_type: str = "", resource_name: str = "", **details: Any) -> None:
        super().__init__(message, **{"code": "NOT_FOUND", "reason": "NOT_FOUND", **details})
        self.resource_type = resource_type
        self.resource_name = resource_name


class RequestIdReused(LongshoreError):
    """The request_id was used before, for the other request that became `task_id`."""

    @property
    def task_id(self) -> str:
        return self.metadata.get("task_id", "")


class QuotaExceeded(LongshoreError):
    """A quota is used up, or a message is too large."""

    def __init__(self, message: str, *, violations: Sequence[QuotaViolation] = (), **details: Any) -> None:
        super().__init__(message, **details)
        self.violations = tuple(violations)


class TemporaryError(LongshoreError):
    """Trying again later may work, after `retry_after` seconds where the server said so (0 where it did not)."""

    def __init__(self, message: str, *, retry_after: float = 0.0, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after


class Unavailable(TemporaryError):
    """The server cannot be reached (`unreachable`), or says that it cannot serve now."""

    @property
    def unreachable(self) -> bool:
        return self.reason == ""


class RateLimited(TemporaryError):
    """Too many calls."""


class UploadInProgress(TemporaryError):
    """Another stream uploads the same bytes or uses the same request_id."""


class WrongOffset(LongshoreError):
    """The offset is not where the server stands."""


class Unauthenticated(LongshoreError):
    """The server wants a token, or another one."""


class PermissionDenied(LongshoreError):
    """The token lacks the scope that `metadata` names."""


class ServerFault(LongshoreError):
    """A fault of the server's; `request_id` is found in its log."""

    def __init__(self, message: str, *, request_id: str = "", **details: Any) -> None:
        super().__init__(message, **details)
        self.request_id = request_id


class ConnectionLost(LongshoreError):
    """The connection ended before the answer did; what was asked may or may not have happened."""


class UnsafeArtifactPath(LongshoreError):
    """The server offered an artifact under a name that lies outside of the folder it is to be written to."""

    def __init__(self, paths: Sequence[str], why: str) -> None:
        super().__init__(
            f"refused to write {', '.join(map(repr, paths))}: {why}", code="DATA_LOSS", reason="UNSAFE_ARTIFACT_PATH"
        )
        self.paths = tuple(paths)


class TaskFailed(LongshoreError):
    """The task ended otherwise than with exit code 0; carries the same facts as its outcome."""

    def __init__(self, outcome: TaskOutcome) -> None:
        advice = f"; {outcome.advice}" if outcome.advice else ""
        super().__init__(f"task {outcome.id} {outcome.message}{advice}", code="ABORTED", reason=outcome.reason)
        self.outcome = outcome

    @property
    def exit_code(self) -> int | None:
        return self.outcome.exit_code

    @property
    def signal(self) -> int | None:
        return self.outcome.signal

    @property
    def stdout_tail(self) -> str:
        return self.outcome.stdout_tail

    @property
    def stderr_tail(self) -> str:
        return self.outcome.stderr_tail

    @property
    def logs_tail(self) -> str:
        """Ends of the output, at most 4 KiB of each stream: standard output first, then standard error."""
        return self.outcome.stdout_tail + self.outcome.stderr_tail


class RemoteError(TaskFailed):
    """A function raised where it ran: `error_type` and `remote_traceback` tell what and where, as text."""

    def __init__(self, outcome: TaskOutcome, error_type: str, message: str, remote_traceback: str) -> None:
        super().__init__(outcome)
        self.error_type = error_type
        self.remote_message = message
        self.remote_traceback = remote_traceback

    def __str__(self) -> str:
        return f"{self.error_type}: {self.remote_message} (task {self.outcome.id})\n\n{self.remote_traceback.rstrip()}"


def is_connection_loss(error: BaseException) -> bool:
    """Whether going on from where the stream stood can help."""
    return isinstance(error, (Unavailable, ConnectionLost, RateLimited))
