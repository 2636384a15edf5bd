"""Inputs of tasks: files here, blobs, artifacts of other tasks; and transfers past the server."""

from __future__ import annotations

import hashlib
import os
import urllib.request
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


def test_a_project_and_its_inputs_may_go_past_the_server(
    client: longshore.Client, project: Path, tmp_path: Path
) -> None:
    (project / "main.py").write_text(f"print(len(open('big').read()), {os.urandom(8).hex()!r})")
    big = tmp_path / "big.bin"
    big.write_text(os.urandom(500_000).hex())
    told: list[longshore.Progress] = []
    task = client.run(project, inputs={"big": big}, direct=True, on_progress=told.append)
    assert task.outcome is not None
    assert task.outcome.stdout_tail.startswith("1000000 ")
    # The program itself has no name; a file that goes along has its own.
    assert {progress.name for progress in told if progress.phase == "uploading"} == {"", "big.bin"}


def test_addresses_for_somebody_else(client: longshore.Client) -> None:
    content = os.urandom(1000)
    sha256 = hashlib.sha256(content).hexdigest()
    if not client.capabilities().presigned_urls:
        with pytest.raises(longshore.LongshoreError) as refused:
            client.blobs.create_upload_url(sha256, len(content))
        assert (refused.value.code, refused.value.reason) == ("UNIMPLEMENTED", "UNSUPPORTED")
        return
    place: longshore.UploadUrl = client.blobs.create_upload_url(sha256, len(content), lifetime="10m")
    put = urllib.request.Request(place.url, content, dict(place.headers), method="PUT")
    with urllib.request.urlopen(put) as answer:
        assert answer.status == 200
    while (blob := client.blobs.get(sha256)).state == longshore.Blob.STATE_CHECKING:
        continue
    assert blob.state == longshore.Blob.STATE_STORED
    with urllib.request.urlopen(client.blobs.create_download_url(sha256, lifetime=600).url) as answer:
        assert answer.read() == content


def test_wrong_options_of_transfers(client: longshore.Client, tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="cannot be read: no such file or directory"):
        client.blobs.upload(tmp_path / "missing")
    with pytest.raises(InvalidRequest, match="format: "):
        client.blobs.upload(tmp_path / "missing", format="csv")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match=r"format: 'csv' is not one of raw, tar, tar\.gz, zip"):
        client.blobs.create_upload_url("0" * 64, 1, format="csv")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match=r"format: 'csv' is not one of"):
        client.submit_stream(iter([b""]), format="csv")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="lifetime: "):
        client.blobs.create_download_url("0" * 64, lifetime="long")
