#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Starts xtask. On a machine without a Rust of our age, Debian's own packages of it are installed first.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:$HOME/.cargo/bin
wanted=$(sed -n 's/^rust-version = "1\.\([0-9]*\)".*/\1/p' Cargo.toml)

old() {
    command -v cargo >/dev/null 2>&1 && command -v cc >/dev/null 2>&1 || return 0
    have=$(cargo --version 2>/dev/null | sed -n 's/^cargo 1\.\([0-9]*\).*/\1/p')
    [ "${have:-0}" -lt "$wanted" ]
}

if old; then
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "blk-snap needs cargo 1.$wanted or newer and a C compiler" >&2
        exit 1
    fi
    echo "installing Rust (Debian's cargo-web, rustc-web) and gcc"
    install="$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends cargo-web rustc-web gcc libc6-dev"
    $install >/dev/null 2>&1 || { $sudo apt-get update -q >/dev/null && $install >/dev/null; }
    if old; then
        echo "cargo is still older than 1.$wanted: please install a newer Rust" >&2
        exit 1
    fi
fi
exec cargo run --quiet --package xtask -- "$@"
