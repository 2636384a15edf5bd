"""Which files of a folder are packed."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass

from .errors import BadSource, SourceProblem
from .ignore_rules import read_ignore_rules

# Links among folders can multiply what they show; a folder with more than this is not a project.
MOST_ENTRIES = 1_000_000


@dataclass(frozen=True)
class WalkedEntry:
    """A file or folder to pack: its path there, with "/" between its parts, and where its bytes are, links resolved."""

    path: str
    file: str
    is_folder: bool
    executable: bool


def walk_folder(folder: str) -> list[WalkedEntry]:
    """Finds what to pack, in an order that depends on names alone. Raises BadSource that names all that cannot be packed."""
    walk = _Walk(folder, os.path.realpath(folder))
    walk.enter("", walk.root, ())
    return walk.finish()


class _Walk:
    def __init__(self, name: str, root: str) -> None:
        self.root = root
        self._name = name
        self._rules = read_ignore_rules(root)
        self._entries: list[WalkedEntry] = []
        self._problems: list[SourceProblem] = []

    def finish(self) -> list[WalkedEntry]:
        if self._problems:
            raise BadSource(self._name, sorted(self._problems, key=lambda found: found.path))
        if all(entry.is_folder for entry in self._entries):
            raise BadSource(self._name, [SourceProblem(".", "there is no file to pack")])
        return sorted(self._entries, key=lambda entry: entry.path.encode())

    def enter(self, path: str, folder: str, above: tuple[str, ...]) -> None:
        try:
            children = list(os.scandir(folder))
        except OSError as error:
            return self._refuse(path or ".", f"cannot be read: {error.strerror}")
        for child in children:
            inner = f"{path}/{child.name}" if path else child.name
            if len(self._entries) >= MOST_ENTRIES:
                raise BadSource(self._name, [SourceProblem(inner, f"there are more than {MOST_ENTRIES} files")])
            self._visit(child, inner, (*above, folder))

    def _visit(self, child: os.DirEntry[str], path: str, above: tuple[str, ...]) -> None:
        is_link = child.is_symlink()
        is_folder = child.is_dir(follow_symlinks=False)
        if self._rules.leaves_out(path, is_folder and not is_link):
            return
        if not _is_utf8(child.name):
            shown = path.encode(errors="surrogateescape").decode(errors="replace")
            return self._refuse(shown, "its name is not valid UTF-8")
        if is_link:
            return self._follow(child.path, path, above)
        if is_folder:
            return self._folder(path, child.path, above)
        if child.is_file(follow_symlinks=False):
            return self._file(path, child.path, child.stat(follow_symlinks=False))
        self._refuse(
            path,
            "is neither a file nor a folder (a pipe, socket or device); remove it or list it in .longshoreignore",
        )

    def _follow(self, link: str, path: str, above: tuple[str, ...]) -> None:
        """A link within the folder is packed as what it points to; one that leads out would send what nobody meant to send."""
        try:
            target = os.path.realpath(link, strict=True)
            found = os.stat(target)
        except OSError as error:
            loops = error.errno == errno.ELOOP
            return self._refuse(path, "is a link that leads to itself" if loops else "is a link to nothing")
        if target != self.root and not target.startswith(self.root.rstrip(os.sep) + os.sep):
            return self._refuse(path, f"is a link out of the folder, to {target}; copy what it points to")
        if target in above:
            return self._refuse(path, "is a link to a folder that it lies in")
        if stat.S_ISDIR(found.st_mode):
            if not self._rules.leaves_out(path, True):
                self._folder(path, target, above)
        elif stat.S_ISREG(found.st_mode):
            self._file(path, target, found)
        else:
            self._refuse(path, "is a link to something that is neither a file nor a folder")

    def _folder(self, path: str, folder: str, above: tuple[str, ...]) -> None:
        if os.path.isfile(os.path.join(folder, "pyvenv.cfg")):
            return  # a virtual environment
        self._entries.append(WalkedEntry(path, folder, is_folder=True, executable=True))
        self.enter(path, folder, above)

    def _file(self, path: str, file: str, found: os.stat_result) -> None:
        executable = found.st_mode & stat.S_IXUSR != 0
        self._entries.append(WalkedEntry(path, file, is_folder=False, executable=executable))

    def _refuse(self, path: str, problem: str) -> None:
        self._problems.append(SourceProblem(path, problem))


def _is_utf8(name: str) -> bool:
    # The replacement character stands for what was not UTF-8 where another program wrote or read the name.
    return "\ufffd" not in name and not any("\ud800" <= character <= "\udfff" for character in name)
