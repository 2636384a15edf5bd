"""The client for asyncio: the names of `longshore`, awaited.

async with longshore.aio.Client("localhost:50051") as client:
    task = await client.submit("train/", cpu=2)
    async for line in task.logs():
        print(line, end="")
"""

from .._async.access import Access
from .._async.artifacts import Artifacts
from .._async.blobs import Blobs
from .._async.client import Client
from .._async.remote import Call
from .._async.remote_function import RemoteFunction, remote, start
from .._async.task import Task
from .._async.webhooks import Webhooks

__all__ = [
    "Access",
    "Artifacts",
    "Blobs",
    "Call",
    "Client",
    "RemoteFunction",
    "Task",
    "Webhooks",
    "remote",
    "start",
]
