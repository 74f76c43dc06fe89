#!/bin/sh
# Builds the static binary: ./musl-build.sh [x86_64] [aarch64] leaves dist/repo-deploy-x86_64 and dist/repo-deploy-aarch64.
# Without arguments: for this machine. Needs rustup and gcc; for aarch64 on another machine also aarch64-linux-gnu-gcc.
# The same sources, rustc and gcc make the same bytes in every directory.
set -eu
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- "$(uname -m)"

# Remaps the paths in panic messages: those of crates begin below the registry, those of the standard library are those of
# rustc's own build. The flags are separated by the unit separator, because a path may have blanks.
remap() {
    cargo fetch --quiet --locked --target "$1"
    flags=--remap-path-prefix=$(rustc --print sysroot)/lib/rustlib/src/rust=/rustc/$(rustc -vV | sed -n 's/^commit-hash: //p')
    for index in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
        flags=$flags$(printf '\037')--remap-path-prefix=$index=
    done
    echo "$flags"
}

for arch in "$@"; do
    case $arch in
        x86_64 | aarch64) ;;
        *) echo "musl-build.sh: unknown architecture $arch: use x86_64 or aarch64" >&2; exit 64 ;;
    esac
done
for arch in "$@"; do
    target=$arch-unknown-linux-musl
    rustup target list --installed | grep -qx "$target" || rustup target add "$target"
    if [ "$arch" = aarch64 ] && ! command -v aarch64-linux-gnu-gcc >/dev/null; then
        if [ "$(uname -m)" = aarch64 ]; then
            export CC_aarch64_unknown_linux_musl=gcc
        else
            echo "musl-build.sh: aarch64 needs a cross compiler: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross" >&2
            exit 1
        fi
    fi
    CARGO_ENCODED_RUSTFLAGS=$(remap "$target")
    export CARGO_ENCODED_RUSTFLAGS
    cargo build --release --locked --target "$target"
    mkdir -p dist
    cp "${CARGO_TARGET_DIR:-target}/$target/release/repo-deploy" "dist/repo-deploy-$arch"
    echo "dist/repo-deploy-$arch: $(wc -c < "dist/repo-deploy-$arch") bytes"
done
