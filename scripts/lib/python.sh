# shellcheck shell=bash
# Python >= 3.10 with the pinned packages that clients/python is generated, checked and tested with, outside the work tree.

python_requirements=clients/python/requirements.txt

# The newest of the usual names will do; Debian's python3 is one of them.
recent_python() {
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11 python3.10; do
    if have "$candidate" && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
      command -v "$candidate"
      return 0
    fi
  done
  return 1
}

install_python() {
  local base=$1 folder=$2 log=$cache/python.log
  [ -e "$folder/complete" ] && return 0
  say "installing  Python packages  ($python_requirements, once)"
  rm -rf "$folder"
  # It cannot be made elsewhere and moved: its programs name their interpreter by its whole path.
  {
    "$base" -m venv "$folder" && "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
      --requirement "$root/$python_requirements" && touch "$folder/complete"
  } >"$log" 2>&1 </dev/null
}

# Sets LONGSHORE_TEST_PYTHON to an interpreter that has the packages; else says why what needs it will be skipped, and fails.
ensure_python() {
  local base folder
  if on_debian && is_root && ! { base=$(recent_python) && "$base" -c 'import ensurepip, venv' 2>/dev/null; }; then
    apt_install "the Python client" python3 python3-venv
  fi
  if ! base=$(recent_python); then
    say "note        Python >= 3.10 is missing: what needs it will be skipped."
    return 1
  fi
  # A venv belongs to the interpreter that made it.
  folder=$cache/python-$({ "$base" -c 'import sys; print(sys.version, sys.executable)'; cat "$root/$python_requirements"; } | sha256_of - | cut -c1-16)
  if ! one_at_a_time install_python "$base" "$folder"; then
    tail -n 5 "$cache/python.log" >&2
    say "note        Python packages could not be installed ($cache/python.log): what needs them will be skipped."
    return 1
  fi
  export LONGSHORE_TEST_PYTHON=$folder/bin/python
}
