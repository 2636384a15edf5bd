# shellcheck shell=bash
# A Kubernetes cluster for tests: etcd and all components of Kubernetes in one program, built once per version outside the work tree.

kubernetes_version=1.34.4

# ensure_kubernetes BUILD: puts the lab's programs on PATH, or says why the tests that need them will be skipped. Without BUILD=build it
# only takes what an earlier build has left: 7 to 14 minutes are too long for a run of everything.
ensure_kubernetes() {
  local folder=$cache/tools/kubernetes-lab-$kubernetes_version log=$cache/kubernetes-lab.log
  is_root || { say "note        the Kubernetes lab needs root: tests that need it will be skipped."; return 0; }
  if [ ! -x "$folder/kone" ]; then
    if [ "$1" != build ]; then
      say "note        no Kubernetes lab: tests that need it will be skipped. scripts/test kubernetes builds it, once, in 7 to 14 minutes."
      return 0
    fi
    if ! recent_go; then
      say "note        no Kubernetes lab, and Go >= 1.21 to build it is missing: tests that need it will be skipped."
      return 0
    fi
    say "building    Kubernetes $kubernetes_version  (once, 7 to 14 minutes)"
    if ! build_kubernetes "$folder" >"$log" 2>&1 </dev/null; then
      tail -n 5 "$log" >&2
      say "note        Kubernetes could not be built ($log): tests that need it will be skipped."
      return 0
    fi
  fi
  on_debian && apt_install "the Kubernetes lab's network" containernetworking-plugins iproute2 openssl curl
  export PATH="$folder:$PATH"
}

build_kubernetes() {
  local folder=$1 work status=0 version=k8s.io/component-base/version
  work=$(mktemp -d)
  (
    cp -r "$root/test/support/kubernetes-lab/." "$work" && chmod -R u+w "$work" && cd "$work" || exit 1
    # One package at a time: its largest ones together need more memory than small machines have.
    export CGO_ENABLED=0 GOFLAGS="-mod=readonly -p=1"
    go build -trimpath -o kone -ldflags "-s -w -X $version.gitVersion=v$kubernetes_version -X $version.gitMajor=1 -X $version.gitMinor=34 -X $version.gitTreeState=clean -X k8s.io/client-go/pkg/version.gitVersion=v$kubernetes_version" . \
      && (cd pause && go build -trimpath -ldflags '-s -w' -o ../pause-program .) \
      && mkdir -p "$folder" && mv pause-program "$folder/lab-pause" && mv kone "$folder/kone"
  ) || status=1
  rm -rf "$work"
  return "$status"
}
