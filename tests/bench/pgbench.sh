# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# PostgreSQL, from $share/postgresql: Debian's packages, unpacked. In the guest's memory, so that no program is read while it is measured.

DATABASE=/tmp/postgresql

# as_nobody PROGRAM ARGUMENTS…: PostgreSQL does not run as root.
as_nobody() {
    (
        cd /
        export LD_LIBRARY_PATH=$DATABASE/usr/lib/x86_64-linux-gnu
        exec setpriv --reuid nobody --regid nogroup --clear-groups "$DATABASE"/usr/lib/postgresql/*/bin/"$1" "${@:2}"
    )
}

server() { as_nobody pg_ctl -D "$1" -w -s -l /tmp/socket/log -o "-k /tmp/socket -h ''" "${@:2}"; }

# A cluster is made once: each origin gets a copy.
cluster() {
    [ ! -d /tmp/cluster ] || return 0
    cp -r "$share/postgresql" $DATABASE
    install -d -o nobody /tmp/socket /tmp/cluster
    as_nobody initdb -D /tmp/cluster --no-locale -E UTF8 -A trust --wal-segsize 1 --no-sync --no-instructions >/dev/null
    # What comes by itself is not measured.
    printf '%s\n' jit=off autovacuum=off checkpoint_timeout=1h max_wal_size=1GB fsync=off >>/tmp/cluster/postgresql.conf
    server /tmp/cluster start
    as_nobody pgbench -i -q -h /tmp/socket postgres 2>/dev/null
    server /tmp/cluster stop
    echo fsync=on >>/tmp/cluster/postgresql.conf
}

before_pgbench() {
    cluster
    cp -a /tmp/cluster /tmp/files/cluster
}

ready_pgbench() { server /tmp/files/cluster start; }

# With what it writes of its tables in the end.
program_pgbench() {
    as_nobody pgbench -n -t 500 --random-seed 7 -h /tmp/socket postgres >/dev/null
    as_nobody psql -q -h /tmp/socket -c CHECKPOINT postgres
    echo 500
}

done_pgbench() { server /tmp/files/cluster stop; }
