// SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT
//! `BLKFILTER_*`: attach a filter to a block device, detach it, talk to it.
//!
//! These ioctls are issued on the block device's own descriptor, opened read-only is enough.

abi_numbers! {
    /// Limits of the filter interface.
    table NUMBERS;
    /// Bytes in the name of a filter, NUL padding included.
    pub const BLKFILTER_NAME_LENGTH: usize = 32;
}

abi_struct! {
    /// Argument of BLKFILTER_ATTACH.
    pub struct BlkfilterAttach as blkfilter_attach, 48 {
        /// The name of the filter, NUL-padded.
        pub name: [u8; BLKFILTER_NAME_LENGTH],
        /// User pointer to options of the filter, or 0.
        pub opt: u64,
        /// Bytes at `opt`.
        pub optlen: u32,
        /// Padding.
        pub _padding: [u8; 4],
    }
}

abi_struct! {
    /// Argument of BLKFILTER_DETACH.
    pub struct BlkfilterDetach as blkfilter_detach, 32 {
        /// The name of the filter, NUL-padded.
        pub name: [u8; BLKFILTER_NAME_LENGTH],
    }
}

abi_struct! {
    /// Argument of BLKFILTER_CTL.
    pub struct BlkfilterCtl as blkfilter_ctl, 48 {
        /// The name of the filter, NUL-padded.
        pub name: [u8; BLKFILTER_NAME_LENGTH],
        /// The filter's command.
        pub cmd: u32,
        /// Bytes at `opt`.
        pub optlen: u32,
        /// User pointer to the command's argument.
        pub opt: u64,
    }
}

abi_ioctls! {
    /// On a block device's descriptor.
    table IOCTLS;
    /// Attaches a filter. EALREADY: this one is attached; EBUSY: another is; ENOENT: no such filter.
    pub const BLKFILTER_ATTACH = iowr(0x12, 142, BlkfilterAttach);
    /// Detaches a filter. ENOENT: none is attached; EINVAL: another is; EBUSY: a snapshot needs it.
    pub const BLKFILTER_DETACH = iowr(0x12, 143, BlkfilterDetach);
    /// Sends a command to the attached filter. ENOTTY: it does not know the command.
    pub const BLKFILTER_CTL = iowr(0x12, 144, BlkfilterCtl);
}

/// A filter's name as the interface has it: NUL-padded, cut to leave one NUL.
#[must_use]
pub const fn filter_name(name: &str) -> [u8; BLKFILTER_NAME_LENGTH] {
    let mut padded = [0; BLKFILTER_NAME_LENGTH];
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() && at < BLKFILTER_NAME_LENGTH - 1 {
        padded[at] = bytes[at];
        at += 1;
    }
    padded
}
