#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Runs cells of the bench: `run.sh KIND`, in a guest with one line each in /host/cells, with tabs between
#
#     NAME   STATE   TARGET   BEFORE   WORK
#
# KIND is what origin and store are made of, STATE what lies above the origin, TARGET what is worked on (origin or image; takes: the origin,
# while snapshots of it are taken), BEFORE and WORK are arguments of fio, the first for what is done before and not measured (`-`: nothing).
# TARGET may also be `written`: the image, while the origin is written to; `old` or `new`: a file of this name on an ext4 that is there
# before the state is made; `program`: WORK is the name of a program of lib.sh. Each cell has a state made for it. It leaves fio's JSON in /host/out/NAME.json, and what the snapshot says of itself in
# /host/out/NAME.info; `DONE NAME` goes to the output. Whoever counts instructions puts a file /host/kallsyms there, for the kernel's symbols.
#
# Where $MODULES names the folder of the modules, this is no guest but somebody's machine: /host is $SHARE then, nothing is touched that
# was there before, and all of ours is taken away in the end.
set -Eeuo pipefail
trap 'echo "line $LINENO: $BASH_COMMAND" >&2' ERR
here=${BASH_SOURCE[0]%/*} share=${SHARE:-/host}
# shellcheck source-path=SCRIPTDIR
. "$here/lib.sh"
# shellcheck source-path=SCRIPTDIR
. "$here/files.sh"
# shellcheck source-path=SCRIPTDIR
. "$here/takes.sh"
# shellcheck source-path=SCRIPTDIR
. "$here/pgbench.sh"
# shellcheck source-path=SCRIPTDIR
. "$here/here.sh"

[ -z "${MODULES:-}" ] || guard
devices "$1"
mkdir -p "$share/out" /tmp/files /tmp/backups
while IFS=$'\t' read -r name state target before work; do
    read -r -a words <<<"$state"
    files_before "$target" "$work"
    "up_${words[0]}" "${words[@]:1}"
    [ ! -e "$share/kallsyms" ] || cat /proc/kallsyms >"$share/kallsyms"
    case $target in
    image | written) file=$IMAGE ;;
    old | new) files_here && file=/tmp/files/$target ;;
    program) files_here ;;
    *) file=$TARGET ;;
    esac
    # shellcheck disable=SC2086
    [ "$before" = - ] || fio --name=before --filename="$TARGET" $COMMON $before --output=/dev/null
    # shellcheck disable=SC2086
    [ "$target" = program ] || set -- fio --name=cell --filename="$file" $COMMON $work --output-format=json --output="$share/out/$name.json"
    requests before
    case $target in
    takes) takes "$@" ;;
    written) while_written "$@" ;;
    program) program "$work" >"$share/out/$name.json" ;;
    *) "$@" ;;
    esac
    requests after
    info >"$share/out/$name.info"
    down
    echo "DONE $name"
done <"$share/cells"
