"""Where artifacts may be written: their names come from code that nobody trusts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from .errors import UnsafeArtifactPath


def is_safe_path(path: str) -> bool:
    """Only what means the same place on every system: no root, no way up, no drive, no device, no byte that ends a name early."""
    if path == "" or path.startswith("/") or "\0" in path:
        return False
    if os.name == "nt" and re.search(r"[\\:]", path):
        return False
    return all(part not in ("", ".", "..") for part in path.split("/"))


def prepare_folder(folder: str, paths: Iterable[str]) -> str:
    """Makes the folder and answers its real path; makes nothing when one of the paths would lie outside."""
    unsafe = [path for path in paths if not is_safe_path(path)]
    if unsafe:
        raise UnsafeArtifactPath(unsafe, "not a plain path below the folder")
    os.makedirs(folder, exist_ok=True)
    return os.path.realpath(folder)


def make_place(root: str, path: str) -> str:
    """Makes the folders above a file one by one: a link that lies there may lead anywhere."""
    *folders, name = path.split("/")
    folder = root
    for part in folders:
        folder = os.path.join(folder, part)
        try:
            os.mkdir(folder)
        except FileExistsError:
            target = os.path.realpath(folder)
            if os.path.islink(folder) and not target.startswith(root.rstrip(os.sep) + os.sep):
                raise UnsafeArtifactPath([path], f"{folder} is a link out of the folder, to {target}") from None
    return os.path.join(folder, name)
