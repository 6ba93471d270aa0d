/* SPDX-License-Identifier: GPL-2.0-only */
/* The part of headerc.c that clients of the upstream interface know. */

static void upstream_device(void)
{
	struct {
		struct blksnap_cbtinfo info;
		__u8 behind[16];
	} out;
	struct blkfilter_ctl asked = { .name = BLKSNAP_FILTER_NAME, .optlen = sizeof(out), .opt = address(&out) };
	struct blksnap_cbtmap part = { .length = sizeof(map), .buffer = address(map) };
	struct blksnap_sectors ranges[2] = { { 0, 1 }, { 2 * BLOCK / 512, 2 * BLOCK / 512 } };
	struct blksnap_cbtdirty dirty = { .count = 2, .dirty_sectors = address(ranges) };
	struct blksnap_snapshotinfo image;
	struct blksnap_attach_options options = { .size = sizeof(options), .flags = 1U << 31 };

	FAILS(ENOENT, detach());
	FAILS(ENOENT, ctl(BLKFILTER_CTL_BLKSNAP_CBTINFO, &out, sizeof(out)));
	FAILS(EFAULT, call(__NR_ioctl, disk, BLKFILTER_ATTACH, (long)BAD));
	FAILS(ENOENT, attach("nosuch", 0, 0));
	FAILS(EINVAL, attach(BLKSNAP_FILTER_NAME, &options, sizeof(options)));
	options.flags = 0;
	FAILS(EINVAL, attach(BLKSNAP_FILTER_NAME, &options, 4));
	FAILS(EFAULT, attach(BLKSNAP_FILTER_NAME, BAD, sizeof(options)));
	OK(attach(BLKSNAP_FILTER_NAME, &options, sizeof(options)));
	FAILS(EALREADY, attach(BLKSNAP_FILTER_NAME, 0, 0));

	memset(&out, CANARY, sizeof(out));
	OK(call(__NR_ioctl, disk, BLKFILTER_CTL, (long)&asked));
	SAME(asked.optlen, sizeof(out.info));
	TRUE(untouched(out.behind, 0, sizeof(out.behind)));
	SAME(out.info.device_capacity, CAPACITY);
	SAME(out.info.block_size, BLOCK);
	SAME(out.info.block_count, CAPACITY / BLOCK);
	SAME(out.info.changes_number, 0);
	FAILS(EINVAL, ctl(BLKFILTER_CTL_BLKSNAP_CBTINFO, &out, sizeof(out.info) - 1));
	FAILS(EFAULT, ctl(BLKFILTER_CTL_BLKSNAP_CBTINFO, BAD, sizeof(out.info)));
	FAILS(ENOTTY, ctl(BLKSNAP_EXTENDED_FIRST - 1, &out, sizeof(out)));
	FAILS(EFAULT, call(__NR_ioctl, disk, BLKFILTER_CTL, (long)BAD));

	OK(ctl(BLKFILTER_CTL_BLKSNAP_CBTDIRTY, &dirty, sizeof(dirty)));
	FAILS(EINVAL, ctl(BLKFILTER_CTL_BLKSNAP_CBTDIRTY, &dirty, sizeof(dirty) - 1));
	ranges[1].count = ~0ULL;
	FAILS(EINVAL, ctl(BLKFILTER_CTL_BLKSNAP_CBTDIRTY, &dirty, sizeof(dirty)));
	dirty.dirty_sectors = 8;
	FAILS(EFAULT, ctl(BLKFILTER_CTL_BLKSNAP_CBTDIRTY, &dirty, sizeof(dirty)));
	dirty.count = ~0U;
	FAILS(EINVAL, ctl(BLKFILTER_CTL_BLKSNAP_CBTDIRTY, &dirty, sizeof(dirty)));

	OK(ctl(BLKFILTER_CTL_BLKSNAP_CBTMAP, &part, sizeof(part)));
	part.offset = 1;
	FAILS(ENODATA, ctl(BLKFILTER_CTL_BLKSNAP_CBTMAP, &part, sizeof(part)));
	part = (struct blksnap_cbtmap){ .length = 1, .buffer = 8 };
	FAILS(EFAULT, ctl(BLKFILTER_CTL_BLKSNAP_CBTMAP, &part, sizeof(part)));
	memset(&image, CANARY, sizeof(image));
	OK(ctl(BLKFILTER_CTL_BLKSNAP_SNAPSHOTINFO, &image, sizeof(image)));
	TRUE(!image.error_code && !image.image[0]);
}

