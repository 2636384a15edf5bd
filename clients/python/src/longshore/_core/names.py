"""Values of the API's enums as people read them; a value of a newer server reads as its number."""

from __future__ import annotations

from typing import Any

from longshore.v1 import resources_pb2, system_service_pb2, task_pb2, task_service_pb2, webhook_service_pb2


def _name(enum: Any, value: int, prefix: str) -> str:
    try:
        return str(enum.Name(value)).removeprefix(prefix)
    except ValueError:
        return str(value)


def state_name(state: int) -> str:
    """Where a task stands: "queued", "preparing", "running", "collecting", "cancelling", "succeeded", "failed" or "cancelled"."""
    return _name(task_pb2.Task.State, state, "STATE_").lower()


def reason_name(reason: int) -> str:
    """As in longshore.v1.TaskResult.Reason, such as "EXITED" or "OUT_OF_MEMORY"."""
    return _name(task_pb2.TaskResult.Reason, reason, "REASON_")


def stage_name(name: int) -> str:
    """ "queue", "sandbox", "run" and so on."""
    return _name(task_pb2.Stage.Name, name, "NAME_").lower()


def limit_name(limit: int) -> str:
    """ "cpu", "ram", "run_time" and so on."""
    return _name(resources_pb2.Limit, limit, "LIMIT_").lower()


def level_name(level: int) -> str:
    """ "enforced", "advisory" or "unsupported"."""
    return _name(system_service_pb2.LimitSupport.Level, level, "LEVEL_").lower()


def stream_name(stream: int) -> str:
    """ "stdout", "stderr" or "build"."""
    return _name(task_service_pb2.LogChunk.Stream, stream, "STREAM_").lower()


def isolation_name(isolation: int) -> str:
    """ "container" or "gvisor"."""
    return _name(task_pb2.Isolation, isolation, "ISOLATION_").lower()


def network_name(network: int) -> str:
    """ "none", "egress" or "tracking"."""
    return _name(task_pb2.Network, network, "NETWORK_").lower()


def delivery_state_name(state: int) -> str:
    """ "pending", "delivered" or "failed"."""
    return _name(webhook_service_pb2.Delivery.State, state, "STATE_").lower()
