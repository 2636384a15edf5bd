"""What of a folder is sent. That the TypeScript client sends the same bytes is shown by test/e2e/python.test.ts."""

from __future__ import annotations

import os
import socket
import tarfile
from pathlib import Path

import pytest

from longshore import BadSource, InvalidRequest
from longshore._core.ignore_rules import IgnoreRules
from longshore._core.pack import _TarFile as tar_file
from longshore._core.pack import pack_file, pack_folder
from longshore._core.source import open_program
from longshore._core.upload_source import UploadSource


def write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def entries(source: UploadSource) -> dict[str, tarfile.TarInfo]:
    with source.open() as file, tarfile.open(fileobj=file) as archive:
        found = {member.name: member for member in archive.getmembers()}
    source.close()
    return found


def problems(folder: Path | str) -> list[str]:
    with pytest.raises(BadSource) as refused:
        open_program(folder, None, None, None)
    return [f"{found.path} {found.problem}" for found in refused.value.problems]


def test_names_and_contents_alone_make_the_digest(tmp_path: Path) -> None:
    files = {"main.py": "print(1)", "pkg/b.py": "b", "pkg/a.py": "a", "pkg-2/c.py": "c", "é.txt": "é"}
    write(tmp_path / "one", files)
    write(tmp_path / "two", dict(reversed(files.items())))
    os.utime(tmp_path / "two/main.py", (1, 1))
    (tmp_path / "two/pkg/a.py").chmod(0o600)
    one, two = pack_folder(str(tmp_path / "one")), pack_folder(str(tmp_path / "two"))
    assert one.sha256 == two.sha256
    two.close()
    assert list(entries(one)) == ["main.py", "pkg", "pkg-2", "pkg-2/c.py", "pkg/a.py", "pkg/b.py", "é.txt"]


def test_modes_long_names_and_what_is_empty(tmp_path: Path) -> None:
    long = f"{'d' * 120}/{'f' * 150}.py"
    write(tmp_path, {"run.sh": "#!/bin/sh", long: "x", "empty.txt": "", f"{'e' * 99}/x": "", f"{'ü' * 60}": "z"})
    (tmp_path / "run.sh").chmod(0o744)
    (tmp_path / "results").mkdir()
    found = entries(pack_folder(str(tmp_path)))
    assert {name: found[name].mode for name in ("run.sh", "empty.txt", "results", long)} == {
        "run.sh": 0o755,
        "empty.txt": 0o644,
        "results": 0o755,
        long: 0o644,
    }
    assert found["results"].isdir()
    assert {(member.uid, member.gid, member.mtime) for member in found.values()} == {(0, 0, 315532800)}


def test_leaves_out_what_nobody_means_to_send(tmp_path: Path) -> None:
    kept = ["main.py", "pkg/mod.py", "data/keep.csv", "kept/node_modules/here.js"]
    left = [
        ".git/HEAD",
        "sub/.git",
        "pkg/__pycache__/a.pyc",
        ".venv/pyvenv.cfg",
        "my-env/pyvenv.cfg",
        "my-env/lib/b.py",
    ]
    left += ["node_modules/x/index.js", "data/train.csv", "notes.txt"]
    write(tmp_path, dict.fromkeys(kept + left, "x"))
    rules = "data/*\n!data/keep.csv\n/notes.txt\n!kept/node_modules/\n# a comment\n"
    write(tmp_path, {".longshoreignore": rules})
    found = entries(pack_folder(str(tmp_path)))
    assert sorted(name for name, member in found.items() if member.isfile()) == sorted([*kept, ".longshoreignore"])
    assert "sub" in found


