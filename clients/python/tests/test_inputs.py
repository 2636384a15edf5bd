"""Inputs of tasks: files here, blobs, artifacts of other tasks; and transfers past the server."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

import longshore
from longshore import BadSource, BlobInput, FileInput, InvalidRequest

SHOW = "import sys; [print(open(path).read()) for path in sys.argv[1:]]"


def test_a_file_a_blob_and_an_artifact_lie_where_they_were_asked_for(client: longshore.Client, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("from a file")
    blob = client.blobs.upload(b"from a blob")
    maker = client.submit(code="open('model.txt', 'w').write('from a task')", outputs=["model.txt"])
    task = client.run(
        code=SHOW,
        args=["data/train.csv", "blob", "model.txt"],
        inputs={"data/train.csv": tmp_path / "train.csv", "blob": blob, "model.txt": maker.artifact("model.txt")},
    )
    assert task.outcome is not None
    assert task.outcome.stdout_tail == "from a file\nfrom a blob\nfrom a task\n"


def test_a_list_is_taken_too(client: longshore.Client, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    inputs: list[FileInput | BlobInput] = [
        FileInput("x", tmp_path / "a"),
        BlobInput("y", client.blobs.upload(b"b").sha256),
    ]
    outcome = client.submit(code=SHOW, args=["x", "y"], inputs=inputs).result()
    assert outcome.stdout_tail == "a\nb\n"


def test_what_cannot_be_read_is_named_before_anything_is_sent(client: longshore.Client, tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="2 problems with inputs") as refused:
        client.submit(code="1", inputs={"a": tmp_path / "missing", "b": tmp_path})
    assert [Path(problem.path).name for problem in refused.value.problems] == ["missing", tmp_path.name]
    with pytest.raises(InvalidRequest, match="must map paths to their sources"):
        client.submit(code="1", inputs="data.csv")  # type: ignore[arg-type]


def test_the_server_names_every_wrong_input(client: longshore.Client) -> None:
    blob = client.blobs.upload(b"x")
    missing = longshore.Blob(sha256="0" * 64)
    with pytest.raises(InvalidRequest) as refused:
        client.submit(code="1", inputs={"../up": blob, "main.py": blob, "there": missing})
    fields = {violation.field for violation in refused.value.violations}
    assert fields == {"inputs[0].path", "inputs[1].path", "inputs[2].blob_sha256"}


def test_direct_transfers_go_the_usual_way_where_the_store_has_no_addresses(
    client: longshore.Client, tmp_path: Path
) -> None:
    content = os.urandom(3_000_000)
    sent: list[int] = []
    blob = client.blobs.upload(content, direct=True, on_progress=lambda progress: sent.append(progress.bytes))
    assert blob.sha256 == hashlib.sha256(content).hexdigest()
    assert sent[-1] == len(content)
    client.blobs.download(blob.sha256, tmp_path / "back", direct=True)
    assert (tmp_path / "back").read_bytes() == content
