// SPDX-License-Identifier: GPL-2.0-only

//! The only `extern "C"` block: `shim/shim.h`, line by line and section by section.
//!
//! Contexts, meanings and who owns what are said there, and not repeated here. Only `kern` sees this module.

#![allow(missing_docs, reason = "shim.h is the documentation")]

use core::ffi::{c_char, c_int, c_long, c_uint, c_ulong, c_void};
use core::ptr::NonNull;
use core::sync::atomic::AtomicPtr;

unsafe extern "C" {
    // ---- print.c ----
    pub(crate) fn bsk_print(level: c_int, text: *const u8, len: usize);

    // ---- alloc.c ----
    pub(crate) fn bsk_alloc(size: usize, align: usize, zero: bool) -> *mut c_void;
    pub(crate) fn bsk_free(ptr: *mut c_void);

    // ---- filter.c ----
    pub(crate) fn bsk_filter_register(
        name: *const u8,
        attach: unsafe extern "C" fn(*mut c_void, *mut c_void, *const c_void, u32, *mut *mut c_void) -> c_int,
        insists: unsafe extern "C" fn(*const c_void, u32) -> c_int,
        may_detach: unsafe extern "C" fn(*mut c_void) -> c_int,
        leaving: unsafe extern "C" fn(*mut c_void),
        detach: unsafe extern "C" fn(*mut c_void),
        ctl: unsafe extern "C" fn(*mut c_void, u32, *mut c_void, *mut u32) -> c_int,
        submit: unsafe extern "C" fn(*mut c_void, NonNull<c_void>, u64, u64, u32) -> c_int,
    ) -> c_int;
    pub(crate) fn bsk_filter_unregister();

    // ---- linux/blk-filter.h ----
    pub(crate) fn blkfilter_submit(fdev: *mut c_void, bio: *mut c_void);
    pub(crate) fn blkfilter_gate_close(fdev: *mut c_void);
    pub(crate) fn blkfilter_gate_drain(fdev: *mut c_void, timeout_ms: u32) -> c_int;
    pub(crate) fn blkfilter_gate_open(fdev: *mut c_void);
    pub(crate) fn blkfilter_dev_get(fdev: *mut c_void);
    pub(crate) fn blkfilter_dev_put(fdev: *mut c_void);
    pub(crate) fn blkfilter_after(bio: *mut c_void, call: unsafe extern "C" fn(*mut c_void), arg: *mut c_void) -> bool;
}

