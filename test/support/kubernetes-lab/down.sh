#!/usr/bin/env bash
# down.sh RUN: stops what up.sh started, by process id, and removes its mounts, bridges, network namespaces and control groups.
run=${1:?}
[ -f "$run/started" ] || exit 0
stop() { # FILE...: asks each to end and waits for all of them
  local file
  for file in "$@"; do [ -s "$file" ] && kill "$(cat "$file")" 2>/dev/null; done
  for file in "$@"; do
    [ -s "$file" ] || continue
    for _ in $(seq 100); do kill -0 "$(cat "$file")" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$(cat "$file")" 2>/dev/null
  done
}
stop "$run"/*-kubelet.pid "$run/kcm.pid" "$run/sched.pid" "$run/apiserver.pid"
for socket in "$run"/n[0-9]*/c.sock; do
  [ -S "$socket" ] || continue
  for task in $(ctr -a "$socket" -n k8s.io tasks ls -q 2>/dev/null); do timeout 10 ctr -a "$socket" -n k8s.io tasks rm -f "$task" >/dev/null 2>&1; done
  for container in $(ctr -a "$socket" -n k8s.io containers ls -q 2>/dev/null); do timeout 10 ctr -a "$socket" -n k8s.io containers rm "$container" >/dev/null 2>&1; done
done
stop "$run"/*-containerd.pid "$run/etcd.pid"
# Shims of these containerds alone: their command line names the socket.
for pid in $(ps -eo pid,args | awk -v run="$run/" '/containerd-shim/ && index($0, run) {print $1}'); do kill "$pid" 2>/dev/null; done
awk -v run="$run/" 'index($2, run) == 1 {print $2}' /proc/mounts | sort -r | xargs -r umount -l 2>/dev/null
find /var/run/netns -maxdepth 1 -name 'cni-*' -newer "$run/started" -printf '%f\n' 2>/dev/null | xargs -r -n 1 ip netns del 2>/dev/null
for node in "$run"/n[0-9]*; do
  name=$(basename "$node")
  [ "$name" = "${name%%-*}" ] || continue
  ip link del "k$name" 2>/dev/null
  for group in /sys/fs/cgroup/*/"lab-$name"; do [ -d "$group" ] && find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null; done
done
[ -s "$run/sysctl.saved" ] && sysctl -q -p "$run/sysctl.saved"
rm -rf --one-file-system "$run"
