#!/bin/sh
# Builds the static binary: ./musl-build.sh [x86_64] [aarch64] leaves dist/repo-deploy-x86_64 and dist/repo-deploy-aarch64.
# Without arguments: for this machine. Needs rustup and gcc; for aarch64 on another machine also aarch64-linux-gnu-gcc.
set -eu
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- "$(uname -m)"
for arch in "$@"; do
    case $arch in
        x86_64 | aarch64) ;;
        *) echo "musl-build.sh: unknown architecture $arch: use x86_64 or aarch64" >&2; exit 64 ;;
    esac
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
    cargo build --release --locked --target "$target"
    mkdir -p dist
    cp "${CARGO_TARGET_DIR:-target}/$target/release/repo-deploy" "dist/repo-deploy-$arch"
    echo "dist/repo-deploy-$arch: $(wc -c < "dist/repo-deploy-$arch") bytes"
done