@pytest.mark.parametrize(
    ("rules", "path", "is_folder", "left_out"),
    [
        ("*.py", "a/b.py", False, True),
        ("/*.py", "a/b.py", False, False),
        ("a/*.py", "a/b.py", False, True),
        ("a/**/b", "a/b", False, True),
        ("a/**/b", "a/x/y/b", True, True),
        ("**/b", "a/x/b", False, True),
        ("a/**", "a", True, False),
        ("a/**", "a/x/y", False, True),
        ("b/", "b", False, False),
        ("b/", "a/b", True, True),
        ("[!a].txt", "b.txt", False, True),
        ("[a-c]x[]]", "bx]", False, True),
        ("a[^/]b", "a/b", False, False),
        ("f?o", "foo", False, True),
        ("\\#x", "#x", False, True),
        ("\\!x", "!x", False, True),
        ("x  ", "x", False, True),
        ("x\\ ", "x ", False, True),
        ("[z-a]", "z", False, False),
        ("*\n!*/\n!*.py", "a", True, False),
        # The rule that takes the folder back says nothing about the file in it, as in git.
        ("*\n!*/", "a/data.bin", False, True),
        ("A", "a", False, False),
    ],
)
def test_ignore_rules(rules: str, path: str, is_folder: bool, left_out: bool) -> None:
    assert IgnoreRules(rules.split("\n")).leaves_out(path, is_folder) is left_out


def test_links_within_the_folder_are_packed_as_what_they_point_to(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": "code", "lib/a.py": "lib"})
    (tmp_path / "entry.py").symlink_to("main.py")
    (tmp_path / "vendored").symlink_to("lib")
    found = entries(pack_folder(str(tmp_path)))
    assert found["entry.py"].isfile()
    assert found["vendored/a.py"].size == 3


def test_what_cannot_be_packed_is_all_named_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    write(folder, {"main.py": "1", "a/b/c.py": "1"})
    write(tmp_path, {"secret.txt": "s"})
    (folder / "secret").symlink_to(tmp_path / "secret.txt")
    (folder / "a/up").symlink_to("..")
    (folder / "dangling").symlink_to("nothing")
    (folder / "self").symlink_to("self")
    (folder / os.fsdecode(b"bad\xff")).touch()
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(folder / "socket"))
        found = problems(folder)
    expected = ["a/up is a link to a folder that it lies in", "bad\ufffd its name is not valid UTF-8"]
    expected += ["dangling is a link to nothing", "pipe is neither a file nor a folder", "secret is a link out of"]
    expected += ["self is a link that leads to itself", "socket is neither a file nor a folder"]
    assert len(found) == len(expected)
    for problem, beginning in zip(found, expected, strict=True):
        assert problem.startswith(beginning), problem


def test_sources_that_are_none(tmp_path: Path) -> None:
    write(tmp_path, {"empty/__pycache__/x.pyc": "", "notes.docx": "x"})
    assert "no file to pack" in problems(tmp_path / "empty")[0]
    assert "code=" in problems("print('hello')")[0]
    assert "code=" in problems("print('a\0b')")[0]
    assert "code=" in problems("x" * 10_000)[0]
    assert ".py, .zip, .tar" in problems(tmp_path / "notes.docx")[0]
    with pytest.raises(InvalidRequest) as both:
        open_program("a.py", "print(1)", None, None)
    assert [violation.field for violation in both.value.violations] == ["source", "code"]


def test_a_script_goes_as_text_where_that_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text("print('é')")
    (tmp_path / "latin.py").write_bytes(b"# coding: latin-1\nprint('\xe9')")
    (tmp_path / "large.py").write_text("#" * 300_000)
    assert open_program(tmp_path / "hello.py", None, None, None).code == "print('é')"
    for name in ("latin.py", "large.py"):
        program = open_program(tmp_path / name, None, None, None)
        assert program.archive is not None
        assert program.entrypoint == name
        assert list(entries(program.archive)) == [name]


def test_a_file_that_shrinks_while_it_is_packed_is_no_half_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"shrinking.log": "x" * 1000})
    put = tar_file._write

    def shrink(self: tar_file, data: bytes) -> None:
        os.truncate(tmp_path / "shrinking.log", 10)  # after its header, before its content
        put(self, data)

    monkeypatch.setattr(tar_file, "_write", shrink)
    with pytest.raises(BadSource, match="changed while it was packed"):
        pack_file(str(tmp_path / "shrinking.log"), "shrinking.log")
