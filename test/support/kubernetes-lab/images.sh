#!/usr/bin/env bash
# images.sh OUT.tar IMAGE...: the images that the lab's nodes have: Docker's own, and a pause image around `lab-pause`. Nothing is pulled.
set -euo pipefail
out=${1:?} pause=longshore/lab-pause:1
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"; docker rmi "$pause" >/dev/null 2>&1 || true' EXIT
install -m 755 "$(command -v lab-pause)" "$folder/pause"
tar -C "$folder" -c pause | docker import -c 'ENTRYPOINT ["/pause"]' - "$pause" >/dev/null
docker save "$pause" "$@" -o "$out"
