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

# From 1.21 on, Go fetches the newer toolchain that a program asks for.
recent_go() {
  have go || return 1
  local version
  version=$(go env GOVERSION 2>/dev/null)
  [[ $version =~ ^go1\.([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge 21 ]
}
