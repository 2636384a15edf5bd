"""A model of Parquet files: plain functions, which run the same here and in a sandbox.

python ml.py fit train.parquet model.joblib
python ml.py predict model.joblib test.parquet predictions.parquet
"""

import sys

import joblib
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier

TARGET = "y"


def fit(train_path, model_path, **parameters):
    """Fits a classifier of column `y` on all other columns; answers how well it does on what it has seen."""
    data = pd.read_parquet(train_path)
    require([TARGET], data, train_path)
    features, target = data.drop(columns=TARGET), data[TARGET]
    model = HistGradientBoostingClassifier(random_state=0, **parameters).fit(features, target)
    joblib.dump(model, model_path)
    return {"rows": len(data), "columns": len(features.columns), "accuracy": model.score(features, target)}


def predict(model_path, test_path, predictions_path):
    """Writes a Parquet file with the predicted `y` for each row of the test data."""
    model = joblib.load(model_path)
    data = pd.read_parquet(test_path)
    columns = list(model.feature_names_in_)
    require(columns, data, test_path)
    pd.DataFrame({TARGET: model.predict(data[columns])}).to_parquet(predictions_path)
    return {"rows": len(data)}


def require(columns, data, path):
    """Tells what is missing by name, and what there is instead: whoever made the file knows from that what to mend."""
    missing = [name for name in columns if name not in data.columns]
    if missing:
        names = ", ".join(repr(name) for name in missing)
        noun = "column" if len(missing) == 1 else "columns"
        verb = "is" if len(missing) == 1 else "are"
        raise ValueError(f"{noun} {names} {verb} missing in {path}; it has {', '.join(map(str, data.columns))}")


if __name__ == "__main__":
    print({"fit": fit, "predict": predict}[sys.argv[1]](*sys.argv[2:]))
