# shellcheck shell=bash
# shellcheck disable=SC2154,SC2317 # the settings come with the job; traps call functions
# The job of one sandbox. The server puts a first line and the settings above this text: folder, volume_bytes, inodes, uid,
# container, most_tenths. It runs as root on the node: it waits for the server's word, makes the sandbox's file system, has
# runc run the bundle that the server wrote, and leaves its exit status in a file, for Slurm forgets.
set -eu
umask 077
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# Mounts of its own, so that none of them is left on the node however this job ends.
if [ -z "${LONGSHORE_MOUNTS:-}" ]; then
  LONGSHORE_MOUNTS=own exec unshare --mount --propagation private "$BASH" "$0"
fi

asked='' child='' evicted=''
pass() {
  asked=$1
  [ -z "$child" ] || kill -s "$1" "$child" 2>/dev/null || true # it may have ended in this moment
}
leave() {
  printf '%s\n' "$1" >"$folder/exit.new"
  mv "$folder/exit.new" "$folder/exit"
  exit "$1"
}
# What the server sends. SIGTERM is Slurm's own word that the job has to go: the runner, told so, ends at once with status 4.
trap 'pass USR1' USR1
trap 'pass USR2' USR2
trap 'evicted=yes; pass TERM' TERM

: >"$folder/waiting"
for ((tenths = 0; ; tenths++)); do
  # On a network file system it is the listing of a folder that asks for its present content.
  names=" $(cd "$folder" && echo *) "
  case $names in *' stop '*) leave 0 ;; *' ready '*) break ;; esac
  [ -z "$evicted" ] || leave 4
  if [ -n "$asked" ] || [ "$tenths" -ge "$most_tenths" ]; then leave 0; fi
  sleep 0.1
done

# Its name is there for a moment only; a job that was killed in that moment left it.
find "${TMPDIR:-/tmp}" -maxdepth 1 -type f -name 'longshore-volume.*' -mmin +10 -delete 2>/dev/null || true # another job's find was first
image=$(mktemp "${TMPDIR:-/tmp}/longshore-volume.XXXXXXXX")
trap 'rm -f "$image"' EXIT
truncate -s "$volume_bytes" "$image"
mkfs.ext4 -q -F -b 4096 -I 256 -N "$inodes" -m 0 -O ^has_journal,^resize_inode \
  -E lazy_itable_init=1,nodiscard,root_owner=0:0 "$image"
mount -t tmpfs -o size=4m,mode=0700 longshore /mnt
mkdir /mnt/bundle /mnt/state /mnt/volume
mount -t ext4 -o loop,nodev,nosuid,noatime "$image" /mnt/volume
rm -f "$image" # the loop device keeps what it needs
mkdir /mnt/volume/workspace /mnt/volume/tmp /mnt/volume/home
chmod 0755 /mnt/volume /mnt/volume/workspace /mnt/volume/home
chmod 1777 /mnt/volume/tmp
chown "$uid:$uid" /mnt/volume/workspace /mnt/volume/tmp /mnt/volume/home

# The sandbox has groups of its own for what the bundle limits, and stays in the job's for the rest: by them Slurm finds all its
# processes and keeps them to their cores. Those of jobs that were killed are empty.
find /sys/fs/cgroup/*/longshore-jobs -mindepth 1 -maxdepth 1 -type d -mmin +5 -exec rmdir {} + 2>/dev/null || true # in use, or none
for hierarchy in /sys/fs/cgroup/*; do
  [ ! -L "$hierarchy" ] || continue
  case ",${hierarchy##*/}," in *,cpu,* | *,cpuacct,* | *,memory,* | *,pids,* | *,devices,*) continue ;; esac
  if mountpoint -q "$hierarchy"; then umount -l "$hierarchy"; fi
done

cp "$folder/config.json" /mnt/bundle/config.json
# A kernel that does not count swap refuses its limit.
[ -e /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes ] || sed -i 's/"swap":[0-9]*,//' /mnt/bundle/config.json
exec 3<"$folder/spec"
rm -f "$folder/spec" # it holds secrets
[ -z "$evicted" ] || leave 4
# In a session of its own: some ways to signal a job reach the whole process group of its script, and runc would pass everything on twice.
setsid runc --root /mnt/state run --bundle /mnt/bundle "$container" <&3 3<&- &
child=$!
[ -z "$asked" ] || kill -s "$asked" "$child" 2>/dev/null || true # the signal came before there was anybody to pass it on to
# A signal cuts the wait short; what it was passed on to may take its time.
status=0
while :; do
  asked=''
  status=0
  wait "$child" || status=$?
  if [ "$status" -le 128 ] || ! kill -0 "$child" 2>/dev/null; then break; fi
done
# One that had not yet learnt what to do with a signal died of it.
[ -z "$evicted" ] || [ "$status" -eq 0 ] || leave 4
leave "$status"
