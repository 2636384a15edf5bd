"""The life of a task, against a real server."""

from __future__ import annotations

import datetime
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import longshore

UP = "import time; print('up', flush=True); time.sleep(600)"


def until_up(task: longshore.Task) -> None:
    for line in task.logs(stream="stdout"):
        assert line == "up\n"
        return


def test_a_snippet_streams_to_this_terminal(
    client: longshore.Client, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    code = "import sys; sys.stdout.buffer.write(bytes([0xFF, 10])); print('err', file=sys.stderr)"
    task = client.run(code=code, cpu=1, ram="64MB")
    assert capfdbinary.readouterr() == (b"\xff\n", b"err\n")
    assert task.outcome is not None
    assert (task.outcome.state, task.outcome.reason, task.outcome.exit_code) == ("succeeded", "EXITED", 0)
    record = task.get()
    assert record.effective_resources.cpu_millis == 1000
    assert record.result.stderr_tail == "err\n"


def test_a_folder_with_everything_that_can_be_handed_to_it(client: longshore.Client, project: Path) -> None:
    (project / "app.py").write_text(
        "import os, sys, helper\n"
        "print(sys.argv[1:], os.environ['COLOUR'], os.environ['TOKEN'], sys.stdin.read(), helper.X)\n"
    )
    (project / "helper.py").write_text("X = 'ä'")
    task = client.submit(
        str(project),
        entrypoint="app.py",
        args=["--x", "a b"],
        env={"COLOUR": "blue"},
        secret_env={"TOKEN": "s3cret"},
        stdin="in",
        timeout=datetime.timedelta(seconds=20),
        labels={"team": "test"},
        name="named",
    )
    assert list(task.logs()) == ["['--x', 'a b'] blue s3cret in ä\n"]
    record = task.wait().get()
    assert (record.spec.display_name, record.spec.timeout.seconds) == ("named", 20)
    assert record.spec.secret_env["TOKEN"] == ""


def test_a_zip_a_script_and_a_command(client: longshore.Client, project: Path) -> None:
    with zipfile.ZipFile(project / "p.zip", "w") as archive:
        archive.writestr("main.py", "print('zipped')")
    (project / "script.py").write_text("print('script')")
    assert list(client.submit(project / "p.zip").logs()) == ["zipped\n"]
    assert list(client.submit(project / "script.py").logs()) == ["script\n"]
    task = client.submit(command=["sh", "-c", "echo shell; exit 4"])
    assert list(task.logs()) == ["shell\n"]
    assert task.result(check=False).exit_code == 4


def test_an_archive_that_is_made_while_it_is_sent(client: longshore.Client, project: Path) -> None:
    path = project / "p.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("main.py", "print('streamed')")
    content = path.read_bytes()
    task = client.submit_stream(iter([content[:10], content[10:]]), format="zip")
    assert list(task.logs()) == ["streamed\n"]


def test_an_archive_whose_making_fails_is_no_task(client: longshore.Client) -> None:
    class Broken(Exception):
        pass

    def parts() -> Iterator[bytes]:
        yield b"PK"
        raise Broken

    batch = str(uuid.uuid4())
    with pytest.raises(Broken):
        client.submit_stream(parts(), format="zip", labels={"batch": batch})
    assert list(client.list(labels={"batch": batch})) == []


def test_a_failure_raises_with_the_facts(client: longshore.Client) -> None:
    with pytest.raises(longshore.TaskFailed) as failed:
        client.run(code="import sys; print('out'); sys.exit('no data')")
    error = failed.value
    assert (error.exit_code, error.reason, error.stderr_tail) == (1, "EXITED", "no data\n")
    assert error.logs_tail == "out\nno data\n"
    assert "exited with 1" in str(error)
    task = client.run(code="while True: pass", timeout="1s", check=False)
    assert task.outcome is not None
    assert task.outcome.reason == "TIMED_OUT"
    assert "timeout" in task.outcome.advice


def test_cancel_rerun_and_delete(client: longshore.Client) -> None:
    task = client.submit(code=UP, timeout="1h")
    until_up(task)
    with pytest.raises(longshore.WrongState) as wrong:
        task.delete()
    # Output comes straight from the journal, and may be here before the record says that the code runs.
    assert wrong.value.state in {"PREPARING", "RUNNING"}
    task.cancel("enough", grace=0)
    assert task.result(check=False).reason == "CANCELLED"
    task.cancel()
    again = client.submit(code="print(1)", ram="64MB").wait().rerun(ram="128MB", timeout="5s")
    record = again.wait().get()
    assert record.effective_resources.ram_bytes == 128 * 2**20
    assert record.spec.code == "print(1)"
    client.task(record.rerun_of).delete()
    with pytest.raises(longshore.NotFound) as missing:
        client.task(record.rerun_of).get()
    assert (missing.value.resource_type, missing.value.resource_name) == ("task", record.rerun_of)


def test_artifacts(client: longshore.Client, tmp_path: Path) -> None:
    code = "import os; os.mkdir('out'); open('out/a.txt','w').write('a'*3000000); open('b.bin','wb').write(bytes(256))"
    task = client.submit(code=code, outputs=["out/**", "*.bin"]).wait()
    assert [(found.path, found.size_bytes) for found in task.artifacts.list()] == [
        ("b.bin", 256),
        ("out/a.txt", 3_000_000),
    ]
    assert task.artifacts.read("b.bin") == bytes(256)
    with pytest.raises(longshore.LongshoreError, match="download it to a file"):
        task.artifacts.read("out/a.txt", most_bytes=1000)
    with pytest.raises(longshore.NotFound, match=r"no artifact c\.bin"):
        task.artifacts.download("c.bin", tmp_path / "c.bin")
    seen: list[tuple[int, int]] = []
    task.artifacts.download("out/a.txt", tmp_path / "deep/a.txt", lambda *progress: seen.append(progress))
    assert (tmp_path / "deep/a.txt").read_bytes() == b"a" * 3_000_000
    assert seen[-1] == (3_000_000, 3_000_000)
    told: list[tuple[str, int]] = []
    task.artifacts.download_all(
        tmp_path / "all",
        filter=lambda found: found.path.startswith("out/"),
        on_progress=lambda artifact, there: told.append((artifact.path, there)),
    )
    assert (told[0], told[-1]) == (("out/a.txt", 0), ("out/a.txt", 3_000_000))
    assert [str(path.relative_to(tmp_path)) for path in (tmp_path / "all").rglob("*.*")] == ["all/out/a.txt"]


def test_list_and_the_system(client: longshore.Client) -> None:
    batch = str(uuid.uuid4())
    before = datetime.datetime.now()  # without a zone: local, as everywhere in datetime
    ids = [client.run(code=f"exit({n % 2})", labels={"batch": batch}, check=False).id for n in range(3)]
    assert [task.id for task in client.list(labels={"batch": batch}, page_size=2)] == ids[::-1]
    assert [task.id for task in client.list(labels={"batch": batch}, states=["failed"])] == [ids[1]]
    assert list(client.list(labels={"batch": batch}, created_before=before)) == []
    assert len(list(client.list(labels={"batch": batch}, created_after=before))) == 3
    assert [task.id for task in client.list(labels={"batch": batch}, reasons=["EXITED"])] == ids[::-1]
    assert list(client.list(labels={"batch": batch}, reasons=["TIMED_OUT", "LOST"])) == []
    with pytest.raises(longshore.InvalidRequest, match='"done" is not one of queued'):
        list(client.list(states=["done"]))  # type: ignore[list-item]
    assert client.capabilities().engines[0].kind == "docker"
    assert client.capacity().total.cpu_millis > 0
    with pytest.raises(longshore.NotFound):
        client.capacity("moon")


def test_a_task_continues_the_trace_that_it_is_given(client: longshore.Client) -> None:
    first, second = (uuid.uuid4().hex for _ in range(2))
    task = client.submit(code="print(1)", cpu=0.2, traceparent=f"00-{first}-00f067aa0ba902b7-01")
    again = task.wait().rerun(traceparent=f"00-{second}-00f067aa0ba902b7-01")
    assert [task.get().trace_id, again.get().trace_id] == [first, second]
    again.wait()


def test_the_same_request_id_is_the_same_task(client: longshore.Client) -> None:
    request_id = str(uuid.uuid4())
    first = client.submit(code="print(1)", request_id=request_id)
    assert client.submit(code="print(1)", request_id=request_id).id == first.id
    with pytest.raises(longshore.RequestIdReused) as reused:
        client.submit(code="print(2)", request_id=request_id)
    assert reused.value.task_id == first.id
    assert reused.value.code == "ALREADY_EXISTS"


def test_wrong_values_are_all_named_at_once(client: longshore.Client) -> None:
    with pytest.raises(longshore.InvalidRequest) as wrong:
        client.submit(code=" ", cpu=-1, gpu="x", ram="512", storage="lots", priority=1000)
    fields = sorted(violation.field for violation in wrong.value.violations)
    assert fields == ["code", "priority", "resources.cpu", "resources.gpu", "resources.ram", "resources.storage"]
    with pytest.raises(longshore.NeverFits) as never:
        client.submit(code="1", cpu=64)
    assert (never.value.metadata["resource"], never.value.metadata["asked"]) == ("cpu", "64000")
    with pytest.raises(longshore.ImageRefused):
        client.submit(code="1", image="evil:latest")
    with pytest.raises(longshore.InvalidRequest, match="archive_sha256: is not stored"):
        client.submit(archive_sha256="0" * 64)


def test_nobody_answers() -> None:
    with longshore.Client("127.0.0.1:1") as client:
        with pytest.raises(longshore.Unavailable) as away:
            client.submit(code="print(1)")
        assert away.value.unreachable
    with pytest.raises(longshore.LongshoreError, match="client is closed"):
        client.submit(code="print(1)")
    with pytest.raises(longshore.LongshoreError, match="client is closed"):
        list(client.task("x").watch())
