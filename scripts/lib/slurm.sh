# shellcheck shell=bash
# A Slurm cluster of its own for tests: controller and two nodes on this machine, in a temporary folder with ports and keys of
# its own, for as long as the script runs.

slurm_packages=(munge slurmctld slurmd slurm-client slurm-wlm-basic-plugins slurmrestd slurm-wlm-jwt-plugin)

has_slurm() { have slurmctld && have slurmd && have munged && have sbatch && have slurmrestd && has_jwt; }

has_jwt() { compgen -G '/usr/lib/*/slurm*/auth_jwt.so' >/dev/null; }

# The first of ten ports that nobody listens on: other clusters of the kind may be up on this machine.
free_ports() {
  local first offset
  # Below 25000: the other servers of tests have their ports there, and may not be up yet.
  for ((first = 21000 + RANDOM % 390 * 10; ; first += 10)); do
    for ((offset = 0; offset < 10; offset++)); do
      if (: <"/dev/tcp/127.0.0.1/$((first + offset))") 2>/dev/null; then continue 2; fi
    done
    printf '%s\n' "$first"
    return
  done
}

# Debian's packages start daemons of the host's own, which have no configuration here.
install_slurm() {
  local policy=/usr/sbin/policy-rc.d made=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 0755 "$policy"
    made=yes
  fi
  local status=0
  apt_install "a Slurm cluster for tests" "${slurm_packages[@]}" || status=$?
  [ -z "$made" ] || rm -f "$policy"
  return "$status"
}

slurm_configuration() {
  local folder=$1 port=$2 host node
  host=$(hostname)
  cat <<CONF
ClusterName=longshore
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key=$folder/jwt.key
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.%n.log
ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1
SlurmctldParameters=node_reg_mem_percent=1
SlurmdParameters=config_overrides
# Without it one job takes all memory of its node.
DefMemPerCPU=100
KillWait=2
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
CONF
  # More than there is: how many tests fit side by side must not depend on the machine.
  for node in 1 2; do
    # With the port: nodes of another cluster on this machine must not share their control groups.
    echo "NodeName=n$port-$node NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + node)) CPUs=4 RealMemory=4000 Feature=cpu State=UNKNOWN"
  done
  echo "PartitionName=main Nodes=n$port-[1-2] Default=YES MaxTime=INFINITE State=UP"
  echo "PartitionName=ml Nodes=n$port-2 MaxTime=INFINITE State=UP"
}

start_slurm() {
  local folder node tries port
  port=$(free_ports)
  folder=$(mktemp -d "${TMPDIR:-/tmp}/longshore-slurm-XXXXXX")
  slurm_folder=$folder
  chmod 0755 "$folder"
  mkdir -p "$folder"/{state,munge,rootfs,spool}
  (umask 077 && head -c 128 /dev/urandom >"$folder/munge/key")
  chmod 0755 "$folder/munge"
  slurm_configuration "$folder" "$port" >"$folder/slurm.conf"
  printf 'CgroupPlugin=cgroup/v1\nCgroupAutomount=no\nConstrainRAMSpace=yes\nConstrainSwapSpace=no\nConstrainCores=no\nMinRAMSpace=10\n' >"$folder/cgroup.conf"
  # --force: the folder lies below one that everybody may write to.
  munged --force --num-threads=2 --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" || return 1
  export SLURM_CONF=$folder/slurm.conf
  (umask 077 && head -c 32 /dev/urandom >"$folder/jwt.key")
  slurmctld -i || return 1
  for node in 1 2; do
    mkdir "$folder/spool/n$port-$node"
    slurmd -N "n$port-$node" || return 1
  done
  start_slurmrestd "$folder" "$((port + 9))" || return 1
  for ((tries = 0; tries < 100; tries++)); do
    if [ -e "$folder/rest/socket" ] && [ "$(sinfo --noheader --Node --partition=main --format=%t | grep -c idle)" = 2 ]; then return 0; fi
    sleep 0.1
  done
  return 1
}

# As a user without any rights of its own, as sites run it: all that it may do comes with the tokens.
start_slurmrestd() {
  local folder=$1 port=$2
  mkdir "$folder/rest"
  chown nobody "$folder/rest"
  (umask 077 && scontrol token username=root lifespan=86400 >"$folder/token") || return 1
  SLURM_JWT=daemon setsid setpriv --reuid=nobody --regid=nogroup --clear-groups \
    slurmrestd -f "$folder/slurm.conf" -a rest_auth/jwt -s openapi/v0.0.38 "127.0.0.1:$port" "unix:$folder/rest/socket" \
    >"$folder/rest.log" 2>&1 </dev/null &
  echo $! >"$folder/slurmrestd.pid"
  export LONGSHORE_TEST_SLURM_REST=http://127.0.0.1:$port
}

stop_slurm() {
  [ -n "${slurm_folder:-}" ] || return 0
  local file pids=()
  SLURM_CONF=$slurm_folder/slurm.conf scancel --user=root 2>/dev/null || true # it may not have come up
  for file in "$slurm_folder/slurmrestd.pid" "$slurm_folder"/slurmd.*.pid "$slurm_folder/slurmctld.pid" "$slurm_folder/munged.pid"; do
    if [ -s "$file" ]; then pids+=("$(cat "$file")"); fi
  done
  end_processes "${pids[@]}"
  rm -rf "$slurm_folder"
  slurm_folder=
}

# SIGTERM, and what is left after three seconds is killed: none of it has anything to save.
end_processes() {
  local tries
  kill "$@" 2>/dev/null || true # some may have ended
  for ((tries = 0; tries < 30; tries++)); do
    kill -0 "$@" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -KILL "$@" 2>/dev/null || true # the last ended in this moment
}

# The executor image as a folder, as an operator would unpack it for the nodes.
unpack_executor_image() {
  local container
  container=$(docker create "$1" true) || return 1
  docker export "$container" | tar -xf - -C "$2"
  docker rm "$container"
}

# Sets LONGSHORE_TEST_SLURM to the cluster's slurm.conf (a token for slurmrestd and its socket lie beside it), LONGSHORE_TEST_SLURM_REST
# to slurmrestd's address and LONGSHORE_TEST_SLURM_ROOTFS to the executor image's root file system,
# or says why tests that need them will be skipped. Whoever calls it calls stop_slurm at its end.
ensure_slurm() {
  local log=${cache:?}/slurm.log
  if ! is_root || ! have runc; then
    say "note        a Slurm cluster for tests needs root and runc: tests that need it will be skipped."
    return 1
  fi
  if ! has_slurm && on_debian; then one_at_a_time install_slurm || true; fi # the next line tells
  if ! has_slurm; then
    say "note        Slurm is not installed: tests that need it will be skipped."
    return 1
  fi
  if [ ! -d /sys/fs/cgroup/memory ]; then
    say "note        the engine for Slurm knows control groups of version 1 alone: tests that need it will be skipped."
    return 1
  fi
  if ! { start_slurm && unpack_executor_image "${LONGSHORE_EXECUTOR_IMAGE:-longshore/executor:dev}" "$slurm_folder/rootfs"; } >"$log" 2>&1 </dev/null; then
    tail -n 5 "$log" >&2
    say "note        Slurm could not be started ($log): tests that need it will be skipped."
    stop_slurm >/dev/null 2>&1
    return 1
  fi
  export LONGSHORE_TEST_SLURM=$slurm_folder/slurm.conf LONGSHORE_TEST_SLURM_ROOTFS=$slurm_folder/rootfs
}
