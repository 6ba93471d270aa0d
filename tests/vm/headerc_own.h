/* SPDX-License-Identifier: GPL-2.0-only */
/* The part of headerc.c that is beside the upstream interface. */

static __u8 generation[16];

static __u8 *opened(struct blksnap_snapshot_open *wish)
{
	wish->size = sizeof(*wish);
	OK(control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_OPEN, wish));
	return wish->id;
}

static void added(const __u8 *id)
{
	struct blksnap_add add = { .size = sizeof(add), .flags = 2 };

	memcpy(add.id, id, 16);
	FAILS(EINVAL, ctl(BLKFILTER_CTL_BLKSNAP_SNAPSHOT_ADD, &add, sizeof(add)));
	add.flags = BLKSNAP_ADD_SHARED;
	OK(ctl(BLKFILTER_CTL_BLKSNAP_SNAPSHOT_ADD, &add, sizeof(add)));
	FAILS(EALREADY, ctl(BLKFILTER_CTL_BLKSNAP_SNAPSHOT_ADD, &add, sizeof(add)));
}

static void taken(const __u8 *id)
{
	struct blksnap_snapshot_take take;

	memcpy(take.id, id, 16);
	OK(control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_TAKE, &take));
}

static void destroyed(const __u8 *id)
{
	struct blksnap_snapshot_destroy destroy;

	memcpy(destroy.id, id, 16);
	OK(control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_DESTROY, &destroy));
}

static void own_features(void)
{
	struct blksnap_features can = { .size = sizeof(can) };

	sizes(control_ioctl, IOCTL_BLKSNAP_FEATURES, &can, sizeof(can));
	OK(control_ioctl(IOCTL_BLKSNAP_FEATURES, &can));
	SAME(can.abi, BLKSNAP_ABI);
	SAME(can.features, 2 * BLKSNAP_FEATURE_ATTACH_FORCE - 1);
	SAME(can.block_size, 4096);
	/* The size in the number is not looked at. */
	OK(control_ioctl(_IO(BLKSNAP, _IOC_NR(IOCTL_BLKSNAP_FEATURES)), &can));
}

/* What was changed after the take `base`. */
static struct blksnap_cbt_extents changes(__u64 base, struct blksnap_extent *extents, __u32 count)
{
	struct blksnap_cbt_extents asked = { .size = sizeof(asked), .count = count, .base = base, .extents = address(extents) };

	memcpy(asked.generation, generation, 16);
	OK(ctl(BLKFILTER_CTL_BLKSNAP_CBT_EXTENTS, &asked, sizeof(asked)));
	return asked;
}

static void own_changes(__u64 base, __u64 number)
{
	struct blksnap_extent found[3];
	struct blksnap_cbt_extents asked = changes(base, found, 3);

	/* Written between the two takes: pages in blocks 100, 101 and 300. */
	SAME(asked.count, 2);
	SAME(asked.next, CAPACITY);
	TRUE(found[0].offset == 100 * BLOCK && found[0].length == 2 * BLOCK);
	TRUE(found[1].offset == 300 * BLOCK && found[1].length == BLOCK);
	asked = changes(base, found, 1);
	TRUE(asked.count == 1 && asked.next >= 102 * BLOCK && asked.next <= 300 * BLOCK);
	SAME(changes(number, found, 3).count, 0);

	asked.base = number + 1;
	FAILS(ERANGE, ctl(BLKFILTER_CTL_BLKSNAP_CBT_EXTENTS, &asked, sizeof(asked)));
	asked.base = base;
	asked.offset = 0;
	asked.extents = 8;
	FAILS(EFAULT, ctl(BLKFILTER_CTL_BLKSNAP_CBT_EXTENTS, &asked, sizeof(asked)));
	asked.generation[0]++;
	FAILS(ESTALE, ctl(BLKFILTER_CTL_BLKSNAP_CBT_EXTENTS, &asked, sizeof(asked)));
}

static long consumer(__u32 op, const char *name, __u64 number, struct blksnap_consumer *out)
{
	*out = (struct blksnap_consumer){ .size = sizeof(*out), .op = op, .number = number };
	memcpy(out->name, name, length(name));
	memcpy(out->generation, generation, 16);
	return ctl(BLKFILTER_CTL_BLKSNAP_CONSUMER, out, sizeof(*out));
}

