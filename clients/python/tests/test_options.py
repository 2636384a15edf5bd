"""Options as requests, and all that is wrong with them."""

from __future__ import annotations

import datetime
import traceback
from types import SimpleNamespace
from typing import Any, get_args

import pytest

import longshore
from longshore import ArtifactInput, BlobInput, InvalidRequest
from longshore._core.duration import parse_millis
from longshore._core.spec import request_of, rerun_of
from longshore.v1 import resources_pb2, task_pb2, task_service_pb2, webhook_service_pb2


def test_everything_that_can_be_asked_arrives() -> None:
    request = request_of(
        {
            "cpu": 0.5,
            "gpu": 1,
            "gpu_model": "H200",
            "ram": "1GB",
            "storage": "2GB",
            "timeout": "1h30m",
            "queue_timeout": 5,
            "total_timeout": datetime.timedelta(minutes=2),
            "entrypoint": "a:b",
            "args": ("x",),
            "command": ["sh"],
            "env": {"A": "1"},
            "secret_env": {"B": "2"},
            "stdin": "ä",
            "working_directory": "sub",
            "image": "i",
            "requirements": ["numpy", "pandas==2"],
            "preload": ["numpy"],
            "outputs": ["*.bin"],
            "inputs": [BlobInput("d.csv", "0" * 64), ArtifactInput("m", "01J", "out/m")],
            "network": "egress",
            "isolation": "gvisor",
            "require_enforced": ["ram", "run_time"],
            "placement": {"engine": "e", "instance_type": "t"},
            "priority": -3,
            "expected_duration": "500ms",
            "depends_on": ["01J", SimpleNamespace(id="01K")],
            "max_attempts": 2,
            "cache": True,
            "max_processes": 10,
            "max_log_bytes": 2**40,
            "name": "n",
            "labels": {"k": "v"},
            "webhooks": ["https://example.com", {"url": "https://example.com/failed", "states": ["failed"]}],
            "retention": "2d",
            "request_id": "r",
            "experiment": {"tracking_uri": "u", "name": "x"},
        }
    )
    unset = {"code", "archive_sha256"}
    assert {field.name for field in task_pb2.CreateTaskRequest.DESCRIPTOR.fields} - unset == {
        field.name for field, _ in request.ListFields()
    }
    assert (request.resources.cpu, request.resources.gpu) == ("0.5", "1")
    assert [span.ToMilliseconds() for span in (request.timeout, request.queue_timeout, request.total_timeout)] == [
        5_400_000,
        5_000,
        120_000,
    ]
    assert request.environment.requirements == "numpy\npandas==2"
    assert request.inputs[1].artifact.path == "out/m"
    assert list(request.depends_on) == ["01J", "01K"]
    assert request.budgets.max_log_bytes == 2**40
    assert request.stdin == "ä".encode()


def test_no_requirements_is_told_from_none_given() -> None:
    assert not request_of({}).HasField("environment")
    assert request_of({"requirements": []}).environment.requirements == ""
    assert request_of({"preload": ["numpy"]}).environment.requirements == ""
    assert request_of({"requirements": "", "preload": ["numpy"]}).environment.requirements == "# none"


def test_what_is_left_out_is_absent_and_request_ids_differ() -> None:
    request = request_of({})
    assert {field.name for field, _ in request.ListFields()} == {"task_type", "request_id"}
    assert request.request_id != request_of({}).request_id
    assert rerun_of("01J", {})["resources"] is None


def test_all_wrong_options_are_named_at_once() -> None:
    wrong: dict[str, Any] = {
        "timeout": "10",
        "retention": float("nan"),
        "args": "--epochs 3",
        "command": [1],
        "env": {"A": 1},
        "secret_env": {"PASSWORD": b"hunter2"},
        "network": "internet",
        "require_enforced": ["gravity"],
        "inputs": [7],
        "priority": "high",
        "max_inodes": -(2**70),
        "entrypoint": 3,
        "placement": {"planet": "mars"},
        "experiment": "wine",
        "webhooks": [{"url": "https://hooks.invalid", "states": "failed"}],
    }
    with pytest.raises(InvalidRequest) as refused:
        request_of(wrong)
    named = {violation.field: violation.description for violation in refused.value.violations}
    assert set(named) == {
        *("timeout", "retention", "args", "command", "env.A", "secret_env.PASSWORD", "network", "require_enforced"),
        *("inputs[0]", "priority", "budgets.max_inodes", "entrypoint", "placement.planet"),
        *("experiment", "webhooks.states"),
    }
    assert "such as 30s" in named["timeout"]
    assert named["network"] == '"internet" is not one of none, egress, tracking'
    assert named["placement.planet"] == "is none of engine, account, partition, instance_type"
    assert named["webhooks.states"] == 'must be a list, such as ["failed"]'
    assert "hunter2" not in str(refused.value)
    assert isinstance(refused.value, ValueError)


def test_an_unknown_option_names_the_one_that_was_meant() -> None:
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'time_out'; did you mean 'timeout'"):
        request_of({"time_out": 3})
    with pytest.raises(TypeError, match="unexpected keyword argument 'memory'"):
        rerun_of("01J", {"memory": "1GB"})  # type: ignore[typeddict-unknown-key]


@pytest.mark.parametrize(
    "text", ["", "10", "-3s", "1h 30m", "s", "1.2345s", "9999999999s", "1w", "٣s", None, True, float("inf")]
)
def test_no_time(text: object) -> None:
    assert parse_millis(text) is None


@pytest.mark.parametrize(
    ("names", "enum", "prefix"),
    [
        (longshore.LimitName, resources_pb2.Limit, "LIMIT_"),
        (longshore.StateName, task_pb2.Task.State, "STATE_"),
        (longshore.NetworkName, task_pb2.Network, "NETWORK_"),
        (longshore.IsolationName, task_pb2.Isolation, "ISOLATION_"),
        (longshore.LogStream, task_service_pb2.LogChunk.Stream, "STREAM_"),
        (longshore.DeliveryStateName, webhook_service_pb2.Delivery.State, "STATE_"),
    ],
)
def test_names_are_those_of_the_api(names: Any, enum: Any, prefix: str) -> None:
    known = [name.removeprefix(prefix).lower() for name in dict(enum.items())]
    assert list(get_args(names)) == [name for name in known if name != "unspecified"]


def test_errors_are_called_as_a_program_catches_them() -> None:
    assert longshore.TaskFailed.__module__ == "longshore"
    with pytest.raises(InvalidRequest) as refused:
        request_of({"timeout": "soon"})
    assert traceback.format_exception_only(refused.value)[0].startswith("longshore.InvalidRequest: 1 problem")


def test_violations_are_told_without_a_server() -> None:
    assert longshore.find_violations(cpu=1, timeout="1m") == ()
    violations = longshore.find_violations(timeout="soon", network="moon")  # type: ignore[arg-type]
    assert [violation.field for violation in violations] == ["timeout", "network"]
