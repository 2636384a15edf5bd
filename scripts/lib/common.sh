# shellcheck shell=bash
# What every script needs: where things are, how to speak, what this machine is. Sourced, never run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# Outside the work tree, so that a fresh clone finds what an older one has built.
cache=${LONGSHORE_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/longshore}
mkdir -p "$cache"
# Where Debian keeps dockerd and mkfs; a plain user's PATH lacks it.
export PATH="$PATH:/usr/sbin:/sbin"

# Progress goes to stderr: stdout belongs to what the script was asked for.
say() { printf '%s\n' "$*" >&2; }

# fail WHAT [NEXT STEP...]
fail() {
  printf 'error: %s\n' "$1" >&2
  shift
  local line
  for line in "$@"; do printf '       %s\n' "$line" >&2; done
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

is_root() { [ "$(id -u)" -eq 0 ]; }

on_linux() { [ "$(uname -s)" = Linux ]; }

# Debian itself, 12 or later: the one system whose package names and versions these scripts were tried with.
on_debian() {
  [ -r /etc/os-release ] && have apt-get || return 1
  local version
  [ "$(os_release ID)" = debian ] || return 1
  version=$(os_release VERSION_ID)
  # Debian's unreleased testing has no number, and everything that 12 has.
  [ -z "$version" ] || [ "${version%%.*}" -ge 12 ]
}

# shellcheck source=/dev/null
os_release() { (. /etc/os-release && printf '%s' "${!1:-}"); }

system_name() { if [ -r /etc/os-release ]; then os_release PRETTY_NAME; else uname -s; fi; }

require_linux() {
  on_linux && return 0
  fail "the Longshore server needs Linux; this is $(uname -s)" \
    "Run scripts/quickstart on a Linux machine (Debian 12 needs nothing beforehand), then from here:" \
    "  ssh -N -L 50051:127.0.0.1:50051 THAT-MACHINE &" \
    "  npm ci && node clients/cli/bin/longshore.js run hello.py     (Node 24 or later)" \
    "The clients need neither Docker nor Linux."
}

# apt_install WHY PACKAGE...: nothing when all of them are there; never asks.
apt_install() {
  local why=$1 package missing=()
  shift
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  is_root || fail "$why needs packages that are not installed: ${missing[*]}" \
    "As root: sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}"
  say "installing  ${missing[*]}  ($why)"
  local log
  log=$(mktemp)
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  # The first try spares an update where the package lists are there and current.
  if ! "${apt[@]}" install --no-install-recommends "${missing[@]}" >"$log" 2>&1 </dev/null; then
    if ! { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "${missing[@]}"; } >>"$log" 2>&1 </dev/null; then
      tail -n 15 "$log" >&2
      fail "apt-get could not install ${missing[*]}" "The whole output is in $log; $why needs them."
    fi
  fi
  rm -f "$log"
}

# One set-up at a time per user: two scripts started together must not install over each other.
# The lock is held by the command alone, so a daemon must never be started under it.
one_at_a_time() {
  if ! have flock; then "$@"; return; fi
  ( flock 9; "$@" ) 9>"$cache/setup.lock"
}

sha256_of() {
  if have sha256sum; then cat "$@" | sha256sum | cut -d' ' -f1; else cat "$@" | shasum -a 256 | cut -d' ' -f1; fi
}
