# shellcheck shell=bash
# A Docker daemon that answers: the one that runs, else one that is installed and started here.

# Process id of a daemon that ensure_docker started itself; empty when it found one.
started_dockerd=

docker_answers() { have docker && timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# With live-restore, containers and their journals survive a restart of the daemon.
note_live_restore() {
  [ "$(docker info --format '{{.LiveRestoreEnabled}}' 2>/dev/null)" = false ] || return 0
  say "note        Docker runs without live-restore: a restart of the daemon ends the tasks that run."
  say "            Put \"live-restore\": true into /etc/docker/daemon.json and reload it: kill -HUP \$(cat /run/docker.pid)"
}

# On cgroup v1 (alone or hybrid) Debian's runsc fails when it manages cgroups or a network of its own: the server moves its
# processes into a cgroup itself, and reports what holds. Never the kvm platform: it needs a device that most machines do
# not hand on. So ptrace is named rather than left to a default.
runsc_arguments() {
  if [ "$(stat -fc %T /sys/fs/cgroup 2>/dev/null)" = cgroup2fs ]; then
    printf '"--platform=ptrace"'
  else
    printf '"--platform=ptrace", "--ignore-cgroups", "--network=none"'
  fi
}

# Written only where there is none: an administrator's own settings are never touched.
write_daemon_settings() {
  local file=/etc/docker/daemon.json runsc=
  [ -e "$file" ] && return 0
  mkdir -p /etc/docker
  {
    printf '{\n  "live-restore": true'
    if runsc=$(command -v runsc); then
      printf ',\n  "runtimes": { "runsc": { "path": "%s", "runtimeArgs": [%s] } }' "$runsc" "$(runsc_arguments)"
    fi
    printf '\n}\n'
  } >"$file"
  say "wrote       $file  (live-restore${runsc:+, runsc for the gvisor tier})"
}

install_docker() {
  local packages="docker.io iptables e2fsprogs"
  if ! on_debian; then
    have dockerd && return 0
    fail "Docker is missing (this is $(system_name))" \
      "Install Docker Engine from 20.10 on (not Docker Desktop), iptables and e2fsprogs with your distribution's tools, and start it:" \
      "  Ubuntu: sudo apt-get install -y docker.io     Fedora: sudo dnf install -y moby-engine     Arch: sudo pacman -S docker" \
      "  then:   sudo systemctl enable --now docker" \
      "Run this script again afterwards; nothing that is there already is done twice."
  fi
  if ! have dockerd && ! is_root; then
    fail "Docker is missing, and installing it needs root" \
      "Either: sudo $0" \
      "Or:     sudo apt-get install -y --no-install-recommends $packages runsc && sudo usermod -aG docker $(id -un)   (then log in again)"
  fi
  is_root || return 0
  # The second isolation tier; a server without it offers the first alone.
  (apt_install "the gvisor isolation tier" runsc) || say "note        runsc is not available: the gvisor isolation tier will be refused."
  # Before Docker: its package starts the daemon at once where there is a service manager.
  write_daemon_settings
  # shellcheck disable=SC2086 # a list of words
  apt_install "running containers" $packages
}

# Waits for the daemon to answer or end, whichever comes first.
wait_for_docker() {
  local log=$1 tries
  for ((tries = 0; tries < 120; tries++)); do
    docker_answers && return 0
    if [ -n "$started_dockerd" ] && ! kill -0 "$started_dockerd" 2>/dev/null; then break; fi
    # dockerd has no way to tell a script without a service manager that it is ready.
    sleep 0.5
  done
  [ -r "$log" ] && tail -n 15 "$log" >&2
  fail "dockerd does not answer" "Its log: $log"
}

start_docker() {
  if [ -d /run/systemd/system ] && have systemctl; then
    systemctl start docker || fail "systemd could not start Docker" "See: journalctl -u docker"
    wait_for_docker /dev/null
    return 0
  fi
  local log=$cache/dockerd.log
  # A session of its own: Ctrl-C in this terminal ends the server, not the daemon that others may use.
  setsid dockerd >>"$log" 2>&1 </dev/null &
  started_dockerd=$!
  wait_for_docker "$log"
  say "started     dockerd  (process $started_dockerd, log $log)"
}

explain_refusal() {
  local answer
  answer=$(timeout 10 docker version 2>&1 || true)
  if [ -n "${DOCKER_HOST:-}" ]; then
    fail "no Docker answers at DOCKER_HOST=$DOCKER_HOST" "Start it, or unset DOCKER_HOST to use this machine's own."
  fi
  if [[ $answer == *"permission denied"* ]]; then
    fail "$(id -un) may not talk to Docker" "Either: sudo $0" "Or:     sudo usermod -aG docker $(id -un)   (then log in again)"
  fi
  is_root || fail "Docker is installed but not running, and starting it needs root" \
    "As root: sudo systemctl start docker     (without systemd: sudo setsid dockerd >/tmp/dockerd.log 2>&1 &)"
}

ensure_docker() {
  # The scripts and the server must speak of the same daemon.
  case ${LONGSHORE_DOCKER:-} in
    "" | unix:///var/run/docker.sock) ;;
    *) export DOCKER_HOST=$LONGSHORE_DOCKER ;;
  esac
  if ! docker_answers; then
    [ -z "${DOCKER_HOST:-}" ] || explain_refusal
    install_docker
    # Where there is a service manager, the package has started the daemon.
    if ! docker_answers; then
      explain_refusal
      start_docker
    fi
  fi
  note_live_restore
  # Sized volumes are ext4 images; without mkfs the server falls back to tmpfs.
  if ! have mkfs.ext4; then
    if on_debian && is_root; then
      apt_install "storage limits" e2fsprogs
    else
      say "note        mkfs.ext4 is missing (package e2fsprogs): storage will be limited by tmpfs, counted as RAM."
    fi
  fi
}