static void own_consumers(__u64 number)
{
	struct blksnap_consumer of;

	FAILS(ENOENT, consumer(BLKSNAP_CONSUMER_GET, "nightly", 0, &of));
	OK(consumer(BLKSNAP_CONSUMER_SET, "nightly", number, &of));
	FAILS(ERANGE, consumer(BLKSNAP_CONSUMER_SET, "nightly", number + 2, &of));
	OK(consumer(BLKSNAP_CONSUMER_GET, "nightly", 0, &of));
	SAME(of.number, number);
	OK(consumer(BLKSNAP_CONSUMER_LIST, "", 0, &of));
	TRUE(of.number == number && same_bytes(of.name, "nightly", 8));
	OK(consumer(BLKSNAP_CONSUMER_REMOVE, "nightly", 0, &of));
	FAILS(ENOENT, consumer(BLKSNAP_CONSUMER_LIST, "", 0, &of));
	FAILS(EINVAL, consumer(BLKSNAP_CONSUMER_LIST + 1, "nightly", 0, &of));
}

static void own_free(const __u8 *id)
{
	struct blksnap_extent free[2] = { { 16 << 20, 65536 }, { (20 << 20) - 512, 4096 + 1024 } };
	struct blksnap_free asked = { .size = sizeof(asked), .count = 2, .extents = address(free) };

	FAILS(ENOENT, ctl(BLKFILTER_CTL_BLKSNAP_FREE, &asked, sizeof(asked)));
	memcpy(asked.id, id, 16);
	OK(ctl(BLKFILTER_CTL_BLKSNAP_FREE, &asked, sizeof(asked)));
	SAME(asked.accepted, 65536 + 4096);
	asked.count = ~0U;
	FAILS(EINVAL, ctl(BLKFILTER_CTL_BLKSNAP_FREE, &asked, sizeof(asked)));
	asked.count = 1;
	asked.extents = 8;
	FAILS(EFAULT, ctl(BLKFILTER_CTL_BLKSNAP_FREE, &asked, sizeof(asked)));
}

/* One more storage of each kind. */
static void own_stores(const __u8 *id, const char *file)
{
	struct blksnap_store_add more = { .size = sizeof(more), .kind = BLKSNAP_STORE_MEMORY, .limit = 1 << 20 };
	long fd = call(__NR_open, (long)file, O_RDWR, 0);

	TRUE(fd >= 0);
	FAILS(ESRCH, control_ioctl(IOCTL_BLKSNAP_STORE_ADD, &more));
	memcpy(more.id, id, 16);
	OK(control_ioctl(IOCTL_BLKSNAP_STORE_ADD, &more));
	more.kind = BLKSNAP_STORE_PATH;
	more.path = address(folder);
	OK(control_ioctl(IOCTL_BLKSNAP_STORE_ADD, &more));
	more.kind = BLKSNAP_STORE_EXTENTS;
	more.fd = -1;
	FAILS(EBADF, control_ioctl(IOCTL_BLKSNAP_STORE_ADD, &more));
	more.fd = fd;
	OK(control_ioctl(IOCTL_BLKSNAP_STORE_ADD, &more));
	FAILS(EBUSY, control_ioctl(IOCTL_BLKSNAP_STORE_ADD, &more));
	more.kind = 3;
	FAILS(EINVAL, control_ioctl(IOCTL_BLKSNAP_STORE_ADD, &more));
	OK(call(__NR_close, fd, 0, 0));
}

