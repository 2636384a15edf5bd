"""Fits a model and predicts with it, as two tasks of which the second takes what the first leaves.

    python example_1.py                              # predictions.parquet, here
    python example_1.py --train BAD_train.parquet    # refused before anything is sent
    python example_1.py --cache                      # the second time: the same answer at once, and free of charge

Needs the `longshore` package alone: scikit-learn, pandas and pyarrow are in the sandboxes (requirements.txt).
"""

import argparse
import sys
from pathlib import Path

from parquet_columns import NotParquet, columns

import longshore

HERE = Path(__file__).parent
TARGET = "y"
MODEL, PREDICTIONS = "model.joblib", "predictions.parquet"


def problems_with(train, test):
    """What is wrong with the data, as far as the names of its columns show it: all of it, before anything is sent."""
    try:
        have, need = columns(train), columns(test)
    except (NotParquet, OSError) as error:
        return [str(error)]
    problems = []
    if TARGET not in have:
        problems.append(f"column '{TARGET}' is missing in {train}; it has {', '.join(have)}")
    for name in have:
        if name not in (TARGET, *need):
            problems.append(f"column '{name}' is missing in {test}, and {train} has it; it has {', '.join(need)}")
    return problems


def pipeline(client, train, test, cache):
    """Starts both tasks; the second waits for the first."""
    common = {
        "project": HERE,
        "cpu": 1,
        "ram": "1GB",
        "timeout": "10m",
        "cache": cache,
        # Imported by warm sandboxes before there is a task for them.
        "preload": ["sklearn.ensemble", "pandas"],
    }
    fit = client.start(
        "ml:fit",
        [train.name, MODEL],
        name=f"fit {train.name}",
        inputs={train.name: train},
        outputs=[MODEL],
        **common,
    )
    predict = client.start(
        "ml:predict",
        [MODEL, test.name, PREDICTIONS],
        name=f"predict {test.name}",
        inputs={MODEL: fit.task.artifact(MODEL), test.name: test},
        outputs=[PREDICTIONS],
        **common,
    )
    return fit, predict


def show(name, call):
    """Waits for a call and tells what came of it; the answer is what the function returned."""
    result = call.result()
    source = call.task.cached_from
    print(f"{name:8} {call.id}  {'cached from ' + source if source else 'ran'}  {result}")
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, default=HERE / "train.parquet")
    parser.add_argument("--test", type=Path, default=HERE / "test.parquet")
    parser.add_argument("--out", type=Path, default=Path(PREDICTIONS))
    parser.add_argument("--server", help="host:port (LONGSHORE_SERVER, else 127.0.0.1:50051)")
    parser.add_argument("--cache", action="store_true", help="take the result of an equal earlier run")
    parser.add_argument("--unchecked", action="store_true", help="send the data as it is, and let the tasks find out")
    options = parser.parse_args()
    problems = [] if options.unchecked else problems_with(options.train, options.test)
    if problems:
        sys.exit("\n".join(problems))
    with longshore.Client(options.server) as client:
        fit, predict = pipeline(client, options.train, options.test, options.cache)
        try:
            show("fit", fit)
            show("predict", predict)
        except longshore.RemoteError as error:
            sys.exit(f"{error.remote_message} (task {error.outcome.id})")
        except longshore.TaskFailed as error:
            sys.exit(f"failed: {error}")
        predict.task.artifacts.download(PREDICTIONS, options.out)
    print(f"predictions are in {options.out}")


if __name__ == "__main__":
    main()
