# shellcheck shell=bash
# A real MLflow server for the tests of experiments, outside the work tree.

mlflow_version=3.17.2

install_mlflow() {
  local base=$1 folder=$2 log=$cache/mlflow.log
  [ -e "$folder/complete" ] && return 0
  say "installing  MLflow $mlflow_version  (for tests, once, about a minute)"
  rm -rf "$folder"
  # It cannot be made elsewhere and moved: its programs name their interpreter by its whole path.
  {
    "$base" -m venv "$folder" && "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
      "mlflow==$mlflow_version" && touch "$folder/complete"
  } >"$log" 2>&1 </dev/null
}

# Sets LONGSHORE_TEST_MLFLOW to the program, or says why tests that need it will be skipped. After ensure_python.
ensure_mlflow() {
  local base folder=$cache/tools/mlflow-$mlflow_version
  if ! base=$(recent_python); then
    say "note        Python >= 3.10 is missing: tests that need MLflow will be skipped."
    return 1
  fi
  if ! one_at_a_time install_mlflow "$base" "$folder"; then
    tail -n 5 "$cache/mlflow.log" >&2
    say "note        MLflow could not be installed ($cache/mlflow.log): tests that need it will be skipped."
    return 1
  fi
  export LONGSHORE_TEST_MLFLOW=$folder/bin/mlflow
}
