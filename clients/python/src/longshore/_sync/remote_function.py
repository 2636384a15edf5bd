# Made of ../_async/remote_function.py by scripts/generate; never edited.
"""Functions that can be run in a sandbox."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

from typing_extensions import Unpack

from .._core.handler import Handler
from .._core.options import PathLike, StartOptions
from .client import Client
from .remote import Call

P = ParamSpec("P")
R = TypeVar("R")


def start(
    handler: Handler,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    client: Client | None = None,
    project: PathLike | None = None,
    **options: Unpack[StartOptions],
) -> Call:
    """Runs a function in a sandbox: Client.start, on the server that LONGSHORE_SERVER names where no client is given."""
    return (client or Client()).start(handler, args, kwargs, project=project, **options)


class RemoteFunction(Generic[P, R]):
    """A function that is called here as ever, and in a sandbox by `start`."""

    def __init__(
        self, function: Callable[P, R], client: Client | None, project: PathLike | None, options: StartOptions
    ) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._client = client
        self._project = project
        self._options = options

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._function(*args, **kwargs)

    def start(self, *args: P.args, **kwargs: P.kwargs) -> Call:
        """Runs the function with these arguments in a sandbox; see Client.start."""
        return start(self._function, args, kwargs, client=self._client, project=self._project, **self._options)


def remote(
    *, client: Client | None = None, project: PathLike | None = None, **options: Unpack[StartOptions]
) -> Callable[[Callable[P, R]], RemoteFunction[P, R]]:
    """Decorator: `@remote(cpu=2, ram="1GB")` gives a function a `start` that runs it in a sandbox with these options."""
    return lambda function: RemoteFunction(function, client, project, options)