/* Waits for the events of a snapshot whose storage is full: what each has to say. */
static void upstream_events(const __u8 *id)
{
	static struct blksnap_snapshot_event event;
	struct blksnap_event_corrupted *corrupted = (void *)event.data;
	struct blksnap_event_no_space *full = (void *)event.data;
	struct blksnap_device entry = { 0 };
	struct blksnap_devices all = { .size = sizeof(all), .count = 1, .entries = address(&entry) };

	memcpy(event.id, id, sizeof(event.id));
	event.timeout_ms = 60000;
	OK(control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_WAIT_EVENT, &event));
	SAME(event.code, BLKSNAP_EVENT_CODE_NO_SPACE);
	/* Whole blocks, no more than is read at once. Some time since 2020. */
	TRUE(full->requested_nr_sect && full->requested_nr_sect % 8 == 0 && full->requested_nr_sect <= 4096);
	TRUE(event.time_label > 1577836800000000000LL);
	OK(control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_WAIT_EVENT, &event));
	SAME(event.code, BLKSNAP_EVENT_CODE_CORRUPTED);
	SAME(corrupted->err_code, -ENOSPC);
	OK(control_ioctl(IOCTL_BLKSNAP_DEVICES, &all));
	TRUE(entry.major == corrupted->dev_id_mj && entry.minor == corrupted->dev_id_mn);
	TRUE(same_bytes(event.id, id, sizeof(event.id)));
	event.timeout_ms = 1;
	FAILS(ENOENT, control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_WAIT_EVENT, &event));
	memcpy(event.id, nobody, sizeof(event.id));
	FAILS(ESRCH, control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_WAIT_EVENT, &event));
}

static void upstream_snapshot(void)
{
	struct blksnap_version version;
	struct blksnap_snapshot_create made = { .diff_storage_limit_sect = 2048, .diff_storage_filename = 8 };
	struct blksnap_snapshot_collect all = { 0 };
	struct blksnap_snapshotadd add;
	struct blksnap_snapshot_take take;
	struct blksnap_snapshot_destroy destroy;
	struct blksnap_snapshotinfo image;
	struct blksnap_cbtmap part = { .length = sizeof(map), .buffer = address(map) };
	struct blksnap_cbtinfo info;
	__u8 ids[2][16];

	OK(control_ioctl(IOCTL_BLKSNAP_VERSION, &version));
	FAILS(EFAULT, control_ioctl(IOCTL_BLKSNAP_VERSION, BAD));
	FAILS(ENOTTY, control_ioctl(_IO(BLKSNAP, 6), 0));
	FAILS(EFAULT, control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_CREATE, &made));
	FAILS(EFAULT, control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_CREATE, BAD));
	made.diff_storage_filename = address(folder);
	OK(control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_CREATE, &made));
	SAME(snapshots(), 1);
	all.ids = address(ids);
	FAILS(ENODATA, control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_COLLECT, &all));
	SAME(all.count, 1);
	memset(ids, CANARY, sizeof(ids));
	OK(control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_COLLECT, &all));
	TRUE(same_bytes(ids[0], made.id, 16) && untouched(ids[1], 0, 16) && all.ids == address(ids));
	all.ids = 8;
	FAILS(EFAULT, control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_COLLECT, &all));

	memcpy(add.id, nobody, 16);
	memcpy(take.id, made.id, 16);
	FAILS(ESRCH, ctl(BLKFILTER_CTL_BLKSNAP_SNAPSHOTADD, &add, sizeof(add)));
	FAILS(ENODEV, control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_TAKE, &take));
	memcpy(add.id, made.id, 16);
	OK(ctl(BLKFILTER_CTL_BLKSNAP_SNAPSHOTADD, &add, sizeof(add)));
	FAILS(EALREADY, ctl(BLKFILTER_CTL_BLKSNAP_SNAPSHOTADD, &add, sizeof(add)));
	OK(control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_TAKE, &take));
	FAILS(EALREADY, control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_TAKE, &take));
	FAILS(EBUSY, detach());
	OK(ctl(BLKFILTER_CTL_BLKSNAP_CBTINFO, &info, sizeof(info)));
	SAME(info.changes_number, 1);
	OK(ctl(BLKFILTER_CTL_BLKSNAP_CBTMAP, &part, sizeof(part)));
	TRUE(map[0] == 1 && !map[1] && map[2] == 1 && map[3] == 1 && !map[4] && !map[511]);

	OK(ctl(BLKFILTER_CTL_BLKSNAP_SNAPSHOTINFO, &image, sizeof(image)));
	OK(image.error_code);
	write_page(0, 1);
	SAME(image_byte(image.image, 0), 0);
	/* Twice what the storage holds. */
	write_much(0, 2 << 20, 2);
	upstream_events(made.id);
	OK(ctl(BLKFILTER_CTL_BLKSNAP_SNAPSHOTINFO, &image, sizeof(image)));
	SAME(image.error_code, -ENOSPC);
	FAILS(EIO, image_byte(image.image, 0));
	memcpy(destroy.id, made.id, 16);
	OK(control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_DESTROY, &destroy));
	FAILS(ENODEV, control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_DESTROY, &destroy));
}
