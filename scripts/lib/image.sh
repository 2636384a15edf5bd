# shellcheck shell=bash
# The executor image: from the official Python image where an image registry answers, from Debian packages otherwise.

inputs_label=longshore.executor.inputs
# "yes": take nothing from a cache.
fresh=

# Everything that decides what is in the image. The runner is not: the server mounts it.
executor_inputs() {
  { cat "$root/executor-image/Dockerfile" "$root/executor-image/bootstrap"; printf '%s\n' "$python_image"; } | sha256_of - | cut -c1-16
}

image_label() { docker image inspect --format "{{index .Config.Labels \"$inputs_label\"}}" "$executor_image" 2>/dev/null || true; }

up_to_date() { [ -z "$fresh" ] && [ "$(image_label)" = "$1" ]; }

# Seconds matter where there is no registry, minutes are fine where there is a slow one: so a short try decides whether it
# answers at all, and only then is a long one made. Layers that the first has fetched are kept.
pull() {
  local image=$1 log found=1
  if [ -z "$fresh" ] && docker image inspect "$image" >/dev/null 2>&1; then return 0; fi
  log=$(mktemp)
  if timeout 20 docker pull "$image" >"$log" 2>&1; then
    found=0
  elif grep -qE 'Pulling|Downloading|Download complete' "$log"; then
    say "pulling     $image"
    if timeout 900 docker pull "$image" >"$log" 2>&1; then found=0; fi
  fi
  rm -f "$log"
  return $found
}

build_from_registry() {
  local log=$cache/docker-build.log
  say "building    $executor_image  from $python_image"
  if ! docker build --build-arg "PYTHON_IMAGE=$python_image" --label "$inputs_label=$1" --label longshore.executor.base=registry \
    --tag "$executor_image" "$root/executor-image" >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    fail "docker build of executor-image/Dockerfile failed" "The whole output is in $log."
  fi
}

# Makes $1 unless the cache has it. A tar that was cut short never gets the name that counts.
root_filesystem() {
  local tar=$1
  if [ -z "$fresh" ] && [ -s "$tar" ]; then return 0; fi
  if ! have mmdebstrap; then
    on_debian || fail "no image registry answers, and mmdebstrap is missing (this is $(system_name))" \
      "Where $python_image can be had: docker save $python_image | ssh THIS-MACHINE docker load" \
      "then run this again; or install mmdebstrap, which makes an image from Debian packages."
    apt_install "building the executor image" mmdebstrap
  fi
  say "building    $executor_image  from Debian packages  (no image registry answers; about half a minute)"
  if ! bash "$root/executor-image/bootstrap" >"$tar.part" 2>"$tar.log"; then
    tail -n 15 "$tar.log" >&2
    rm -f "$tar.part"
    fail "mmdebstrap could not make a root filesystem" \
      "The whole output is in $tar.log. It needs a Debian mirror (LONGSHORE_DEBIAN_MIRROR names another one) and, without root, user namespaces."
  fi
  rm -f "$cache"/executor-rootfs-*.tar "$tar.log"
  mv "$tar.part" "$tar"
}

build_from_packages() {
  local inputs=$1 tar="$cache/executor-rootfs-$1.tar"
  root_filesystem "$tar"
  docker import --message "executor-image/bootstrap" \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' --change 'ENV LANG=C.UTF-8' \
    --change 'CMD ["python3"]' \
    --change "LABEL $inputs_label=$inputs" --change 'LABEL longshore.executor.base=bootstrap' \
    "$tar" "$executor_image" >/dev/null
}

build_image() {
  local inputs=$1 old
  # Another script may have built it while this one waited for its turn.
  up_to_date "$inputs" && return 0
  old=$(docker image inspect --format '{{.Id}}' "$executor_image" 2>/dev/null || true)
  if pull "$python_image"; then build_from_registry "$inputs"; else build_from_packages "$inputs"; fi
  docker run --rm --network none "$executor_image" python3 -c 'import ctypes, json, ssl, sqlite3, venv' ||
    fail "$executor_image was built but its Python does not work" "Build it again from nothing: scripts/build-image --fresh"
  # Refused, rightly, while a sandbox still runs from it.
  [ -z "$old" ] || docker image rm "$old" >/dev/null 2>&1 || true
  say "built       $executor_image  ($(docker image inspect --format '{{.Size}}' "$executor_image" | awk '{ printf "%d MB", $1 / 1000000 }'))"
}

# Afterwards $executor_image is the name of an image that is there.
ensure_image() {
  local inputs
  executor_image=${LONGSHORE_EXECUTOR_IMAGE:-longshore/executor:dev}
  python_image=${LONGSHORE_PYTHON_IMAGE:-python:3.11-slim}
  inputs=$(executor_inputs)
  up_to_date "$inputs" && return 0
  # A name that is not ours belongs to someone else's image: it is used, never overwritten.
  if [[ $executor_image != longshore/* ]]; then
    pull "$executor_image" || fail "LONGSHORE_EXECUTOR_IMAGE=$executor_image is neither here nor can it be pulled" \
      "Load it with docker load, or unset LONGSHORE_EXECUTOR_IMAGE to have longshore/executor:dev built."
    return 0
  fi
  one_at_a_time build_image "$inputs"
}
