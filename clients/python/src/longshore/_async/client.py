"""A connection to a Longshore server."""

from __future__ import annotations

import datetime
import functools
import os
from collections.abc import AsyncGenerator, AsyncIterable, Mapping, Sequence
from types import TracebackType
from typing import Any, cast

import grpc
from typing_extensions import Self, Unpack

from longshore.v1 import (
    system_service_pb2,
    task_pb2,
    task_service_pb2,
    usage_service_pb2,
)

from .._core.connection import MetadataSource, Security, TokenSource, connect, default_address
from .._core.errors import InvalidRequest
from .._core.handler import Handler, call_options, pack_call, read_handler
from .._core.options import (
    BlobFormatName,
    BlobInput,
    FileInput,
    PathLike,
    StartOptions,
    StateName,
    SubmitOptions,
    SubmitStreamOptions,
    TaskOptions,
    ViewName,
)
from .._core.source import OpenProgram, open_program
from .._core.spec import request_of
from .._core.task_config import MODEL_PARAMS_PATH, goes_along, read_task_config, source_of
from .._core.task_query import list_request, under_way_request
from .._core.tasks_under_way import TasksUnderWay
from .._core.terminal import show_output
from .._core.usage import UsageReport
from .access import Access
from .blobs import Blobs
from .channel import Channel
from .pictures import ReconnectCallback, follow_pictures
from .remote import Call
from .runtime import aclosing, in_thread
from .submit import submit, submit_stream
from .task import EventCallback, Task
from .usage import list_usage, read_usage
from .watch import RECONNECT
from .webhooks import Webhooks


