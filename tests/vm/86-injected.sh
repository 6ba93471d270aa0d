# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Allocations and I/O that fail on demand, only where one of our functions is on the stack: the debug kernel's fault injection.
# Whatever fails, the origin holds what was written to it, the image is right or EIO, and afterwards all is as new.

FAULTS=/sys/kernel/debug
MANY=1000000000
INJECTED=0

# inject KIND PERCENT FROM TO: of what is asked for below code at FROM ≤ address < TO, so many of a hundred fail.
inject() {
    local kind=$FAULTS/$1 file
    for file in "$kind"/ignore-gfp-* "$kind/task-filter"; do [ ! -e "$file" ] || echo N >"$file"; done
    [ ! -e "$kind/min-order" ] || echo 0 >"$kind/min-order"
    echo 0 >"$kind/verbose"
    echo 32 >"$kind/stacktrace-depth"
    echo "$3" >"$kind/require-start"
    echo "$4" >"$kind/require-end"
    echo $MANY >"$kind/times"
    # Whatever happens to the test, the next one is free of it.
    trap 'echo 0 | tee $FAULTS/fail*/probability >/dev/null' EXIT
    echo "$2" >"$kind/probability"
}

# calm KIND: no more of it. How often it happened is added to $INJECTED.
calm() {
    echo 0 >"$FAULTS/$1/probability"
    INJECTED=$((INJECTED + MANY - $(<"$FAULTS/$1/times")))
    echo $MANY >"$FAULTS/$1/times"
}

reached() {
    note "$INJECTED failures injected"
    [ $INJECTED -gt 0 ] || fail "nothing was made to fail"
}

# The addresses of all code of a module, in $FROM and $TO.
code() {
    local size address
    read -r _ size _ _ _ address _ < <(grep "^$1 " /proc/modules)
    FROM=$address TO=$(printf '0x%x' $((address + size)))
}

# The addresses of functions of blksnap in $FROM and $TO: of one, up to but without another.
code_of() {
    FROM=0x$(awk -v name="$1" '$3 == name && $4 == "[blksnap]" { print $1 }' /proc/kallsyms)
    TO=0x$(awk -v name="$2" '$3 == name && $4 == "[blksnap]" { print $1 }' /proc/kallsyms)
    ((FROM < TO)) || fail "no code of $1: $FROM to $TO"
}

# Copies, stores and image reads while KIND fails PERCENT of the time below FROM…TO.
injected_load() {
    local kind=$1 percent=$2 round eio=0
    for round in 1 2 3; do
        stamp load $A --direct --journal $W/1.journal --seconds 0.4 --range 8388608
        copy $A $W/copy 16
        snapshot $STORE -- $A
        inject "$kind" "$percent" "$FROM" "$TO"
        stamp load $A --direct --journal $W/2.journal --seconds 1 --seed 2 --range 16777216
        snapc judge "${IMAGE[0]}" $W/copy >$W/judged || { calm "$kind" && fail "the image is wrong: $(tail -n 1 $W/judged)"; }
        calm "$kind"
        eio=$((eio + $(value eio <$W/judged)))
        snapc judge "${IMAGE[0]}" $W/copy
        destroy
        stamp prove $A:$W/1.journal:$W/2.journal --foreign
        rm $W/?.journal
    done
    note "$eio blocks could not be read"
    reached
    whole
}

# A snapshot without faults, as if nothing had been.
whole() {
    copy $A $W/copy 16
    snapshot $STORE -- $A
    stamp load $A --direct --journal $W/3.journal --seconds 0.3 --seed 3
    snapc judge "${IMAGE[0]}" $W/copy >$W/judged
    same "$(value eio <$W/judged)" 0 "blocks of a whole image that cannot be read"
    destroy
}

t_injected_slab_failures_while_copying() { # debug
    code blksnap
    injected_load failslab 5
}

t_injected_page_failures_while_copying() { # debug
    code blksnap
    injected_load fail_page_alloc 20
}

# What we send to the disk ourselves, reads of the origin, fails; what others send does not.
t_injected_read_errors_of_the_origin() { # debug
    code_of bsk_io_submit bsk_io_link
    echo 1 >"/sys/block/${A#/dev/}/make-it-fail"
    injected_load fail_make_request 2
    echo 0 >"/sys/block/${A#/dev/}/make-it-fail"
}

t_injected_read_errors_of_the_image() { # debug
    code_of bsk_io_forward bsk_io_free
    echo 1 >"/sys/block/${A#/dev/}/make-it-fail"
    injected_load fail_make_request 5
    echo 0 >"/sys/block/${A#/dev/}/make-it-fail"
}

t_injected_errors_of_the_store() { # debug
    local STORE=$B
    code_of bsk_io_submit bsk_io_link
    echo 1 >"/sys/block/${B#/dev/}/make-it-fail"
    injected_load fail_make_request 2
    echo 0 >"/sys/block/${B#/dev/}/make-it-fail"
}

# When a slab cache gets no memory, the kernel prints a call trace by itself, as if something were wrong.
but_for_slab_caches() {
    local from to
    read -r from to < <(sort /proc/kallsyms | awk 'found { print from, $1; exit } $3 == "kmem_cache_create_usercopy" { found = 1; from = $1 }')
    echo "0x$from" >"$FAULTS/$1/reject-start"
    echo "0x$to" >"$FAULTS/$1/reject-end"
}

# A take that does not get its memory, in whichever of its steps (the open of the control file is the first), says ENOMEM and nothing else;
# it leaves nothing, and the next one works.
injected_takes() {
    local i taken=0
    but_for_slab_caches "$1"
    code blksnap
    stamp load $A --direct --journal $W/1.journal --seconds 0.3
    for i in {1..20}; do
        inject "$1" "$2" "$FROM" "$TO"
        if snapc snapshot memory 0 $A >$W/snapshot 2>$W/error; then
            taken=$((taken + 1))
        elif [ "$(<$W/error)" != ENOMEM ]; then
            calm "$1"
            fail "a take failed with $(<$W/error)"
        fi
        calm "$1"
        for ID in $(snapc collect 16); do snapc destroy "$ID"; done
    done
    note "$taken of 20 takes came through"
    [ $taken -lt 20 ] || fail "no take failed"
    reached
    stamp prove $A:$W/1.journal --foreign
    whole
}

t_injected_slab_failures_at_takes() { # debug
    injected_takes failslab 1
}

t_injected_page_failures_at_takes() { # debug
    injected_takes fail_page_alloc 30
}

# An attach that does not get its memory says ENOMEM; a detach needs none.
t_injected_slab_failures_at_attaches() { # debug
    local i attached=0
    but_for_slab_caches failslab
    code blkfilter
    stamp load $A --direct --journal $W/1.journal --seconds 0.3
    for i in {1..40}; do
        inject failslab 10 "$FROM" "$TO"
        if snapc attach "$(node $A)" 2>$W/error; then
            attached=$((attached + 1))
            snapc detach "$(node $A)"
        elif [ "$(<$W/error)" != ENOMEM ]; then
            fail "an attach failed with $(<$W/error)"
        fi
        calm failslab
    done
    note "$attached of 40 attaches came through"
    [ $attached -gt 0 ] && [ $attached -lt 40 ]
    stamp prove $A:$W/1.journal --foreign
    whole
}
