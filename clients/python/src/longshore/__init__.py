"""Client of Longshore, which runs other people's code: submit it, watch it live, fetch what it leaves behind.

    with longshore.Client("localhost:50051") as client:
        task = client.run("train/", cpu=2, ram="1GB", timeout="10m", outputs=["model/*"])
        task.artifacts.download_all("out/")

`longshore.aio` has the same names for asyncio.
"""

from longshore.v1.blob_service_pb2 import Blob
from longshore.v1.resources_pb2 import EffectiveResources
from longshore.v1.system_service_pb2 import Capacity
from longshore.v1.system_service_pb2 import GetCapabilitiesResponse as Capabilities
from longshore.v1.task_pb2 import Artifact, Stage, TaskResult, Usage
from longshore.v1.task_pb2 import Task as TaskRecord
from longshore.v1.usage_service_pb2 import EstimateCostResponse as Estimate
from longshore.v1.usage_service_pb2 import Quota, UsageEntry, UsageSum

from . import aio, tracing
from ._core.errors import (
    BadArchive,
    BadConnection,
    BadHandler,
    BadSource,
    ConnectionLost,
    DigestMismatch,
    FieldViolation,
    ImageRefused,
    InvalidRequest,
    LongshoreError,
    NeverFits,
    NotEnforced,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    QuotaViolation,
    RateLimited,
    RemoteError,
    RequestIdReused,
    ServerFault,
    SourceProblem,
    TaskFailed,
    TemporaryError,
    Unauthenticated,
    Unavailable,
    UnsafeArtifactPath,
    UploadInProgress,
    WrongOffset,
    WrongState,
)
from ._core.events import GapEvent, HeartbeatEvent, LogEvent, TaskChanged, TaskEvent
from ._core.names import level_name, limit_name, reason_name, stage_name, state_name
from ._core.options import (
    ArtifactInput,
    ArtifactSource,
    BlobInput,
    FileInput,
    Progress,
    RerunOptions,
    ResourceOptions,
    StartOptions,
    SubmitOptions,
    TaskOptions,
)
from ._core.outcome import TaskOutcome, is_terminal, outcome_of
from ._core.usage import Money, UsageReport, money_of
from ._sync.artifacts import Artifacts
from ._sync.blobs import Blobs
from ._sync.client import Client
from ._sync.remote import Call
from ._sync.remote_function import RemoteFunction, remote, start
from ._sync.task import Task

__version__ = "0.1.0"

__all__ = [
    "Artifact",
    "ArtifactInput",
    "ArtifactSource",
    "Artifacts",
    "BadArchive",
    "BadConnection",
    "BadHandler",
    "BadSource",
    "Blob",
    "BlobInput",
    "Blobs",
    "Call",
    "Capabilities",
    "Capacity",
    "Client",
    "ConnectionLost",
    "DigestMismatch",
    "EffectiveResources",
    "Estimate",
    "FieldViolation",
    "FileInput",
    "GapEvent",
    "HeartbeatEvent",
    "ImageRefused",
    "InvalidRequest",
    "LogEvent",
    "LongshoreError",
    "Money",
    "NeverFits",
    "NotEnforced",
    "NotFound",
    "PermissionDenied",
    "Progress",
    "Quota",
    "QuotaExceeded",
    "QuotaViolation",
    "RateLimited",
    "RemoteError",
    "RemoteFunction",
    "RequestIdReused",
    "RerunOptions",
    "ResourceOptions",
    "ServerFault",
    "SourceProblem",
    "Stage",
    "StartOptions",
    "SubmitOptions",
    "Task",
    "TaskChanged",
    "TaskEvent",
    "TaskFailed",
    "TaskOptions",
    "TaskOutcome",
    "TaskRecord",
    "TaskResult",
    "TemporaryError",
    "Unauthenticated",
    "Unavailable",
    "UnsafeArtifactPath",
    "UploadInProgress",
    "Usage",
    "UsageEntry",
    "UsageReport",
    "UsageSum",
    "WrongOffset",
    "WrongState",
    "aio",
    "is_terminal",
    "level_name",
    "limit_name",
    "money_of",
    "outcome_of",
    "reason_name",
    "remote",
    "stage_name",
    "start",
    "state_name",
    "tracing",
]
