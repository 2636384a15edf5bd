# shellcheck shell=bash
# Jaeger's all-in-one, which the trace test asks what it has received. Built once per version, outside the work tree.

jaeger_version=v1.76.0

# Puts jaeger-all-in-one on PATH, or says why the test that needs it will be skipped.
ensure_jaeger() {
  local folder=$cache/tools/jaeger-$jaeger_version log=$cache/jaeger.log
  if [ ! -x "$folder/jaeger-all-in-one" ]; then
    if ! recent_go; then
      have jaeger-all-in-one || say "note        no Jaeger, and Go >= 1.21 to build it is missing: the test that needs it will be skipped."
      return 0
    fi
    say "building    Jaeger $jaeger_version  (once, some minutes)"
    if ! build_jaeger "$folder" >"$log" 2>&1 </dev/null; then
      tail -n 5 "$log" >&2
      say "note        Jaeger could not be built ($log): the test that needs it will be skipped."
      return 0
    fi
  fi
  export PATH="$folder:$PATH"
}

# `go install` refuses a module that replaces others, as Jaeger's does: it is built from a module beside it, with its own versions
# and sums. The pages of its user interface are not in there; its query API is.
build_jaeger() {
  local folder=$1 module=github.com/jaegertracing/jaeger work source status=0
  work=$(mktemp -d)
  (
    cd "$work" || exit 1
    source=$(GOFLAGS=-mod=mod go mod download -json "$module@$jaeger_version" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p')
    sed 's/^module .*/module longshore.test\/jaeger/' "$source/go.mod" >go.mod \
      && cat "$source/go.sum" >go.sum \
      && go mod edit -require="$module@$jaeger_version" \
      && go build -mod=mod -ldflags '-s -w' -o jaeger-all-in-one "$module/cmd/all-in-one" \
      && mkdir -p "$folder" && mv jaeger-all-in-one "$folder/"
  ) || status=1
  rm -rf "$work"
  return "$status"
}