/* Two snapshots of the device at once, and what is said of them. */
static void own_snapshot(const char *file)
{
	struct blksnap_snapshot_open first = { .store_kind = BLKSNAP_STORE_MEMORY, .limit = 8 << 20, .policy = BLKSNAP_POLICY_GIVE_UP };
	struct blksnap_snapshot_open second = { .store_kind = BLKSNAP_STORE_PATH, .path = address(folder), .copy_memory_kib = 1024 };
	struct blksnap_snapshot_open wrong = { .size = sizeof(wrong), .flags = 2 };
	struct blksnap_snapshot_stat stat = { .size = sizeof(stat) };
	struct blksnap_image_stat image = { .size = sizeof(image) };
	struct blksnap_cbt_state state = { .size = sizeof(state) };
	struct blksnap_member member;
	struct blksnap_members members = { .size = sizeof(members), .entries = address(&member) };
	struct blksnap_device entry;
	struct blksnap_devices all = { .size = sizeof(all), .entries = address(&entry) };
	__u64 base;

	own_features();
	FAILS(EINVAL, control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_OPEN, &wrong));
	wrong = (struct blksnap_snapshot_open){ .size = sizeof(wrong), .policy = 2 };
	FAILS(EINVAL, control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_OPEN, &wrong));
	wrong = (struct blksnap_snapshot_open){ .size = sizeof(wrong), .store_kind = BLKSNAP_STORE_PATH, .path = 8 };
	FAILS(EFAULT, control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_OPEN, &wrong));
	FAILS(ESRCH, control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_STAT, &stat));
	FAILS(ENOENT, ctl(BLKFILTER_CTL_BLKSNAP_IMAGE_STAT, &image, sizeof(image)));
	sizes(ctl_sized, BLKFILTER_CTL_BLKSNAP_CBT_STATE, &state, sizeof(state));
	OK(ctl(BLKFILTER_CTL_BLKSNAP_CBT_STATE, &state, sizeof(state)));
	TRUE(state.capacity == CAPACITY && state.block_size == BLOCK && state.block_count == CAPACITY / BLOCK && state.memory);
	memcpy(generation, state.generation, 16);
	base = state.number + 1;

	added(opened(&first));
	memcpy(stat.id, first.id, 16);
	OK(control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_STAT, &stat));
	TRUE(stat.state == BLKSNAP_STATE_CREATED && !stat.gate_ns && stat.policy == BLKSNAP_POLICY_GIVE_UP);
	own_stores(first.id, file);
	taken(first.id);
	write_page(100 * BLOCK, 3);
	write_page(101 * BLOCK + 4096, 3);
	write_page(300 * BLOCK, 3);
	added(opened(&second));
	taken(second.id);
	write_page(100 * BLOCK, 4);

	sizes(control_ioctl, IOCTL_BLKSNAP_SNAPSHOT_STAT, &stat, sizeof(stat));
	OK(control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_STAT, &stat));
	TRUE(stat.state == BLKSNAP_STATE_TAKEN && stat.devices == 1 && stat.gate_ns && stat.taken_ns && stat.memory && !stat.error);
	OK(ctl(BLKFILTER_CTL_BLKSNAP_IMAGE_STAT, &image, sizeof(image)));
	TRUE(same_bytes(image.snapshot, second.id, 16) && image.number == base + 1 && image.copy_reads >= 4);
	SAME(image_byte(image.image, 100 * BLOCK), 3);
	memcpy(image.snapshot, first.id, 16);
	OK(ctl(BLKFILTER_CTL_BLKSNAP_IMAGE_STAT, &image, sizeof(image)));
	SAME(image.number, base);
	SAME(image_byte(image.image, 100 * BLOCK), 0);
	SAME(image_byte(image.image, 0), 2);

	memcpy(members.id, first.id, 16);
	FAILS(ENODATA, control_ioctl(IOCTL_BLKSNAP_MEMBERS, &members));
	SAME(members.count, 1);
	OK(control_ioctl(IOCTL_BLKSNAP_MEMBERS, &members));
	TRUE(same_bytes(member.image, image.image, sizeof(member.image)) && member.number == base && !member.error && !member.flags);
	FAILS(ENODATA, control_ioctl(IOCTL_BLKSNAP_DEVICES, &all));
	SAME(all.count, 1);
	OK(control_ioctl(IOCTL_BLKSNAP_DEVICES, &all));
	TRUE(entry.capacity == CAPACITY && entry.number == base + 1 && entry.snapshots == 2);
	TRUE(same_bytes(entry.snapshot, second.id, 16) && same_bytes(entry.generation, generation, 16));
	TRUE(entry.major == member.major && entry.minor == member.minor);
	all.entries = 8;
	FAILS(EFAULT, control_ioctl(IOCTL_BLKSNAP_DEVICES, &all));

	own_changes(base, base + 1);
	own_consumers(base);
	own_free(second.id);
	destroyed(first.id);
	destroyed(second.id);
}

/* A snapshot that ends with its descriptor, whose storage fills: what poll says, and the events. */
static void own_bound(void)
{
	static struct blksnap_snapshot_event event;
	struct blksnap_event_low_space *low = (void *)event.data;
	struct blksnap_snapshot_open wish = { .flags = BLKSNAP_OPEN_BOUND, .store_kind = BLKSNAP_STORE_MEMORY, .limit = 4 << 20 };
	struct pollfd ready;

	added(opened(&wish));
	taken(wish.id);
	ready = (struct pollfd){ .fd = control, .events = POLLIN };
	OK(call(__NR_poll, (long)&ready, 1, 0));
	/* Less than an eighth of the storage is left then; and so that what is copied beside has room. */
	write_much(0, 1800 << 10, 5);
	write_much(4 << 20, 1800 << 10, 5);
	SAME(call(__NR_poll, (long)&ready, 1, 60000), 1);
	SAME(ready.revents, POLLIN);
	memcpy(event.id, wish.id, 16);
	OK(control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_WAIT_EVENT, &event));
	SAME(event.code, BLKSNAP_EVENT_CODE_LOW_SPACE);
	TRUE(low->limit == 4 << 20 && low->used && low->used <= low->limit);
	write_much(8 << 20, 2 << 20, 5);
	write_much(12 << 20, 2 << 20, 5);
	upstream_events(wish.id);
	OK(call(__NR_poll, (long)&ready, 1, 0));
	SAME(snapshots(), 1);
	OK(call(__NR_close, control, 0, 0));
	control = call(__NR_open, (long)"/dev/" BLKSNAP_CTL, O_RDWR, 0);
	TRUE(control >= 0);
	SAME(snapshots(), 0);
}
