"""Prints everything that the package offers, as JSON: its names, their members, and the parameters of what can be called.

test/integration/client-parity.test.ts compares it with the client in TypeScript.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.message import Message
from typing_extensions import get_type_hints, is_typeddict


def parameters_of(function: Callable[..., Any]) -> list[str]:
    """Names of the parameters; a bag of keyword arguments counts as everything in it."""
    names = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            (options,) = typing.get_args(get_type_hints(function, include_extras=True)[name]) or (dict,)
            names += list(get_type_hints(options)) if is_typeddict(options) else [f"**{name}"]
        elif name != "self":
            names.append(name)
    return names


def set_by_init(of: type) -> Iterator[str]:
    """Attributes that the class's __init__ sets, which no class tells of by itself."""
    for base in of.__mro__:
        if base.__module__.partition(".")[0] != "longshore" or "__init__" not in vars(base):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(vars(base)["__init__"])))
        except OSError:
            continue  # made by dataclass; its fields are annotations
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name):
                yield node.attr


def members_of(of: type) -> dict[str, list[str] | None]:
    if is_typeddict(of):
        return dict.fromkeys(get_type_hints(of))
    found: dict[str, list[str] | None] = dict.fromkeys([*set_by_init(of), *get_type_hints(of)])
    for base in reversed(of.__mro__):
        if base.__module__.partition(".")[0] == "longshore":
            for name, value in vars(base).items():
                found[name] = parameters_of(value) if isinstance(value, types.FunctionType) else None
    return {name: value for name, value in found.items() if not name.startswith("_")}


def offered(value: Any) -> dict[str, Any]:
    if isinstance(value, type) and issubclass(value, Message):
        return {}
    if isinstance(value, types.UnionType):
        return {
            "members": {name: called for each in typing.get_args(value) for name, called in members_of(each).items()}
        }
    if is_typeddict(value):
        return {"members": members_of(value)}
    if isinstance(value, type):
        made_by = next(vars(base)["__init__"] for base in value.__mro__ if "__init__" in vars(base))
        return {"parameters": parameters_of(made_by), "members": members_of(value)}
    return {"parameters": parameters_of(value)} if isinstance(value, types.FunctionType) else {}


def main(name: str) -> None:
    package = importlib.import_module(name)
    public = ((name, getattr(package, name)) for name in package.__all__)
    print(json.dumps({name: offered(value) for name, value in public if not isinstance(value, types.ModuleType)}))


if __name__ == "__main__":
    main(sys.argv[1])