// ---- snap.h: what blksnap.ko needs ----
unsafe extern "C" {
    // sync.c
    pub(crate) fn bsk_mutex_new(class: u32) -> *mut c_void;
    pub(crate) fn bsk_mutex_free(m: *mut c_void);
    pub(crate) fn bsk_mutex_lock(m: *mut c_void);
    pub(crate) fn bsk_mutex_trylock(m: *mut c_void) -> bool;
    pub(crate) fn bsk_mutex_unlock(m: *mut c_void);
    pub(crate) fn bsk_spin_new(class: u32) -> *mut c_void;
    pub(crate) fn bsk_spin_free(l: *mut c_void);
    pub(crate) fn bsk_spin_lock(l: *mut c_void) -> c_ulong;
    pub(crate) fn bsk_spin_unlock(l: *mut c_void, flags: c_ulong);
    pub(crate) fn bsk_wait_new() -> *mut c_void;
    pub(crate) fn bsk_wait_free(w: *mut c_void);
    pub(crate) fn bsk_wait_wake(w: *mut c_void);
    pub(crate) fn bsk_wait_until(
        w: *mut c_void,
        ready: unsafe extern "C" fn(*mut c_void) -> bool,
        ctx: *mut c_void,
        ms: u32,
        interruptible: bool,
    ) -> c_long;
    pub(crate) fn bsk_rcu_lock();
    pub(crate) fn bsk_rcu_unlock();
    pub(crate) fn bsk_synchronize_rcu();

    // misc.c
    pub(crate) fn bsk_ktime_ns() -> u64;
    pub(crate) fn bsk_tick_ns() -> u64;
    pub(crate) fn bsk_real_ns() -> u64;
    pub(crate) fn bsk_msleep(ms: u32);
    pub(crate) fn bsk_uuid(out: *mut u8);
    pub(crate) fn bsk_processors() -> u32;
    pub(crate) fn bsk_free_memory() -> u64;
    pub(crate) fn bsk_copy_from_user(to: *mut c_void, from: u64, n: c_ulong) -> c_ulong;
    pub(crate) fn bsk_copy_to_user(to: u64, from: *const c_void, n: c_ulong) -> c_ulong;
    pub(crate) fn bsk_strndup_user(from: u64, to: *mut u8, n: c_ulong) -> c_long;
    pub(crate) fn bsk_capable_admin() -> bool;
    pub(crate) fn bsk_compat_caller() -> bool;

    // worker.c
    pub(crate) fn bsk_worker_new(kind: u32, run: unsafe extern "C" fn(*mut c_void)) -> *mut c_void;
    pub(crate) fn bsk_worker_start(w: *mut c_void, ctx: *mut c_void);
    pub(crate) fn bsk_worker_kick(w: *mut c_void);
    pub(crate) fn bsk_worker_kick_in(w: *mut c_void, ms: u32);
    pub(crate) fn bsk_worker_comes(w: *mut c_void) -> bool;
    pub(crate) fn bsk_worker_stop(w: *mut c_void, kicked: bool);
    pub(crate) fn bsk_worker_free(w: *mut c_void);
    pub(crate) fn bsk_worker_here(w: *mut c_void, round: unsafe extern "C" fn(*mut c_void) -> bool) -> bool;
    pub(crate) fn bsk_worker_again(w: *mut c_void);
    pub(crate) fn bsk_worker_push(w: *mut c_void, list: u32, bio: *mut c_void);
    pub(crate) fn bsk_worker_put(w: *mut c_void, list: u32, bio: *mut c_void);
    pub(crate) fn bsk_worker_take(w: *mut c_void, list: u32) -> *mut c_void;
    pub(crate) fn bsk_worker_empty(w: *mut c_void) -> bool;
    pub(crate) fn bsk_bio_next(bio: *mut c_void) -> *mut c_void;
    pub(crate) fn bsk_worker_done(w: *mut c_void) -> *mut c_void;
    pub(crate) fn bsk_io_next(io: *mut c_void) -> *mut c_void;
    pub(crate) fn bsk_call_urgent(f: unsafe extern "C" fn(*mut c_void), ctx: *mut c_void);
    pub(crate) fn bsk_worker_init() -> c_int;
    pub(crate) fn bsk_worker_exit();

    // page.c
    pub(crate) fn bsk_page_alloc(wait: bool) -> *mut c_void;
    pub(crate) fn bsk_pages_row(pages: *mut *mut c_void, order: u32) -> bool;
    pub(crate) fn bsk_pages_alloc(pages: *mut *mut c_void, count: u32, wait: bool) -> u32;
    pub(crate) fn bsk_page_free(page: *mut c_void);
    pub(crate) fn bsk_page_get(page: *mut c_void);
    pub(crate) fn bsk_page_zero(page: *mut c_void, at: u32, len: u32);
    pub(crate) fn bsk_page_copy(to: *mut c_void, from: *mut c_void);
    pub(crate) fn bsk_page_from_bio(page: *mut c_void, at: u32, bio: *mut c_void, from: u32, len: u32);
    pub(crate) fn bsk_pages_to_bio(pages: *const *mut c_void, at: u32, bio: *mut c_void, to: u32, len: u32);
    pub(crate) fn bsk_bio_zero(bio: *mut c_void, from: u32, len: u32);

    // bio.c
    pub(crate) fn bsk_bio_op(bio: *const c_void) -> u32;
    pub(crate) fn bsk_bio_sector(bio: *const c_void) -> u64;
    pub(crate) fn bsk_bio_disk_sector(bio: *const c_void) -> u64;
    pub(crate) fn bsk_bio_sectors(bio: *const c_void) -> u64;
    pub(crate) fn bsk_bio_end(bio: *mut c_void, err: c_int);
    pub(crate) fn bsk_bio_link(bio: *mut c_void, next: *mut c_void);

    // io.c
    pub(crate) fn bsk_bioset_new(pool: u32) -> *mut c_void;
    pub(crate) fn bsk_bioset_free(set: *mut c_void);
    pub(crate) fn bsk_io_new(set: *mut c_void, bdev: *mut c_void, write: bool, sector: u64, vecs: u32, wait: bool)
        -> *mut c_void;
    pub(crate) fn bsk_io_clone(
        set: *mut c_void,
        bdev: *mut c_void,
        src: *mut c_void,
        from: u32,
        len: u32,
        write: bool,
        sector: u64,
        wait: bool,
    ) -> *mut c_void;
    pub(crate) fn bsk_io_add_page(io: *mut c_void, page: *mut c_void, len: u32) -> bool;
    pub(crate) fn bsk_io_tag(io: *mut c_void, a: u64, b: u64);
    pub(crate) fn bsk_io_tag_a(io: *const c_void) -> u64;
    pub(crate) fn bsk_io_tag_b(io: *const c_void) -> u64;
    pub(crate) fn bsk_io_link(io: *mut c_void, next: *mut c_void);
    pub(crate) fn bsk_io_linked(io: *mut c_void) -> *mut c_void;
    pub(crate) fn bsk_io_status(io: *const c_void) -> c_int;
    pub(crate) fn bsk_io_submit(io: *mut c_void, w: *mut c_void);
    pub(crate) fn bsk_io_submit_all(io: *mut c_void, w: *mut c_void);
    pub(crate) fn bsk_io_run(io: *mut c_void) -> c_int;
    pub(crate) fn bsk_io_forward(
        set: *mut c_void,
        bdev: *mut c_void,
        req: *mut c_void,
        sector: u64,
        done: unsafe extern "C" fn(*mut c_void, *mut c_void, c_int),
        cookie: *mut c_void,
    ) -> bool;
    pub(crate) fn bsk_io_free(io: *mut c_void);

    // bdev.c
    pub(crate) fn bsk_bdev_open_path(path: *const u8, exclusive: bool, out: *mut *mut c_void) -> c_long;
    pub(crate) fn bsk_bdev_open_dev(major: u32, minor: u32, out: *mut *mut c_void) -> c_long;
    pub(crate) fn bsk_bdev_close(h: *mut c_void);
    pub(crate) fn bsk_bdev_of(h: *mut c_void) -> *mut c_void;
    pub(crate) fn bsk_bdev_sectors(bdev: *mut c_void) -> u64;
    pub(crate) fn bsk_bdev_sequence(bdev: *mut c_void) -> u64;
    pub(crate) fn bsk_bdev_logical(bdev: *mut c_void) -> u32;
    pub(crate) fn bsk_bdev_dma(bdev: *mut c_void) -> u32;
    pub(crate) fn bsk_bdev_major(bdev: *mut c_void) -> u32;
    pub(crate) fn bsk_bdev_minor(bdev: *mut c_void) -> u32;
    pub(crate) fn bsk_bdev_height(bdev: *mut c_void) -> u32;
    pub(crate) fn bsk_bdev_start(bdev: *mut c_void) -> u64;
    pub(crate) fn bsk_bdev_overlaps(a: *mut c_void, b: *mut c_void) -> bool;
    pub(crate) fn bsk_bdev_freeze(bdev: *mut c_void, token: *mut *mut c_void) -> c_long;
    pub(crate) fn bsk_bdev_thaw(token: *mut c_void);

    // file.c
    pub(crate) fn bsk_file_open(path: *const u8, is_bdev: *mut bool, out: *mut *mut c_void) -> c_long;
    pub(crate) fn bsk_file_close(f: *mut c_void);
    pub(crate) fn bsk_file_bdev(f: *mut c_void) -> *mut c_void;
    pub(crate) fn bsk_file_direct(f: *mut c_void) -> bool;
    pub(crate) fn bsk_file_same(a: *mut c_void, b: *mut c_void) -> bool;
    pub(crate) fn bsk_file_allocate(f: *mut c_void, from: u64, len: u64) -> c_long;
    pub(crate) fn bsk_file_write_pages(f: *mut c_void, pos: u64, pages: *const *mut c_void, n: u32) -> c_long;
    pub(crate) fn bsk_file_page(f: *mut c_void, write: bool, pos: u64, page: *mut c_void) -> c_long;
    pub(crate) fn bsk_file_rw_bio(f: *mut c_void, write: bool, pos: u64, bio: *mut c_void, from: u32, len: u32) -> c_long;
    pub(crate) fn bsk_pin_new(fd: c_int, out: *mut *mut c_void) -> c_long;
    pub(crate) fn bsk_pin_free(pin: *mut c_void);
    pub(crate) fn bsk_pin_bdev(pin: *mut c_void) -> *mut c_void;
    pub(crate) fn bsk_pin_same(pin: *mut c_void, other: *mut c_void) -> bool;
    pub(crate) fn bsk_pin_extent(pin: *mut c_void, index: u32, start: *mut u64, pages: *mut u64) -> bool;
    pub(crate) fn bsk_noio_begin(saved: *mut c_uint);
    pub(crate) fn bsk_noio_end(saved: c_uint);
    pub(crate) fn bsk_noreclaim_begin(saved: *mut c_uint);
    pub(crate) fn bsk_noreclaim_end(saved: c_uint);

    // disk.c
    pub(crate) fn bsk_disk_new(
        origin: *mut c_void,
        logical: u32,
        dma: u32,
        sectors: u64,
        ctx: *mut c_void,
        submit: unsafe extern "C" fn(*mut c_void, *mut c_void),
        release: unsafe extern "C" fn(*mut c_void),
        out: *mut *mut c_void,
    ) -> c_long;
    pub(crate) fn bsk_disk_add(disk: *mut c_void) -> c_long;
    pub(crate) fn bsk_disk_del(disk: *mut c_void, added: bool);
    pub(crate) fn bsk_disk_name(disk: *mut c_void, out: *mut u8, n: u32) -> c_long;
    pub(crate) fn bsk_disk_exit();

    // control.c
    pub(crate) fn bsk_control_init(
        ctx: *mut c_void,
        open: unsafe extern "C" fn(*mut c_void, *mut *mut c_void) -> c_long,
        release: unsafe extern "C" fn(*mut c_void),
        ioctl: unsafe extern "C" fn(*mut c_void, u32, u64) -> c_long,
        poll: unsafe extern "C" fn(*mut c_void) -> bool,
    ) -> c_int;
    pub(crate) fn bsk_control_wake();
    pub(crate) fn bsk_control_exit();

    // trace.c
    pub(crate) fn bsk_trace_hold(bio: *const c_void);
    pub(crate) fn bsk_trace_resubmit(bio: *const c_void);
    pub(crate) fn bsk_trace_copy(major: u32, minor: u32, sector: u64, sectors: u64);
    pub(crate) fn bsk_trace_store(major: u32, minor: u32, sectors: u64);
    pub(crate) fn bsk_trace_take(devices: u32, gate_ns: u64, error: c_int);

    // params.c
    pub(crate) fn bsk_param(which: u32) -> u32;
}

