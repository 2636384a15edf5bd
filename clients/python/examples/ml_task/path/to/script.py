"""Trains a forest on the dataset of its task, and tracks parameters and accuracy where its task says.

On a desk it runs the same: python path/to/script.py, with MLflow's variables set or without.
"""

import csv
import json
import os

import mlflow
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

TARGET = "class"


def read(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or TARGET not in rows[0]:
        columns = ", ".join(rows[0]) if rows else "no rows"
        raise SystemExit(f"column '{TARGET}' is missing in {path}; it has {columns}")
    features = [[float(value) for name, value in row.items() if name != TARGET] for row in rows]
    return features, [row[TARGET] for row in rows]


def main():
    params = json.loads(os.environ.get("MODEL_PARAMS", "{}"))
    features, labels = read(os.environ.get("DATASET_PATH", "wine_classification.csv"))
    train, test, train_labels, test_labels = train_test_split(features, labels, random_state=0, stratify=labels)
    with mlflow.start_run() as run:
        mlflow.log_params(params)
        model = RandomForestClassifier(**params).fit(train, train_labels)
        accuracy = model.score(test, test_labels)
        mlflow.log_metric("accuracy", accuracy)
        print(f"accuracy {accuracy:.3f}, tracked as run {run.info.run_id}")


if __name__ == "__main__":
    main()
