# shellcheck shell=bash
# The server's image: by its Dockerfile where an image registry answers, put together by hand otherwise.

# For tests: of what is in the work tree now, and only where one of the programs is there that they start it with.
ensure_server_image() {
  have kone || have docker-compose || return 0
  local inputs
  inputs=$(server_inputs)
  if [ "$(docker image inspect --format "{{index .Config.Labels \"$server_inputs_label\"}}" longshore/server:dev 2>/dev/null || true)" = "$inputs" ]; then return 0; fi
  (build_server_image) || say "note        no image of the server: tests that need it will be skipped."
}

server_inputs_label=longshore.server.inputs

# Everything that decides what is in the image, but Debian's packages.
server_inputs() {
  (cd "$root" && find package.json package-lock.json .npmrc proto/gen executor-image server deploy/image scripts/lib/server-image.sh \
    clients/*/package.json "(" -name node_modules -o -name __pycache__ ")" -prune -o -type f -print0 \
    | LC_ALL=C sort -z | xargs -0 sha256sum | sha256_of - | cut -c1-16)
}

# Afterwards $server_image is the name of an image of this work tree.
build_server_image() {
  server_image=${LONGSHORE_SERVER_IMAGE:-longshore/server:dev}
  local node_image=${LONGSHORE_NODE_IMAGE:-node:24-bookworm-slim} old
  old=$(docker image inspect --format '{{.Id}}' "$server_image" 2>/dev/null || true)
  if pull "$node_image"; then
    say "building    $server_image  from $node_image"
    local log=$cache/server-image.log
    # Its files alone are sent: the ignore file beside the Dockerfile is BuildKit's, which not every Docker here has.
    server_sources | docker build --build-arg "NODE_IMAGE=$node_image" --build-arg "UV_VERSION=$uv_version" ${fresh:+--no-cache --pull} \
      --label "$server_inputs_label=$(server_inputs)" --file deploy/image/Dockerfile --tag "$server_image" - >"$log" 2>&1 ||
      { tail -n 15 "$log" >&2; fail "docker build of deploy/image/Dockerfile failed" "The whole output is in $log."; }
  else
    one_at_a_time assemble_server_image
  fi
  if [ -n "$old" ] && [ "$old" != "$(docker image inspect --format '{{.Id}}' "$server_image")" ]; then
    docker image rm "$old" >/dev/null 2>&1 || true # refused, rightly, while a server still runs from it
  fi
}

# Debian with the programs that the Docker engine calls, as deploy/image/Dockerfile installs them.
server_root_filesystem() {
  local tar=$1
  if [ -z "$fresh" ] && [ -s "$tar" ]; then return 0; fi
  have mmdebstrap || apt_install "building the server image" mmdebstrap
  say "building    $server_image  from Debian packages  (no image registry answers; about half a minute)"
  # shellcheck disable=SC2016 # mmdebstrap sets $1 to the new root when it runs these
  if ! mmdebstrap --quiet --variant=minbase --format=tar --include=ca-certificates,e2fsprogs,iptables,mount \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Retries "3"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='find "$1" -xdev -type f -perm /6000 -exec chmod a-s {} +' \
    --customize-hook='chroot "$1" useradd --system --uid 10001 --user-group --home-dir /var/lib/longshore --create-home --shell /usr/sbin/nologin longshore' \
    --customize-hook='rm -f "$1/etc/resolv.conf" "$1/etc/hostname"' \
    --customize-hook='rm -rf "$1"/var/log/* "$1"/var/cache/debconf/* "$1"/var/lib/dpkg/*-old' \
    "${LONGSHORE_DEBIAN_SUITE:-bookworm}" - ${LONGSHORE_DEBIAN_MIRROR:+"$LONGSHORE_DEBIAN_MIRROR"} >"$tar.part" 2>"$tar.log"; then
    tail -n 15 "$tar.log" >&2
    rm -f "$tar.part"
    fail "mmdebstrap could not make a root filesystem" "The whole output is in $tar.log."
  fi
  rm -f "$cache"/server-rootfs-*.tar "$tar.log"
  mv "$tar.part" "$tar"
}

# What the Dockerfile copies, and only that, as a tar.
server_sources() {
  (cd "$root" && tar -c --exclude=node_modules --exclude=__pycache__ package.json package-lock.json .npmrc proto/gen executor-image server \
    deploy/image clients/typescript/package.json clients/cli/package.json)
}

# The same as it would lie in the image.
lay_out_server() {
  local into=$1 app=$1/opt/longshore
  mkdir -p "$app/clients/typescript" "$app/clients/cli" "$app/deploy" "$into/usr/local/bin"
  server_sources | tar -x -C "$app"
  (cd "$app" && npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund --loglevel=error \
    --workspace=proto/gen --include-workspace-root)
  rm -rf "$app/package-lock.json" "$app/.npmrc" "$app/clients"
  # Where npm made links for packages that are not in the image, they would point nowhere.
  find "$app/node_modules" -xtype l -delete
  cp -L "$(project_node)" "$into/usr/local/bin/node"
  [ -z "${LONGSHORE_UV:-}" ] || cp "$LONGSHORE_UV" "$into/usr/local/bin/uv"
}

assemble_server_image() {
  local work tar status=0
  # By what makes it: a change beside it is no reason to fetch Debian again.
  tar=$cache/server-rootfs-$(declare -f server_root_filesystem | sha256_of - | cut -c1-16).tar
  server_root_filesystem "$tar"
  work=$(mktemp -d)
  # Docker refuses a tar that names a folder twice, so those that Debian has already are left out of what is added.
  { lay_out_server "$work/root" && cp "$tar" "$work/image.tar" \
    && (cd "$work/root" && find opt/longshore usr/local/bin/*) >"$work/list" \
    && tar --append --file "$work/image.tar" --owner=0 --group=0 --mode=u=rwX,go=rX -C "$work/root" --no-recursion --files-from "$work/list" \
    && import_server "$work/image.tar"; } >"$work/log" 2>&1 </dev/null || status=1
  if [ "$status" -ne 0 ]; then tail -n 15 "$work/log" >&2; fi
  rm -rf "$work"
  [ "$status" -eq 0 ] || fail "the server image could not be put together" "What is above says why."
}

import_server() {
  local command
  set_server_command
  # `node OPTION... /path/server/main.ts` becomes `["node","OPTION",...,"server/main.ts"]`.
  command=$(node -p 'JSON.stringify(process.argv.slice(1))' -- node "${server_command[@]:1:${#server_command[@]}-2}" server/main.ts)
  docker import --message "scripts/build-server-image" \
    --change "LABEL $server_inputs_label=$(server_inputs)" \
    --change 'WORKDIR /opt/longshore' --change 'USER 10001:10001' --change 'EXPOSE 50051 9464' \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin NODE_ENV=production' \
    --change 'ENV LONGSHORE_DATA_DIR=/var/lib/longshore/data LONGSHORE_UV=/usr/local/bin/uv' \
    --change 'HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 CMD ["node","--conditions=longshore-source","deploy/image/health.ts"]' \
    --change "CMD $command" "$1" "$server_image" >/dev/null
}
