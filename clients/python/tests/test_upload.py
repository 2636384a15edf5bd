"""Uploads that are cut, repeated and refused."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import random
import tarfile
from pathlib import Path

import pytest
from cutting_proxy import CuttingProxy

import longshore
from longshore import Progress

SIZE = 12 * 2**20


def noise(seed: float) -> bytes:
    """Bytes that no other run has sent."""
    return random.Random(seed).randbytes(SIZE)


def test_goes_on_where_the_connection_was_cut(proxied: longshore.Client, proxy: CuttingProxy, project: Path) -> None:
    content = noise(random.random())
    (project / "data.bin").write_bytes(content)
    (project / "main.py").write_text("import hashlib; print(hashlib.sha256(open('data.bin','rb').read()).hexdigest())")
    proxy.cut_after_sent = [3_000_000, 3_000_000, 2_000_000]
    seen: list[Progress] = []
    task = proxied.submit(project, timeout="1m", on_progress=seen.append)
    assert proxy.cuts == 3
    # What was sent before a cut is not sent again, but for what the server had not committed yet.
    assert proxy.bytes_sent < SIZE + 3 * 4 * 2**20
    uploading = [progress for progress in seen if progress.phase == "uploading"]
    assert uploading[-1].done
    assert uploading[-1].bytes == uploading[-1].total_bytes > SIZE
    resumed = [later.bytes for earlier, later in itertools.pairwise(uploading) if later.bytes < earlier.bytes]
    assert all(position > 0 for position in resumed)
    assert list(task.logs()) == [hashlib.sha256(content).hexdigest() + "\n"]


def test_what_is_wrong_is_named_before_anything_is_sent(
    proxied: longshore.Client, proxy: CuttingProxy, project: Path
) -> None:
    (project / "data.bin").write_bytes(noise(random.random()))
    (project / "train.py").write_text("print('one')")
    (project / "requirements.txt").write_text("six\n-e .\n")
    with pytest.raises(longshore.InvalidRequest) as raised:
        proxied.submit(project, entrypoint="nope.py", cpu=-1, placement={"engine": "nowhere"})
    fields = sorted(violation.field for violation in raised.value.violations)
    assert fields == ["entrypoint", "environment.requirements", "placement.engine", "resources.cpu"]
    assert proxy.bytes_sent < SIZE / 10


def test_what_the_server_has_is_not_sent_again(proxied: longshore.Client, proxy: CuttingProxy, project: Path) -> None:
    (project / "data.bin").write_bytes(noise(random.random()))
    (project / "main.py").write_text("print('one')")
    proxied.submit(project)
    sent = proxy.bytes_sent
    assert sent > SIZE
    os.utime(project / "main.py", (1, 1))
    seen: list[Progress] = []
    task = proxied.submit(project, on_progress=seen.append)
    assert proxy.bytes_sent - sent < 100_000
    assert seen[-1] == Progress("uploading", seen[-1].total_bytes, True, 0, seen[-1].total_bytes, seen[-1].total_bytes)
    assert list(task.logs()) == ["one\n"]


def test_a_bar_is_shown_on_a_terminal_alone(
    client: longshore.Client, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(of: longshore.Client) -> str:
        terminal = io.StringIO()
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        monkeypatch.setattr("sys.stderr", terminal)
        of.blobs.upload(os.urandom(5 * 2**20))
        return terminal.getvalue()

    assert "uploading: 100%" in shown(client)
    with longshore.Client(address, progress=False) as quiet:
        assert shown(quiet) == ""


def test_a_refused_archive_tells_the_rule_and_the_entry_each_time(client: longshore.Client, tmp_path: Path) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        entry = tarfile.TarInfo("../escape.py")
        entry.size = 7
        archive.addfile(entry, io.BytesIO(os.urandom(7)))
    path = tmp_path / "bad.tar"
    path.write_bytes(content.getvalue())
    for _ in range(2):
        with pytest.raises(longshore.BadArchive, match="escape"):
            client.submit(path)


def test_blobs_by_digest(client: longshore.Client, tmp_path: Path) -> None:
    content = os.urandom(3 * 2**20)
    blob = client.blobs.upload(content)
    assert client.blobs.get(blob.sha256).size_bytes == len(content)
    client.blobs.download(blob.sha256, tmp_path / "copy.bin")
    assert (tmp_path / "copy.bin").read_bytes() == content
    # What an earlier try left is not fetched again, whatever its end looks like.
    partial = tmp_path / f".again.bin.{blob.sha256[:16]}.partial"
    partial.write_bytes(content[: 2**20])
    seen: list[tuple[int, int]] = []
    client.blobs.download(blob.sha256, tmp_path / "again.bin", lambda *progress: seen.append(progress))
    assert seen[0] == (2**20, len(content))
    assert seen[1][0] > 2**20
    assert (tmp_path / "again.bin").read_bytes() == content
    # A part that is wrong is noticed, and not gone on with for ever.
    (tmp_path / f".wrong.bin.{blob.sha256[:16]}.partial").write_bytes(b"x" * 100)
    with pytest.raises(longshore.DigestMismatch, match=r"wrong\.bin was not written"):
        client.blobs.download(blob.sha256, tmp_path / "wrong.bin")
    client.blobs.download(blob.sha256, tmp_path / "wrong.bin")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["again.bin", "copy.bin", "wrong.bin"]
    with pytest.raises(longshore.NotFound):
        client.blobs.download("0" * 64, tmp_path / "none.bin")
