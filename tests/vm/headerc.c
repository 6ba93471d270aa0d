// SPDX-License-Identifier: GPL-2.0-only
/*
 * A client that knows the interface by its generated headers alone, and uses all of it: each ioctl, each command, each event, as a
 * program for 64 bits and as one for 32.
 *
 *   headerc DEVICE FOLDER FILE
 *
 * DEVICE is of 32 MiB and empty, nothing is attached, there is no snapshot. FOLDER is where storages can be made. FILE is preallocated
 * and lies on another device. It exits with 0, or with 1 and says which line went wrong (bare.h).
 */
#include <linux/blk-filter.h>
#include <linux/blksnap.h>
#include <linux/poll.h>
#include "bare.h"

#define CAPACITY (32ULL << 20)
#define BLOCK 65536
#define CANARY 0xa5
#define BAD ((void *)8)		/* nobody has memory there */

static int disk, control, writer;
static const char *folder;
static const __u8 nobody[16] = { 1 };
static __u8 page[4096] __attribute__((aligned(4096))), map[512], much[2 << 20] __attribute__((aligned(4096)));

static long control_ioctl(unsigned int cmd, void *arg)
{
	return call(__NR_ioctl, control, cmd, (long)arg);
}

static long ctl(unsigned int cmd, void *opt, unsigned int optlen)
{
	struct blkfilter_ctl arg = { .name = BLKSNAP_FILTER_NAME, .cmd = cmd, .optlen = optlen, .opt = address(opt) };

	return call(__NR_ioctl, disk, BLKFILTER_CTL, (long)&arg);
}

static long attach(const char *name, void *opt, unsigned int optlen)
{
	struct blkfilter_attach arg = { .opt = address(opt), .optlen = optlen };

	memcpy(arg.name, name, length(name));
	return call(__NR_ioctl, disk, BLKFILTER_ATTACH, (long)&arg);
}

static long detach(void)
{
	struct blkfilter_detach arg = { .name = BLKSNAP_FILTER_NAME };

	return call(__NR_ioctl, disk, BLKFILTER_DETACH, (long)&arg);
}

static __u32 snapshots(void)
{
	struct blksnap_snapshot_collect all = { 0 };

	OK(control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_COLLECT, &all));
	return all.count;
}

static void write_page(__u64 at, __u8 value)
{
	memset(page, value, sizeof(page));
	SAME(call(__NR_lseek, writer, at, 0), at);
	SAME(call(__NR_write, writer, (long)page, sizeof(page)), sizeof(page));
}

static void write_much(__u64 at, long bytes, __u8 value)
{
	memset(much, value, sizeof(much));
	SAME(call(__NR_lseek, writer, at, 0), at);
	SAME(call(__NR_write, writer, (long)much, bytes), bytes);
}

/* The first byte of a page of an image, or a negative errno. */
static long image_byte(const __u8 *name, long at)
{
	char path[64] = "/dev/";
	long fd, n;

	memcpy(path + 5, name, BLKSNAP_IMAGE_NAME_LENGTH);
	fd = call(__NR_open, (long)path, O_RDONLY | O_DIRECT, 0);
	TRUE(fd >= 0);
	SAME(call(__NR_lseek, fd, at, 0), at);
	n = call(__NR_read, fd, (long)page, sizeof(page));
	OK(call(__NR_close, fd, 0, 0));
	return n == sizeof(page) ? page[0] : n;
}

/* What is behind a struct in a buffer that was filled with the canary. */
static int untouched(const __u8 *buffer, unsigned long from, unsigned long to)
{
	while (from < to && buffer[from] == CANARY)
		from++;
	return from == to;
}

/* The sizes a struct that grows may have: `known` is ours, `cmd` is harmless with it. */
static void sizes(long (*send)(unsigned int cmd, void *arg), unsigned int cmd, void *arg, __u32 known)
{
	__u8 buffer[512];
	__u32 *size = (__u32 *)buffer;

	FAILS(EFAULT, send(cmd, BAD));
	memset(buffer, CANARY, sizeof(buffer));
	memcpy(buffer, arg, known);
	*size = 4;
	FAILS(EINVAL, send(cmd, buffer));
	*size = known;
	OK(send(cmd, buffer));
	TRUE(untouched(buffer, known, sizeof(buffer)));
	memcpy(buffer, arg, known);
	*size = known + 8;
	FAILS(E2BIG, send(cmd, buffer));
	memset(buffer + known, 0, 8);
	OK(send(cmd, buffer));
	TRUE(untouched(buffer, known + 8, sizeof(buffer)));
	*size = 0x7fffffff;
	FAILS(E2BIG, send(cmd, buffer));
}

static long ctl_sized(unsigned int cmd, void *arg)
{
	return ctl(cmd, arg, arg == BAD ? 8 : *(__u32 *)arg);
}

#include "headerc_upstream.h"
#include "headerc_own.h"

/* Whatever is sent: an error, or what it says; the kernel's log is the judge. Snapshots that come of it are destroyed. */
static void anything(void)
{
	static __u8 ids[1024][16];
	struct blksnap_snapshot_collect all = { .count = 1024, .ids = address(ids) };
	static __u8 buffer[1024];
	void *const places[] = { 0, BAD, buffer, buffer + 1021, (void *)-1L, (void *)-4096L, page };
	__u32 seed = 20261123;
	int i, k;

	for (i = 0; i < 1500; i++) {
		void *place = places[(seed >> 8) % 7];
		__u32 nr = (seed >> 16) % 72, size = (seed >> 4) % 80;

		for (k = 0; k < 64; k++) {
			seed = seed * 1664525 + 1013904223;
			buffer[k] = seed >> 24 < 160 ? 0 : seed >> 20;
		}
		/* A snapshot of one's own would be waited for; what is not ours is not to be told to wait. */
		if (nr == 5)
			buffer[16] = buffer[17] = buffer[18] = buffer[19] = 0;
		if (seed & 1)
			control_ioctl(_IOC(_IOC_READ | _IOC_WRITE, BLKSNAP, nr, size), place);
		else if (seed & 2)
			control_ioctl(_IOC(nr < 2 ? 2 : 1, BLKSNAP, nr, nr ? 16 : 8), place);
		else
			ctl(nr, place, size);
	}
	OK(control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_COLLECT, &all));
	while (all.count--)
		OK(control_ioctl(IOCTL_BLKSNAP_SNAPSHOT_DESTROY, ids[all.count]));
}

static int run(int count, char **arguments)
{
	SAME(count, 4);
	disk = call(__NR_open, (long)arguments[1], O_RDONLY, 0);
	writer = call(__NR_open, (long)arguments[1], O_WRONLY | O_DIRECT, 0);
	control = call(__NR_open, (long)"/dev/" BLKSNAP_CTL, O_RDWR, 0);
	folder = arguments[2];
	TRUE(disk >= 0 && writer >= 0 && control >= 0);
	upstream_device();
	upstream_snapshot();
	own_snapshot(arguments[3]);
	own_bound();
	anything();
	SAME(snapshots(), 0);
	OK(detach());
	return 0;
}
