"""The configuration file of a task: JSON that names its cluster, image, dataset, parameters and experiment."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import BadSource, FieldViolation, InvalidRequest, SourceProblem
from .inputs import list_inputs
from .options import PathLike

# Where the script finds its parameters, below its working directory.
MODEL_PARAMS_PATH = "model_params.json"
# The server takes 128 KiB of variables in all; larger parameters are in the file alone.
_MOST_VARIABLE_BYTES = 64 * 1024
_MOST_CONFIG_BYTES = 2**20
_DATASET_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,199}")
_STORED = re.compile(r"sha256:([0-9a-f]{64})")
_FIELDS = (
    "dataset_name",
    "model_params",
    "runner_location",
    "model_tracking",
    "tracking_uri",
    "experiment_name",
    "script_path",
    "script_name",
    "clusters",
)
_INFRA_FIELDS = ("instance_type", "image_name", "account", "partition")


@dataclass(frozen=True)
class Dataset:
    """Data placed at `path` beside the script: a file here, or a stored blob."""

    path: str
    file: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class TaskConfig:
    """What a configuration file asks for.

    `options` are options of submit. `origins` names the field of the file that a field of the request was made of.
    """

    options: dict[str, Any]
    script: str | None
    dataset: Dataset | None
    model_params: bytes
    origins: dict[str, str]

    def merged(self, asked: Mapping[str, Any], inputs: Sequence[Any]) -> dict[str, Any]:
        """The options, with what a caller asks for besides before them."""
        given = {name: value for name, value in asked.items() if value is not None}
        return {
            **self.options,
            **given,
            "env": {**self.options["env"], **given.get("env", {})},
            "inputs": [*inputs, *list_inputs(given.get("inputs"))],
            "placement": {**self.options.get("placement", {}), **given.get("placement", {})},
        }

    def in_own_words(self, error: InvalidRequest) -> InvalidRequest:
        """What the server says of a field, said of the file's field that it was made of."""
        violations = [FieldViolation(self.origins.get(v.field, v.field), v.description) for v in error.violations]
        return InvalidRequest(violations, metadata=error.metadata)


def read_task_config(path: PathLike, datasets: Mapping[str, str] | None) -> TaskConfig:
    """Reads a configuration file. Raises BadSource, or InvalidRequest that names everything wrong with it.

    `datasets` are names of datasets with a path here or "sha256:DIGEST" each; without them LONGSHORE_DATASETS holds them.
    """
    name = os.fspath(path)
    known = parse_datasets(os.environ.get("LONGSHORE_DATASETS", "")) if datasets is None else datasets
    reader = _Reader(name, _parse(name, _read(name)))
    reader.refuse_unknown("", reader.fields, _FIELDS, "a task's configuration")
    params = reader.object("model_params") or {}
    dataset = _dataset(reader, known)
    options, origins = _placement(reader)
    experiment = _experiment(reader)
    script = _script(reader)
    reader.finish()
    compact = json.dumps(params, ensure_ascii=False, separators=(",", ":"))
    env = {"MODEL_PARAMS_PATH": MODEL_PARAMS_PATH}
    if len(compact.encode()) <= _MOST_VARIABLE_BYTES:
        env["MODEL_PARAMS"] = compact
    if dataset is not None:
        env["DATASET_PATH"] = dataset.path
    options["env"] = env
    if experiment is not None:
        options["experiment"] = experiment
    origins.update({"experiment.tracking_uri": "tracking_uri", "experiment.name": "experiment_name"})
    text = json.dumps(params, ensure_ascii=False, indent=2) + "\n"
    return TaskConfig(options, script, dataset, text.encode(), origins)


def parse_datasets(text: str) -> dict[str, str]:
    """NAME=FILE or NAME=sha256:DIGEST, separated by commas: the form of LONGSHORE_DATASETS."""
    found: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = item.partition("=")
        if not name or not value:
            problem = f'"{item}" is not NAME=FILE or NAME=sha256:DIGEST'
            raise InvalidRequest([FieldViolation("LONGSHORE_DATASETS", problem)])
        found[name] = value
    return found


def source_of(config: TaskConfig, path: PathLike, given: PathLike | None) -> str:
    """The script of a configuration, or what the caller gave instead, which must not contradict it."""
    if given is None:
        if config.script is None:
            problem = "is missing; name the script there, or give it beside the configuration"
            raise InvalidRequest([FieldViolation("script_path", problem)])
        return os.path.join(os.path.dirname(os.fspath(path)), config.script)
    source = os.fspath(given)
    named = os.path.basename(config.script or "")
    if named and source.lower().endswith(".py") and os.path.basename(source) != named:
        problem = f'"{config.script}" is not the script that was given, {source}; leave one of them out'
        raise InvalidRequest([FieldViolation("script_path", problem)])
    return source


def goes_along(dataset: Dataset, program: str) -> bool:
    """Whether the dataset lies at the top of the program's folder, with which it is sent anyway."""
    return bool(dataset.file) and os.path.abspath(dataset.file) == os.path.abspath(os.path.join(program, dataset.path))


def _read(path: str) -> str:
    try:
        if os.stat(path).st_size > _MOST_CONFIG_BYTES:
            raise _bad(path, "is larger than 1 MiB; put data into files of the project")
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError as error:
        raise _bad(path, "there is no such configuration file") from error
    except UnicodeDecodeError as error:
        raise _bad(path, "is not UTF-8 text") from error
    except OSError as error:
        raise _bad(path, f"cannot be read: {error.strerror}") from error


