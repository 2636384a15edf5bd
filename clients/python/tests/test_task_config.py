"""Configuration files of tasks, as the TypeScript client reads them (test/unit/task-config.test.ts)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import longshore
from longshore import BadSource, InvalidRequest
from longshore._core.task_config import Dataset, TaskConfig, parse_datasets, read_task_config, source_of

# As the seeds have it, character for character.
SEEDS = Path(__file__).parents[1] / "examples/ml_task/task.json"


def write(folder: Path, config: Any) -> Path:
    (folder / "wine_classification.csv").write_text("a\n")
    (folder / "script.py").write_text("print(1)\n")
    path = folder / "task.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return path


def read(folder: Path, config: Any) -> TaskConfig:
    return read_task_config(write(folder, config), {})


def problems(folder: Path, config: Any) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        read(folder, config)
    return {violation.field: violation.description for violation in caught.value.violations}


def test_becomes_placement_image_experiment_variables_and_data(tmp_path: Path) -> None:
    config = read(tmp_path, SEEDS.read_text())
    assert config.options == {
        "placement": {"engine": "atena02", "instance_type": "cpu", "account": "twinscie"},
        "image": "sklearn_sample_latest",
        "env": {
            "MODEL_PARAMS_PATH": "model_params.json",
            "MODEL_PARAMS": '{"n_estimators":2,"random_state":42}',
            "DATASET_PATH": "wine_classification.csv",
        },
        "experiment": {"tracking_uri": "experiments", "name": "atena_test"},
    }
    assert config.script == "path/to/script.py"
    assert config.dataset == Dataset("wine_classification.csv", file=str(tmp_path / "wine_classification.csv"))
    assert config.model_params == b'{\n  "n_estimators": 2,\n  "random_state": 42\n}\n'


def test_what_a_caller_asks_goes_before_what_the_file_says(tmp_path: Path) -> None:
    config = read(tmp_path, SEEDS.read_text())
    asked = {"image": "mine", "env": {"A": "1", "MODEL_PARAMS": "x"}, "placement": {"account": "other"}, "cpu": 2}
    merged = config.merged(asked, [1])
    assert merged["image"] == "mine"
    assert merged["env"]["A"] == "1" and merged["env"]["MODEL_PARAMS"] == "x"
    assert merged["placement"] == {"engine": "atena02", "instance_type": "cpu", "account": "other"}
    assert merged["inputs"] == [1]
    assert merged["cpu"] == 2


def test_everything_wrong_is_named_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        {
            "dataset_name": "cheese",
            "model_params": [1],
            "runner_location": "aws",
            "model_tracking": True,
            "tracking_uri": "",
            "script_name": "other.py",
            "script_path": "script.py",
            "clusters": {"atena02": {}, "azure": {}},
            "colour": "red",
        },
    )
    assert list(found) == [
        "colour",
        "model_params",
        "dataset_name",
        "runner_location",
        "tracking_uri",
        "experiment_name",
        "script_name",
    ]
    assert "no such name in LONGSHORE_DATASETS (none)" in found["dataset_name"]
    assert found["runner_location"] == '"aws" is not in clusters, which has atena02, azure'


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"clusters": {"a": {}, "b": {}}}, "runner_location"),
        ({"clusters": {"a": {"infra_config": {"image": "x"}}}}, "clusters.a.infra_config.image"),
        ({"clusters": {"a.b": {"infra_config": {"account": 1}}}}, "clusters.a.b.infra_config.account"),
        ({"dataset_name": "../secret"}, "dataset_name"),
        ({"model_tracking": "yes"}, "model_tracking"),
    ],
)
def test_refuses(tmp_path: Path, config: Any, field: str) -> None:
    assert list(problems(tmp_path, config)) == [field]


def test_its_script_and_the_one_given_are_one(tmp_path: Path) -> None:
    config = read(tmp_path, {"script_path": "path/to/script.py"})
    path = tmp_path / "task.json"
    assert source_of(config, path, None) == str(tmp_path / "path/to/script.py")
    assert source_of(config, path, tmp_path / "script.py") == str(tmp_path / "script.py")
    assert source_of(config, path, tmp_path) == str(tmp_path)
    with pytest.raises(InvalidRequest, match="is not the script that was given"):
        source_of(config, path, "train.py")
    with pytest.raises(InvalidRequest, match="name the script there"):
        source_of(read(tmp_path, {}), path, None)


def test_datasets_may_have_names_of_their_own(tmp_path: Path) -> None:
    digest = "a" * 64
    path = write(tmp_path, {"dataset_name": "wine"})
    (tmp_path / "w.csv").write_text("a\n")
    known = parse_datasets(f"wine=sha256:{digest}, other={tmp_path / 'w.csv'}")
    assert read_task_config(path, known).dataset == Dataset("wine.csv", sha256=digest)
    assert read_task_config(path, {"wine": known["other"]}).dataset == Dataset("wine.csv", file=known["other"])
    with pytest.raises(InvalidRequest, match="is not NAME=FILE"):
        parse_datasets("wine")


@pytest.mark.parametrize(("text", "message"), [("{dataset", "is not JSON"), ("[1]", "is not a JSON object")])
def test_what_is_no_configuration_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadSource, match=message):
        read(tmp_path, text)
    with pytest.raises(BadSource, match="no such configuration file"):
        read_task_config(tmp_path / "none.json", {})


def test_a_script_gets_its_parameters_and_its_data(client: longshore.Client, tmp_path: Path) -> None:
    path = write(tmp_path, {"dataset_name": "wine_classification", "model_params": {"depth": 3}})
    (tmp_path / "script.py").write_text(
        "import json, os\n"
        "print(json.loads(os.environ['MODEL_PARAMS']) == json.load(open(os.environ['MODEL_PARAMS_PATH'])))\n"
        "print(open(os.environ['DATASET_PATH']).read())\n"
    )
    task = client.submit_config(path, tmp_path / "script.py", timeout="60s")
    outcome = task.result()
    assert outcome.succeeded
    assert list(task.logs())[:2] == ["True\n", "a\n"]


def test_refusals_are_told_in_the_files_words(client: longshore.Client, tmp_path: Path) -> None:
    path = write(tmp_path, {"clusters": {"atena99": {"infra_config": {"account": "a b"}}}})
    with pytest.raises(InvalidRequest) as caught:
        client.submit_config(path, tmp_path / "script.py")
    fields = {violation.field for violation in caught.value.violations}
    assert fields == {"runner_location", "clusters.atena99.infra_config.account"}