/// `struct bsk_end`: an entry of the table of completion functions. All but `own` belongs to whoever uses the entry.
#[repr(C, align(64))]
pub(crate) struct BskEnd {
    pub(crate) call: AtomicPtr<c_void>,
    pub(crate) count: AtomicPtr<c_void>,
    pub(crate) end_io: AtomicPtr<c_void>,
    pub(crate) owner: AtomicPtr<c_void>,
    pub(crate) own: *mut c_void,
}

/// `BSK_ENDS`.
pub(crate) const BSK_ENDS: usize = 1024;
const _: () = assert!(core::mem::size_of::<BskEnd>() == 64);

// ---- hook.h: what blkfilter.ko needs ----
unsafe extern "C" {
    // hook_bio.c
    pub(crate) fn bsk_bio_place(
        bio: *mut c_void,
        disk: *mut *mut c_void,
        sector: *mut u64,
        sectors: *mut u64,
        end_io: *mut *mut c_void,
    );
    pub(crate) fn bsk_bio_count(bio: *mut c_void, end_io: *mut c_void);
    pub(crate) fn bsk_bio_send(bio: *mut c_void);
    pub(crate) fn bsk_preempt_off();
    pub(crate) fn bsk_preempt_on();

    // hook_ends.c
    pub(crate) static bsk_ends: [BskEnd; BSK_ENDS];
    pub(crate) fn bsk_ends_init() -> c_int;
    pub(crate) fn bsk_ends_exit();
    pub(crate) fn bsk_ends_used() -> u32;
    pub(crate) fn bsk_end_set(end: *const BskEnd, end_io: *mut c_void, count: *mut c_void, owner: *const c_void);
    pub(crate) fn bsk_wrap_new(wait: bool) -> *mut c_void;
    pub(crate) fn bsk_wrap_free(wrap: *mut c_void);
    pub(crate) fn bsk_wrap_put(
        wrap: *mut c_void,
        bio: *mut c_void,
        end_io: *mut c_void,
        count: *mut c_void,
        owner: *const c_void,
    ) -> *mut c_void;
    pub(crate) fn bsk_end_peel(end_io: *mut *mut c_void, private: *mut *mut c_void, owner: *mut *mut c_void) -> bool;
    pub(crate) fn bsk_bio_private(bio: *mut c_void) -> *mut c_void;

    // hook_held.c
    pub(crate) fn bsk_held_init() -> c_int;
    pub(crate) fn bsk_held_exit();
    pub(crate) fn bsk_held_push(list: *mut *mut c_void, bio: *mut c_void);
    pub(crate) fn bsk_held_take(list: *mut *mut c_void) -> *mut c_void;
    pub(crate) fn bsk_held_next(bio: *mut c_void) -> *mut c_void;
    pub(crate) fn bsk_work_new(ctx: *mut c_void) -> *mut c_void;
    pub(crate) fn bsk_work_queue(work: *mut c_void) -> bool;
    pub(crate) fn bsk_work_free(work: *mut c_void);

    // hook_sync.c
    pub(crate) fn bsk_hook_lock();
    pub(crate) fn bsk_hook_unlock();
    pub(crate) fn bsk_hook_wait();
    pub(crate) fn bsk_hook_wake();
    pub(crate) fn bsk_drain_wait(ready: unsafe extern "C" fn(*mut c_void) -> bool, ctx: *mut c_void, ms: u32) -> bool;
    pub(crate) fn bsk_drain_wake();
    pub(crate) fn bsk_count_new() -> *mut c_void;
    pub(crate) fn bsk_count_free(count: *mut c_void);
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn bsk_count_add(count: *mut c_void, n: c_long);
    pub(crate) fn bsk_count_sum(count: *mut c_void) -> u64;
    pub(crate) fn bsk_grace();
    pub(crate) fn bsk_grace_tasks();
    pub(crate) fn bsk_after_grace();

    // hook_gone.c
    pub(crate) fn bsk_disk_dying(disk: *mut c_void) -> bool;

    // hook_ftrace.c
    pub(crate) fn bsk_crowd(more: c_int);
    pub(crate) static bsk_text_start: c_ulong;
    pub(crate) static bsk_text_len: c_ulong;
    pub(crate) fn bsk_hooks_on(what: *mut *const c_char) -> c_int;
    pub(crate) fn bsk_hooks_direct(what: *mut *const c_char) -> c_int;
    pub(crate) fn bsk_hooks_off();

    // hook_dev.c
    pub(crate) fn bsk_dev_get(bdev: *mut c_void);
    pub(crate) fn bsk_dev_put(bdev: *mut c_void);
    pub(crate) fn bsk_dev_disk(bdev: *mut c_void) -> *mut c_void;
    pub(crate) fn bsk_dev_first(bdev: *mut c_void) -> u64;
    pub(crate) fn bsk_dev_sectors(bdev: *mut c_void) -> *const u64;
    pub(crate) fn bsk_dev_name(bdev: *mut c_void, name: *mut u8, len: u32);
    pub(crate) fn bsk_dev_facts(bdev: *mut c_void, major: *mut u32, minor: *mut u32, sectors: *mut u64);
    pub(crate) fn bsk_dev_zoned(bdev: *mut c_void) -> bool;
    pub(crate) fn bsk_dev_dax(bdev: *mut c_void) -> bool;
    pub(crate) fn bsk_dev_settle(bdev: *mut c_void, ms: u32, statistics: bool) -> bool;
    pub(crate) fn bsk_dev_leg(bdev: *mut c_void) -> bool;
    pub(crate) fn bsk_dev_bypassed(bdev: *mut c_void) -> bool;
    pub(crate) fn bsk_dev_untold(bdev: *mut c_void) -> bool;

    // hook_ops.c
    pub(crate) fn bsk_ops_valid(ops: *const c_void) -> bool;
    pub(crate) fn bsk_ops_name(ops: *const c_void) -> *const c_char;
    pub(crate) fn bsk_ops_get(ops: *const c_void) -> bool;
    pub(crate) fn bsk_ops_put(ops: *const c_void);
    pub(crate) fn bsk_ops_text(ops: *const c_void, start: *mut c_ulong, len: *mut c_ulong);
    pub(crate) fn bsk_ops_submit(ops: *const c_void) -> *mut c_void;
    pub(crate) fn bsk_ops_attach(
        ops: *const c_void,
        fdev: *mut c_void,
        bdev: *mut c_void,
        opt: u64,
        optlen: u32,
        private: *mut *mut c_void,
    ) -> c_int;
    pub(crate) fn bsk_ops_insists(ops: *const c_void, opt: u64, optlen: u32) -> c_int;
    pub(crate) fn bsk_ops_may_detach(ops: *const c_void, private: *mut c_void) -> c_int;
    pub(crate) fn bsk_ops_leaving(ops: *const c_void, private: *mut c_void);
    pub(crate) fn bsk_ops_detach(ops: *const c_void, private: *mut c_void);
    pub(crate) fn bsk_ops_ctl(ops: *const c_void, private: *mut c_void, cmd: u32, opt: u64, optlen: *mut u32) -> c_int;

    // hook_test.c
    pub(crate) fn bsk_test_new(test: *mut *mut c_void, bdev: *mut *mut c_void, ops: *mut *const c_void) -> c_int;
    pub(crate) fn bsk_test_free(test: *mut c_void);
    pub(crate) fn bsk_test_send(test: *mut c_void, write: bool, sector: u64) -> c_int;
    pub(crate) fn bsk_test_shown(test: *mut c_void) -> u32;
    pub(crate) fn bsk_test_early(test: *mut c_void) -> u32;
    pub(crate) fn bsk_test_seen(test: *mut c_void) -> u32;
    pub(crate) fn bsk_test_hold(test: *mut c_void, on: bool);

    // hook_user.c
    pub(crate) fn bsk_hook_admin() -> bool;
    pub(crate) fn bsk_hook_read(to: *mut c_void, from: u64, len: c_ulong) -> bool;
    pub(crate) fn bsk_hook_write(to: u64, from: *const c_void, len: c_ulong) -> bool;
    pub(crate) fn bsk_module_hold() -> c_int;
    pub(crate) fn bsk_module_release();
}