def _parse(path: str, text: str) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise _bad(path, f"is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise _bad(path, 'is not a JSON object such as {"script_path": "train.py"}')
    return parsed


def _bad(path: str, problem: str) -> BadSource:
    return BadSource(path, [SourceProblem(path, problem)])


class _Reader:
    """Reads fields and gathers what is wrong with them."""

    def __init__(self, path: str, fields: dict[str, Any]) -> None:
        self.path = path
        self.fields = fields
        self._violations: list[FieldViolation] = []

    def refuse(self, field: str, description: str) -> None:
        self._violations.append(FieldViolation(field, description))

    def refuse_unknown(self, prefix: str, fields: Mapping[str, Any], known: Sequence[str], what: str) -> None:
        unknown = [name for name in fields if name not in known]
        for index, name in enumerate(unknown):
            description = "is none, either" if index else f"is no field of {what}; it has {', '.join(known)}"
            self.refuse(f"{prefix}{name}", description)

    def text(self, field: str, fields: Mapping[str, Any] | None = None) -> str | None:
        value = (self.fields if fields is None else fields).get(field.rpartition(".")[2])
        if value is None or (isinstance(value, str) and value.strip()):
            return value
        self.refuse(field, "must be a text that is not empty")
        return None

    def flag(self, field: str) -> bool | None:
        value = self.fields.get(field)
        if value is None or isinstance(value, bool):
            return value
        self.refuse(field, "must be true or false")
        return None

    def object(self, field: str, fields: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        value = (self.fields if fields is None else fields).get(field.rpartition(".")[2])
        if value is None or isinstance(value, dict):
            return value
        self.refuse(field, "must be an object in braces")
        return None

    def finish(self) -> None:
        if self._violations:
            raise InvalidRequest(self._violations)


def _dataset(reader: _Reader, datasets: Mapping[str, str]) -> Dataset | None:
    given = reader.text("dataset_name")
    if given is None:
        return None
    name = re.sub(r"\.csv$", "", given, flags=re.IGNORECASE)
    if not _DATASET_NAME.fullmatch(name):
        reader.refuse("dataset_name", f'"{given}" is no name: letters, digits, and _ . - or spaces, no folders')
        return None
    path = f"{name}.csv"
    alias = datasets.get(name)
    stored = _STORED.fullmatch(alias or "")
    if stored:
        return Dataset(path, sha256=stored[1])
    file = alias or os.path.join(os.path.dirname(reader.path), path)
    if os.path.isfile(file):
        return Dataset(path, file=file)
    if alias is None:
        known = ", ".join(datasets) or "none"
        problem = f"is not there: no file {file}, and no such name in LONGSHORE_DATASETS ({known})"
    else:
        problem = f"stands for {alias}, which is no file; mend it in LONGSHORE_DATASETS"
    reader.refuse("dataset_name", f'"{given}" {problem}')
    return None


def _placement(reader: _Reader) -> tuple[dict[str, Any], dict[str, str]]:
    clusters = reader.object("clusters")
    names = list(clusters or ())
    location = reader.text("runner_location") or (names[0] if len(names) == 1 else None)
    if location is None:
        if len(names) > 1:
            reader.refuse("runner_location", f"is missing; choose one of {', '.join(names)}")
        return {}, {}
    origins = {"placement.engine": "runner_location"}
    if clusters is None:
        return {"placement": {"engine": location}}, origins
    if location not in clusters:
        there = ", ".join(names) or "none"
        reader.refuse("runner_location", f'"{location}" is not in clusters, which has {there}')
        return {}, origins
    at = f"clusters.{location}"
    # Not by the reader's own way: a cluster may have a dot in its name.
    cluster = clusters[location]
    if not isinstance(cluster, dict):
        reader.refuse(at, "must be an object in braces")
        return {}, origins
    reader.refuse_unknown(f"{at}.", cluster, ("infra_config",), "a cluster")
    infra = reader.object(f"{at}.infra_config", cluster) or {}
    reader.refuse_unknown(f"{at}.infra_config.", infra, _INFRA_FIELDS, "infra_config")
    placement = {"engine": location}
    for name in ("instance_type", "account", "partition"):
        origins[f"placement.{name}"] = f"{at}.infra_config.{name}"
        value = reader.text(f"{at}.infra_config.{name}", infra)
        if value is not None:
            placement[name] = value
    origins["image"] = f"{at}.infra_config.image_name"
    options: dict[str, Any] = {"placement": placement}
    image = reader.text(f"{at}.infra_config.image_name", infra)
    if image is not None:
        options["image"] = image
    return options, origins


def _experiment(reader: _Reader) -> dict[str, str] | None:
    found = {"tracking_uri": reader.text("tracking_uri"), "experiment_name": reader.text("experiment_name")}
    tracking = reader.flag("model_tracking")
    if not (found["tracking_uri"] is not None if tracking is None else tracking):
        return None
    for field in found:
        if reader.fields.get(field) is None:
            problem = "is missing, and model_tracking needs it; give it, or set model_tracking to false"
            reader.refuse(field, problem)
    return {"tracking_uri": found["tracking_uri"] or "", "name": found["experiment_name"] or ""}


def _script(reader: _Reader) -> str | None:
    path, name = reader.text("script_path"), reader.text("script_name")
    if path is not None and name is not None and name not in (path, os.path.basename(path)):
        problem = f'"{name}" is not script_path "{path}"; they are one, so give one of them'
        reader.refuse("script_name", problem)
    return path or name
