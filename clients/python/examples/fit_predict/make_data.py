"""Writes train.parquet and test.parquet, and two with a mistake: BAD_train lacks `y`, BAD_test its first column."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS = 8


def make(rows, rng):
    values = rng.normal(size=(rows, COLUMNS))
    noise = rng.normal(scale=0.3, size=rows)
    target = (values[:, 0] + values[:, 1] * values[:, 2] + noise > 0).astype(int)
    return pd.DataFrame(values, columns=[f"x{column}" for column in range(COLUMNS)]), target


def main(folder="."):
    rng = np.random.default_rng(0)
    train, target = make(2000, rng)
    test, _ = make(500, rng)
    files = {
        "train": train.assign(y=target),
        "test": test,
        "BAD_train": train,
        "BAD_test": test.drop(columns="x0"),
    }
    for name, data in files.items():
        data.to_parquet(Path(folder) / f"{name}.parquet")
        print(f"{name}.parquet  {len(data)} rows  {', '.join(data.columns)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
