"""Everything that can be asked of a task. The server checks the values and names all wrong ones at once."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypedDict

from longshore.v1.blob_service_pb2 import Blob

# A time: "30s", "10m", "1h30m", "500ms", a number of seconds, or a timedelta.
TimeSpan = str | int | float | datetime.timedelta

NetworkName = Literal["none", "egress", "tracking"]
IsolationName = Literal["container", "gvisor"]
LimitName = Literal[
    "cpu",
    "ram",
    "storage",
    "gpu",
    "processes",
    "open_files",
    "inodes",
    "log",
    "artifacts",
    "run_time",
    "queue_time",
    "total_time",
    "quota",
    "network",
]
StateName = Literal["queued", "preparing", "running", "collecting", "cancelling", "succeeded", "failed", "cancelled"]
DeliveryStateName = Literal["pending", "delivered", "failed"]
BlobFormatName = Literal["raw", "tar", "tar.gz", "zip"]
ViewName = Literal["basic", "full"]
LogStream = Literal["stdout", "stderr", "build"]
PathLike = str | os.PathLike[str]


class NamedTask(Protocol):
    """A task by its handle."""

    id: str


@dataclass(frozen=True)
class BlobInput:
    """A stored blob, placed at `path` below the workspace before the run."""

    path: str
    blob_sha256: str


@dataclass(frozen=True)
class ArtifactInput:
    """An artifact of another task, placed at `path` below the workspace before the run."""

    path: str
    task_id: str
    artifact: str


@dataclass(frozen=True)
class FileInput:
    """A file here, uploaded first and placed at `path` below the workspace before the run."""

    path: str
    file: PathLike


@dataclass(frozen=True)
class ArtifactSource:
    """A file that a task leaves behind, as `task.artifact(path)` names it: an input of another task, which waits for it."""

    task_id: str
    artifact: str


# What is placed at a path: a file here, a blob (as `client.blobs.upload` answers it), or an artifact of another task.
InputSource = PathLike | Blob | ArtifactSource


class Placement(TypedDict, total=False):
    """Where a task runs beyond the server's own machine."""

    engine: str
    account: str
    partition: str
    instance_type: str


class Webhook(TypedDict, total=False):
    """An address and the states that it is told of; the terminal ones when left out."""

    url: str
    states: Sequence[StateName]


class Experiment(TypedDict, total=False):
    """MLflow settings handed to the script."""

    # A tracking server that the server's configuration names, by that name or its URL.
    tracking_uri: str
    name: str


@dataclass(frozen=True)
class Progress:
    """How far the way to the server is.

    `phase` is "packing" (with `files`) or "uploading" (with `total_bytes` and `stored_before`, the bytes that were there
    before this upload and are not sent again; for an input that goes along also `name`, that of its file); `bytes` counts up
    in both.
    """

    phase: Literal["packing", "uploading"]
    bytes: int
    done: bool
    files: int = 0
    total_bytes: int = 0
    stored_before: int = 0
    name: str = ""


ProgressCallback = Callable[[Progress], None]


def naming(name: str, on_progress: ProgressCallback | None) -> ProgressCallback | None:
    """A callback that tells another which file the progress is of."""
    return None if on_progress is None else lambda progress: on_progress(replace(progress, name=name))


class ResourceOptions(TypedDict, total=False):
    """How much of the machine; what is left out takes the server's default."""

    # CPUs: 2, 0.5 or "0.5".
    cpu: float | str
    gpu: int | str
    gpu_model: str
    # With a unit: "512MB", "1GB", "1GiB". MB and MiB both mean 2**20 bytes.
    ram: str
    # Disk for the workspace, /tmp and HOME together, as ram.
    storage: str


class FunctionOptions(ResourceOptions, total=False):
    """What holds for a function that is called in a sandbox, too."""

    # Longest run; the server's default is 30 s.
    timeout: TimeSpan
    queue_timeout: TimeSpan
    total_timeout: TimeSpan
    env: Mapping[str, str]
    # Kept encrypted and never sent back.
    secret_env: Mapping[str, str]
    working_directory: str
    image: str
    # Lines of a requirements.txt; without it the project's own is used, and an empty one asks for no packages.
    requirements: str | Sequence[str]
    # Modules that a warm sandbox imports beforehand.
    preload: Sequence[str]
    # Globs below the workspace; what matches at the end becomes artifacts.
    outputs: Sequence[str]
    # Data placed read-only before the run, by its path below the workspace: {"data/train.csv": "train.csv"}.
    inputs: Mapping[str, InputSource] | Sequence[BlobInput | ArtifactInput | FileInput]
    network: NetworkName
    isolation: IsolationName
    # Limits that must be enforced, not advisory: "cpu", "ram", "storage", "processes" and so on.
    require_enforced: Sequence[LimitName]
    placement: Placement
    # -100 to 100, higher first.
    priority: int
    # An estimate of the run, which lets the shorter go first; without it the server goes by earlier runs.
    expected_duration: TimeSpan
    # Tasks, or their ids, that must succeed first; when one does not, this one ends at once.
    depends_on: Sequence[str | NamedTask]
    # Tries after faults of the system; failures of your code are never retried.
    max_attempts: int
    # Takes the result of an equal earlier task, at once and free of charge, where there is one.
    cache: bool
    max_processes: int
    max_open_files: int
    max_inodes: int
    max_log_bytes: int
    max_artifact_bytes: int
    # For people; need not be unique.
    name: str
    labels: Mapping[str, str]
    # Addresses told how it ends, or of the states given; signed with the tenant's secret (longshore webhook).
    webhooks: Sequence[str | Webhook]
    retention: TimeSpan
    # Same id and content answers the first task; made up when left out.
    request_id: str
    experiment: Experiment


class TaskOptions(FunctionOptions, total=False):
    """Everything that can be asked of a task."""

    # File in the project, or "module:function".
    entrypoint: str
    args: Sequence[str]
    # Runs this instead of Python on the entrypoint.
    command: Sequence[str]
    stdin: str | bytes


class TraceOptions(TypedDict, total=False):
    """Which trace a task belongs to."""

    # W3C trace context that the task's spans continue; by default that of the active OpenTelemetry span, else TRACEPARENT.
    traceparent: str


class UploadOptions(TraceOptions, total=False):
    """How what is run gets to the server."""

    # Told how packing and uploading get on, instead of a progress bar on the terminal.
    on_progress: ProgressCallback
    # Sends to the server's store of blobs itself, past the server, where it has addresses for that.
    direct: bool


class StartOptions(FunctionOptions, UploadOptions, total=False):
    """Options of start and remote."""


class SubmitOptions(TaskOptions, UploadOptions, total=False):
    """Options of submit and run."""


class SubmitStreamOptions(TaskOptions, TraceOptions, total=False):
    """Options of submit_stream."""


class RerunOptions(ResourceOptions, TraceOptions, total=False):
    """Options of rerun."""

    timeout: TimeSpan
    request_id: str
