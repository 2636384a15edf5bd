# shellcheck shell=bash
# Programs that tests use as independent peers. Built once per version, outside the work tree.

grpcurl_version=v1.9.4

# Puts grpcurl on PATH, or says why tests that need it will be skipped.
ensure_grpcurl() {
  local folder=$cache/tools/grpcurl-$grpcurl_version log
  if [ ! -x "$folder/grpcurl" ]; then
    if ! recent_go; then
      have grpcurl || say "note        no grpcurl, and Go >= 1.21 to build it is missing: tests that need it will be skipped."
      return 0
    fi
    say "building    grpcurl $grpcurl_version  (once, some minutes)"
    mkdir -p "$folder"
    log=$cache/grpcurl.log
    if ! GOBIN=$folder GOFLAGS=-mod=mod go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$grpcurl_version" >"$log" 2>&1 </dev/null; then
      tail -n 5 "$log" >&2
      say "note        grpcurl could not be built ($log): tests that need it will be skipped."
      return 0
    fi
  fi
  export PATH="$folder:$PATH"
}

versitygw_version=v1.8.0

# Puts versitygw on PATH, an S3 server that checks signatures, or says why tests that need it will be skipped.
ensure_s3_server() {
  local folder=$cache/tools/versitygw-$versitygw_version log=$cache/versitygw.log
  if [ ! -x "$folder/versitygw" ]; then
    if ! recent_go; then
      have versitygw || say "note        no versitygw, and Go >= 1.21 to build it is missing: tests that need an S3 server will be skipped."
      return 0
    fi
    say "building    versitygw $versitygw_version  (once, a minute or two)"
    mkdir -p "$folder"
    # One package at a time: its largest ones together need more memory than small machines have.
    if ! GOBIN=$folder GOFLAGS="-mod=mod -p=1" go install "github.com/versity/versitygw/cmd/versitygw@$versitygw_version" >"$log" 2>&1 </dev/null; then
      tail -n 5 "$log" >&2
      say "note        versitygw could not be built ($log): tests that need an S3 server will be skipped."
      return 0
    fi
  fi
  export PATH="$folder:$PATH"
}

# Puts promtool on PATH, or says why tests that need it will be skipped. Taken out of Debian's package, whose service would start a server.
ensure_promtool() {
  local folder
  folder=$cache/tools/promtool-debian-$(os_release VERSION_ID)
  if [ ! -x "$folder/promtool" ]; then
    if ! on_debian; then
      have promtool || say "note        no promtool: tests that need it will be skipped (it comes with Prometheus)."
      return 0
    fi
    say "fetching    promtool"
    if ! fetch_promtool "$folder" >"$cache/promtool.log" 2>&1 </dev/null; then
      tail -n 5 "$cache/promtool.log" >&2
      say "note        promtool could not be had ($cache/promtool.log): tests that need it will be skipped."
      return 0
    fi
  fi
  export PATH="$folder:$PATH"
}

fetch_promtool() {
  local folder=$1 work status=0
  work=$(mktemp -d)
  (
    cd "$work" || exit 1
    apt-get -q download prometheus || { is_root && apt-get -q update && apt-get -q download prometheus; } || exit 1
    dpkg-deb -x prometheus_*.deb . && mkdir -p "$folder" && mv usr/bin/promtool "$folder/promtool"
  ) || status=1
  rm -rf "$work"
  return "$status"
}

# From 1.21 on, Go fetches the newer toolchain that a program asks for.
recent_go() {
  have go || return 1
  local version
  version=$(go env GOVERSION 2>/dev/null)
  [[ $version =~ ^go1\.([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge 21 ]
}
