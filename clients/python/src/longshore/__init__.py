"""Client of Longshore, which runs other people's code: submit it, watch it live, fetch what it leaves behind.

    with longshore.Client("localhost:50051") as client:
        task = client.run("train/", cpu=2, ram="1GB", timeout="10m", outputs=["model/*"])
        task.artifacts.download_all("out/")

`longshore.aio` has the same names for asyncio.
"""

from longshore.v1.access_service_pb2 import AuditEvent
from longshore.v1.access_service_pb2 import GetCallerResponse as CallerRecord
from longshore.v1.access_service_pb2 import Token as TokenRecord
from longshore.v1.blob_service_pb2 import Blob
from longshore.v1.blob_service_pb2 import CreateDownloadUrlResponse as DownloadUrl
from longshore.v1.blob_service_pb2 import CreateUploadUrlResponse as UploadUrl
from longshore.v1.resources_pb2 import EffectiveResources
from longshore.v1.system_service_pb2 import Capacity, Engine, LimitSupport, ReconcileReport
from longshore.v1.system_service_pb2 import GetCapabilitiesResponse as Capabilities
from longshore.v1.task_pb2 import Artifact, Stage, TaskResult, Usage, Wait
from longshore.v1.task_pb2 import Task as TaskRecord
from longshore.v1.usage_service_pb2 import EstimateCostResponse as Estimate
from longshore.v1.usage_service_pb2 import Quota, UsageEntry, UsageSum
from longshore.v1.webhook_service_pb2 import Delivery as DeliveryRecord
from longshore.v1.webhook_service_pb2 import WebhookEndpoint as WebhookRecord

from . import aio, tracing
from ._core.access import CreatedToken
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
from ._core.names import (
    delivery_state_name,
    isolation_name,
    level_name,
    limit_name,
    network_name,
    reason_name,
    stage_name,
    state_name,
)
from ._core.options import (
    ArtifactInput,
    ArtifactSource,
    BlobFormatName,
    BlobInput,
    DeliveryStateName,
    FileInput,
    IsolationName,
    LimitName,
    LogStream,
    NetworkName,
    Progress,
    RerunOptions,
    ResourceOptions,
    StartOptions,
    StateName,
    SubmitOptions,
    SubmitStreamOptions,
    TaskOptions,
    UploadOptions,
)
from ._core.outcome import TaskOutcome, is_terminal, outcome_of
from ._core.spec import find_violations
from ._core.tasks_under_way import TasksUnderWay
from ._core.usage import Money, UsageReport, money_of
from ._core.webhooks import CreatedWebhook, RotatedSecret
from ._sync.access import Access
from ._sync.artifacts import Artifacts
from ._sync.blobs import Blobs
from ._sync.client import Client
from ._sync.remote import Call
from ._sync.remote_function import RemoteFunction, remote, start
from ._sync.task import Task
from ._sync.webhooks import Webhooks

__version__ = "0.1.0"

for _each in list(vars().values()):
    if isinstance(_each, type) and issubclass(_each, LongshoreError):
        # Tracebacks show the name that a program catches.
        _each.__module__ = __name__
del _each

__all__ = [
    "Access",
    "Artifact",
    "ArtifactInput",
    "ArtifactSource",
    "Artifacts",
    "AuditEvent",
    "BadArchive",
    "BadConnection",
    "BadHandler",
    "BadSource",
    "Blob",
    "BlobFormatName",
    "BlobInput",
    "Blobs",
    "Call",
    "CallerRecord",
    "Capabilities",
    "Capacity",
    "Client",
    "ConnectionLost",
    "CreatedToken",
    "CreatedWebhook",
    "DeliveryRecord",
    "DeliveryStateName",
    "DigestMismatch",
    "DownloadUrl",
    "EffectiveResources",
    "Engine",
    "Estimate",
    "FieldViolation",
    "FileInput",
    "GapEvent",
    "HeartbeatEvent",
    "ImageRefused",
    "InvalidRequest",
    "IsolationName",
    "LimitName",
    "LimitSupport",
    "LogEvent",
    "LogStream",
    "LongshoreError",
    "Money",
    "NetworkName",
    "NeverFits",
    "NotEnforced",
    "NotFound",
    "PermissionDenied",
    "Progress",
    "Quota",
    "QuotaExceeded",
    "QuotaViolation",
    "RateLimited",
    "ReconcileReport",
    "RemoteError",
    "RemoteFunction",
    "RequestIdReused",
    "RerunOptions",
    "ResourceOptions",
    "RotatedSecret",
    "ServerFault",
    "SourceProblem",
    "Stage",
    "StartOptions",
    "StateName",
    "SubmitOptions",
    "SubmitStreamOptions",
    "Task",
    "TaskChanged",
    "TaskEvent",
    "TaskFailed",
    "TaskOptions",
    "TaskOutcome",
    "TaskRecord",
    "TaskResult",
    "TasksUnderWay",
    "TemporaryError",
    "TokenRecord",
    "Unauthenticated",
    "Unavailable",
    "UnsafeArtifactPath",
    "UploadInProgress",
    "UploadOptions",
    "UploadUrl",
    "Usage",
    "UsageEntry",
    "UsageReport",
    "UsageSum",
    "Wait",
    "WebhookRecord",
    "Webhooks",
    "WrongOffset",
    "WrongState",
    "aio",
    "delivery_state_name",
    "find_violations",
    "is_terminal",
    "isolation_name",
    "level_name",
    "limit_name",
    "money_of",
    "network_name",
    "outcome_of",
    "reason_name",
    "remote",
    "stage_name",
    "start",
    "state_name",
    "tracing",
]
