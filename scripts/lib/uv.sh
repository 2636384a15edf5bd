# shellcheck shell=bash
# uv, which installs the packages of a requirements.txt in a sandbox of its own. Fetched once per version, outside the work tree.

uv_version=0.13.9

# Linked statically, so that it runs in any image. pip is only asked to fetch the file, whatever Python and C library it is for.
fetch_uv() {
  local folder=$1 python=$2 part=$1.part log=$cache/uv.log
  [ -x "$folder/uv" ] && return 0
  rm -rf "$part"
  mkdir -p "$part"
  {
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
      --platform "musllinux_1_1_$(uname -m)" --dest "$part" "uv==$uv_version" &&
      "$python" -c 'import sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
open(sys.argv[2], "wb").write(wheel.read(next(name for name in wheel.namelist() if name.endswith(".data/scripts/uv"))))' \
        "$part"/uv-*.whl "$part/uv" && chmod 755 "$part/uv" && rm "$part"/uv-*.whl && mv -T "$part" "$folder"
  } >"$log" 2>&1 </dev/null
}

# Sets LONGSHORE_UV, or says why tasks with requirements will be refused.
ensure_uv() {
  local folder=$cache/tools/uv-$uv_version python
  [ -z "${LONGSHORE_UV:-}" ] || return 0
  if [ ! -x "$folder/uv" ]; then
    python=$(python_with_pip) || {
      say "note        uv is missing, and there is no Python with pip to fetch it: tasks with a requirements.txt will be refused."
      return 0
    }
    say "fetching    uv $uv_version  (once)"
    if ! one_at_a_time fetch_uv "$folder" "$python"; then
      tail -n 5 "$cache/uv.log" >&2
      say "note        uv could not be fetched ($cache/uv.log): tasks with a requirements.txt will be refused."
      return 0
    fi
  fi
  export LONGSHORE_UV=$folder/uv
}

# The machine's own where it has pip; else one in a virtual environment, which brings its own pip.
python_with_pip() {
  local folder=$cache/tools/pip
  if have python3 && python3 -m pip --version >/dev/null 2>&1; then
    command -v python3
    return 0
  fi
  if on_debian && is_root && ! { have python3 && python3 -c 'import ensurepip, venv' 2>/dev/null; }; then
    apt_install "fetching uv" python3 python3-venv >&2
  fi
  have python3 || return 1
  [ -x "$folder/bin/python" ] || python3 -m venv "$folder" >/dev/null 2>&1 || return 1
  printf '%s\n' "$folder/bin/python"
}
