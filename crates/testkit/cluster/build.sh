#!/usr/bin/env bash
# Builds the programs that the tests run as a cluster, and prints where they are:
#
#   KUBEBUILDER_ASSETS=/.../apiserver-<sha256>   kube-apiserver, etcd
#   TOOLHIVE_ASSETS=/.../toolhive-<sha256>       thv-operator, vmcp, toolhive-reporter, crds/
#
# Everything else goes to standard error. go.mod and go.sum pin every source.
# The results are kept outside the checkout, in
# ${VMCP_STATUS_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vmcp-status-tests},
# under names made from the inputs: the sources here, this script, and the
# version of Go. A second run only prints; a changed input means a new build.
set -euo pipefail

# Standard output is for the two lines only, whatever a tool prints.
exec 3>&1 1>&2

say() { printf 'cluster/build.sh: %s\n' "$*"; }
die() { say "error: $*"; exit 1; }

for tool in flock sha256sum; do
    command -v "$tool" >/dev/null || die "$tool is needed and not here"
done
command -v go >/dev/null || die "Go 1.26 or later is needed and not here (https://go.dev/dl)"

# The machine's own Go with none of the caller's settings that would change what
# is built. The programs run anywhere without a C library.
unset GOOS GOARCH GOEXPERIMENT
export GOTOOLCHAIN=local GOWORK=off GO111MODULE=on GOFLAGS=-mod=readonly CGO_ENABLED=0

version=$(go version)
[[ $version =~ go1\.([0-9]+) && ${BASH_REMATCH[1]} -ge 26 ]] ||
    die "Go 1.26 or later is needed, and this is: $version"

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
cache=${VMCP_STATUS_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vmcp-status-tests}
mkdir -p -- "$cache"
cache=$(cd -- "$cache" && pwd)

# key NAME: the hash of everything that decides what the build of NAME yields.
key() {
    (
        cd -- "$here"
        printf '%s\n' "$version"
        find "$1" build.sh -type f \( -name '*.go' -o -name go.mod -o -name go.sum -o -name build.sh \) -print0 |
            LC_ALL=C sort -z | xargs -0 sha256sum
    ) | sha256sum | cut -d' ' -f1
}
apiserver=$cache/apiserver-$(key apiserver)
toolhive=$cache/toolhive-$(key toolhive)

# A folder gets its name only when everything is in it, so a folder that is
# there is whole.
print_if_built() {
    [[ -d $apiserver && -d $toolhive ]] || return 1
    printf 'KUBEBUILDER_ASSETS=%s\nTOOLHIVE_ASSETS=%s\n' "$apiserver" "$toolhive" >&3
}

print_if_built && exit 0

exec 9>"$cache/.lock"
if ! flock -n 9; then
    say "another build is under way, waiting for it"
    flock 9
    print_if_built && exit 0
fi

# Only the holder of the lock makes such folders, so those that are here now
# were left by a run that was cut short.
rm -rf -- "$cache"/.building-*
work=$(mktemp -d -- "$cache/.building-XXXXXX")
trap 'rm -rf -- "$work"' EXIT

# A registry may be out of reach for a moment, but not three times.
download() {
    local try
    for try in 1 2 3; do
        (cd -- "$here/$1" && go mod download) && return 0
        say "downloading the modules of $1 failed (try $try of 3)"
        ((try == 3)) || sleep $((try * 10))
    done
    die "the modules of $1 cannot be downloaded: is $(go env GOPROXY) reachable?"
}

# build NAME PACKAGE PROGRAM [LDFLAGS]: builds one program of the module NAME.
build() {
    local start=$SECONDS
    # Without a proxy, a module that the download has missed is an error here
    # instead of a download that nothing retries.
    (
        cd -- "$here/$1" &&
            GOPROXY=off nice -n 10 go build -trimpath -buildvcs=false -ldflags "-s -w ${4:-}" \
                -o "$work/$1/$3" "$2"
    ) || die "$3 cannot be built"
    say "built $3 in $((SECONDS - start)) s"
}

# module NAME PATH FIELD: what the module NAME has of its dependency PATH.
module() { (cd -- "$here/$1" && go list -m -f "{{.$3}}" "$2"); }

# finish NAME RESULT: makes a build visible, all at once.
finish() {
    mv -T -- "$work/$1" "$2"
    say "done: $2"
}

build_apiserver() {
    mkdir -- "$work/apiserver"
    download apiserver
    local kubernetes
    kubernetes=$(module apiserver k8s.io/kubernetes Version)
    say "building Kubernetes $kubernetes and its etcd"
    build apiserver . kube-apiserver "-X k8s.io/component-base/version.gitVersion=$kubernetes"
    build apiserver go.etcd.io/etcd/server/v3 etcd
    "$work/apiserver/kube-apiserver" --version || die "kube-apiserver does not run here"
    "$work/apiserver/etcd" --version || die "etcd does not run here"
    finish apiserver "$apiserver"
}

build_toolhive() {
    mkdir -- "$work/toolhive"
    download toolhive
    local source=github.com/stacklok/toolhive
    say "building ToolHive $(module toolhive $source Version)"
    build toolhive $source/cmd/thv-operator thv-operator
    build toolhive ./reporter toolhive-reporter
    build toolhive $source/cmd/vmcp vmcp
    cp -R -- "$(module toolhive $source Dir)/deploy/charts/operator-crds/files/crds" "$work/toolhive/crds" ||
        die "ToolHive has no CRDs where they used to be"
    # Module sources are read-only, and so are copies of them, which then cannot
    # be moved or deleted.
    chmod -R u+w -- "$work/toolhive/crds"
    finish toolhive "$toolhive"
}

[[ -d $apiserver ]] || build_apiserver
[[ -d $toolhive ]] || build_toolhive
print_if_built