class Client:
    """A connection to a Longshore server, closed by `async with` or `close`. Tasks go on without it.

    `address` is host:port, by default LONGSHORE_SERVER or 127.0.0.1:50051. `token` (or a
    function, asked anew for each call) or `token_file` shows the server who calls. `tls=True` encrypts, `tls_ca` names a PEM file of
    authorities to trust, `tls_cert` and `tls_key` those of an own certificate; `credentials` are gRPC's own in place of these.
    Each is taken from LONGSHORE_TOKEN, LONGSHORE_TOKEN_FILE, LONGSHORE_TLS, LONGSHORE_TLS_CA, LONGSHORE_TLS_CLIENT_CERT and
    LONGSHORE_TLS_CLIENT_KEY when left out. A token goes to another machine without TLS only with `allow_insecure`. `metadata` is sent with every call; a function is asked anew each time. `channel_options` are gRPC's. `call_timeout` is the longest that a single question may take, in seconds;
    streams have no limit. `progress=False` shows no bar while uploading.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        token: TokenSource | None = None,
        token_file: PathLike | None = None,
        tls: bool | None = None,
        tls_ca: PathLike | None = None,
        tls_cert: PathLike | None = None,
        tls_key: PathLike | None = None,
        allow_insecure: bool | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: MetadataSource | None = None,
        channel_options: Sequence[tuple[str, int | str]] = (),
        call_timeout: float = 60.0,
        progress: bool = True,
    ) -> None:
        self.address = address or default_address()
        security = Security(token, token_file, tls, tls_ca, tls_cert, tls_key, allow_insecure)
        connection = connect(self.address, credentials, security, metadata, channel_options, call_timeout)
        self._channel = Channel(connection)
        self._progress = progress
        self.blobs = Blobs(self._channel, progress)
        self.access = Access(self._channel)
        self.webhooks = Webhooks(self._channel)

    def __repr__(self) -> str:
        return f"<longshore.Client {self.address}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends every call under way and lets go of the connection. Tasks go on."""
        await self._channel.close()

    async def submit(
        self,
        source: PathLike | None = None,
        *,
        code: str | None = None,
        archive_sha256: str | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Task:
        """Uploads what is not there yet, creates the task and returns at once.

        `source` is always a path: of a Python file, of a folder (packed here, without what .longshoreignore names), or of
        an archive (.zip, .tar, .tar.gz, .tgz). Source code is given as `code`, a project that the server has as
        `archive_sha256`; `command` alone needs none of them. Sizes are texts with a unit ("512MB", "1GB"), times are
        texts ("90s", "10m") or seconds; see longshore.TaskOptions for all options.

        Raises BadSource, InvalidRequest (naming every wrong option), BadArchive, NeverFits, NotEnforced, QuotaExceeded,
        RequestIdReused or Unavailable.
        """
        opening = functools.partial(open_program, source, code, archive_sha256)
        return await self._submit(opening, options)

    async def submit_config(
        self,
        config: PathLike,
        source: PathLike | None = None,
        *,
        datasets: Mapping[str, str] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Task:
        """Submits what a configuration file describes and returns at once.

        The file is JSON with dataset_name, model_params, runner_location, model_tracking, tracking_uri, experiment_name,
        script_path and clusters. The dataset NAME.csv beside the file (or a name of `datasets`, by default those of
        LONGSHORE_DATASETS: NAME=FILE or NAME=sha256:DIGEST) and model_params.json are placed beside the script; the
        cluster's infra_config becomes placement and image, and the script finds MODEL_PARAMS, DATASET_PATH and MLflow's
        variables set. `source` is the script or its folder, by default script_path below the file's folder. Options go
        before what the file says.

        Raises InvalidRequest with everything that is wrong with the file, and what `submit` raises.
        """
        read = await in_thread(read_task_config, config, datasets)
        program = source_of(read, config, source)
        params = await self.blobs.upload(read.model_params)
        inputs: list[BlobInput | FileInput] = [BlobInput(MODEL_PARAMS_PATH, params.sha256)]
        if read.dataset is not None and not goes_along(read.dataset, program):
            path, file, sha256 = read.dataset.path, read.dataset.file, read.dataset.sha256
            inputs.append(FileInput(path, file) if file else BlobInput(path, sha256))
        merged = read.merged(options, inputs)
        if read.script is not None and os.path.isdir(program):
            merged.setdefault("entrypoint", read.script)
        try:
            return await self._submit(
                functools.partial(open_program, program, None, None), cast("SubmitOptions", merged)
            )
        except InvalidRequest as error:
            raise read.in_own_words(error) from error

    async def run(
        self,
        source: PathLike | None = None,
        *,
        code: str | None = None,
        archive_sha256: str | None = None,
        check: bool = True,
        on_event: EventCallback | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Task:
        """Submits, passes the output on to this process's own as it comes, and answers the task when it has ended.

        `on_event` is told everything instead. Ctrl-C ends the waiting, not the task. Raises TaskFailed unless the task succeeds or `check` is false, and what
        `submit` raises. `task.outcome` tells how it ended.
        """
        task = await self.submit(source, code=code, archive_sha256=archive_sha256, **options)
        await task.result(check=check, on_event=on_event or show_output)
        return task

    async def submit_stream(
        self,
        archive: AsyncIterable[bytes],
        *,
        format: BlobFormatName | None = None,
        **options: Unpack[SubmitStreamOptions],
    ) -> Task:
        """Sends an archive as it is made and creates its task in the same call, for bytes that cannot be read twice.

        Such an upload cannot be resumed: `submit` is the better way for anything that lies on disk. `format` is told by
        the first bytes when left out.
        """
        record = await submit_stream(self._channel, archive, format, options)
        return Task(self._channel, record.id, record)

    async def start(
        self,
        handler: Handler,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        project: PathLike | None = None,
        **options: Unpack[StartOptions],
    ) -> Call:
        """Runs a function of a module in a sandbox and returns at once; `.result()` of the answer is what it returned.

        The project folder is packed: the folder from which the function's module is imported, or `project`. `handler` is
        the function itself or its name as "module:function". Arguments and result are JSON: None, bool, numbers, text,
        lists and dicts with text as keys; tuples arrive as lists, NumPy values as their `tolist()`. Nothing is unpickled:
        code in a sandbox is not trusted here. Larger data belongs into files: `outputs` of the task, or the project.

        Raises BadHandler when the function or its arguments cannot be sent, and what `submit` raises.
        """
        found = read_handler(handler, project)
        opening = functools.partial(pack_call, found)
        return Call(await self._submit(opening, call_options(found, args, kwargs or {}, options)), found.name)

    def task(self, task_id: str) -> Task:
        """A handle of a task by its id; asks nothing of the server."""
        return Task(self._channel, task_id)

    async def list(
        self,
        *,
        states: Sequence[StateName] = (),
        reasons: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        owner: str = "",
        view: ViewName = "basic",
        page_size: int = 0,
    ) -> AsyncGenerator[task_pb2.Task, None]:
        """Records of tasks, newest first, page after page for as long as the loop reads on; all conditions must hold.

        Any of `states`; ended for any of `reasons`, such as "TIMED_OUT" (as `reason_name` has them); all of `labels`. The
        view "basic" leaves out the code, stdin and the tails of the output. Raises InvalidRequest.
        """
        request = list_request(
            {
                "states": states,
                "reasons": reasons,
                "labels": labels,
                "created_after": created_after,
                "created_before": created_before,
                "owner": owner,
                "view": view,
                "page_size": page_size,
            }
        )
        async for page in self._channel.pages(self._channel.tasks.ListTasks, request):
            for record in page.tasks:
                yield record

    async def capabilities(self) -> system_service_pb2.GetCapabilitiesResponse:
        """Engines, limits and how well each is held, defaults and sizes."""
        request = system_service_pb2.GetCapabilitiesRequest()
        return await self._channel.unary(self._channel.system.GetCapabilities, request, retry=True)

    async def capacity(self, engine: str = "") -> system_service_pb2.Capacity:
        """What is held and free now, on the default engine or the one named. Raises NotFound."""
        request = system_service_pb2.GetCapacityRequest(engine=engine)
        answer = await self._channel.unary(self._channel.system.GetCapacity, request, retry=True)
        return answer.capacity

    async def watch_capacity(
        self, engine: str = "", *, on_reconnect: ReconnectCallback | None = None, reconnect_for: float = RECONNECT
    ) -> AsyncGenerator[system_service_pb2.Capacity, None]:
        """The same at once and at every change, at most twice a second, until the loop is left.

        A lost connection is waited out, for `reconnect_for` seconds; `on_reconnect` is told each time. Raises NotFound.
        """
        request = system_service_pb2.WatchCapacityRequest(engine=engine)
        method, response = self._channel.system.WatchCapacity, system_service_pb2.WatchCapacityResponse
        pictures = follow_pictures(self._channel, method, request, response, on_reconnect, reconnect_for)
        async with aclosing(pictures):
            async for picture in pictures:
                yield picture.capacity

    async def watch_tasks(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        max_tasks: int = 0,
        on_reconnect: ReconnectCallback | None = None,
        reconnect_for: float = RECONNECT,
    ) -> AsyncGenerator[TasksUnderWay, None]:
        """Your tasks that have not ended, all of them at once and again at every change, until the loop is left.

        At most twice a second. All of `labels`; at most `max_tasks` in each picture, 50 by default and 200 at most. A lost
        connection is waited out, for `reconnect_for` seconds; `on_reconnect` is told each time.
        """
        request = under_way_request(labels, max_tasks)
        method, response = self._channel.tasks.WatchTasks, task_service_pb2.WatchTasksResponse
        pictures = follow_pictures(self._channel, method, request, response, on_reconnect, reconnect_for)
        async with aclosing(pictures):
            async for picture in pictures:
                yield TasksUnderWay(picture.tasks, picture.total_count)

    async def reconcile_report(self) -> system_service_pb2.ReconcileReport:
        """What the server found of an earlier one when it started, and what it tidied up since."""
        request = system_service_pb2.GetReconcileReportRequest()
        answer = await self._channel.unary(self._channel.system.GetReconcileReport, request, retry=True)
        return answer.report

    async def usage(
        self,
        by: str | None = None,
        *,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
        owner: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> UsageReport:
        """What was used and what it cost: a total, and sums by "day", "task", "owner" or "label:KEY".

        Attempts count when they end, from `since` (by default the start of this month in UTC) to before `until`. The
        ledger behind the sums is exact and stays when tasks are deleted. Raises InvalidRequest.
        """
        options = {"since": since, "until": until, "owner": owner, "labels": labels}
        return await read_usage(self._channel, by, options)

    def usage_entries(
        self,
        *,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
        owner: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[usage_service_pb2.UsageEntry, None]:
        """The rows that `usage` adds up, one for each attempt, latest end first."""
        options = {"since": since, "until": until, "owner": owner, "labels": labels}
        return list_usage(self._channel, options)

    async def quota(self) -> Sequence[usage_service_pb2.Quota]:
        """What your tenant may have, and how much of it is used; empty where nothing is limited."""
        request = usage_service_pb2.GetQuotaRequest()
        answer = await self._channel.unary(self._channel.usage.GetQuota, request, retry=True)
        return answer.quotas

    async def estimate(
        self, *, code: str = "", archive_sha256: str = "", **options: Unpack[TaskOptions]
    ) -> usage_service_pb2.EstimateCostResponse:
        """What a task with these options would hold and cost at most; nothing is uploaded or created.

        `longshore.money_of(answer.most)` is the amount; the field is not set where nothing has a price. Raises
        InvalidRequest, NeverFits and NotEnforced, as `submit` would.
        """
        task = request_of(options)
        task.code, task.archive_sha256 = code, archive_sha256
        request = usage_service_pb2.EstimateCostRequest(task=task)
        return await self._channel.unary(self._channel.usage.EstimateCost, request, retry=True)

    async def _submit(self, opening: OpenProgram, options: SubmitOptions) -> Task:
        record = await submit(self._channel, opening, options, self._progress)
        return Task(self._channel, record.id, record)
