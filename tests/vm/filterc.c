// SPDX-License-Identifier: GPL-2.0-only
/*
 * A client of any filter: filterc FILTER VERB DEVICE [NUMBER]. A failing call prints the name of its errno alone on standard error and
 * exits with 1. Of the filters `sample` and `rust`: stat. Of `sample`: close MILLISECONDS, open; of `rust`: mode NUMBER. Of any device: zero BYTES, from its start by BLKZEROOUT.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define ATTACH 0xc030128eu /* _IOWR(0x12, 142, 48 bytes) */
#define DETACH 0xc020128fu /* _IOWR(0x12, 143, 32 bytes) */
#define CTL 0xc0301290u /* _IOWR(0x12, 144, 48 bytes) */
#define ZEROOUT 0x127fu /* _IO(0x12, 127) */

struct attach { uint8_t name[32]; uint64_t opt; uint32_t optlen; };
struct detach { uint8_t name[32]; };
struct ctl { uint8_t name[32]; uint32_t cmd, optlen; uint64_t opt; };

static int run(int fd, const char *filter, const char *verb, uint64_t number)
{
	struct attach a = { .opt = 0 };
	struct detach d = { .name = "" };
	struct ctl c = { .opt = 0 };
	uint64_t counts[5] = { 0 }, range[2] = { 0, number };
	uint32_t ms = (uint32_t)number;

	memcpy(a.name, filter, strnlen(filter, 31));
	memcpy(d.name, a.name, 32);
	memcpy(c.name, a.name, 32);
	if (!strcmp(verb, "attach"))
		return ioctl(fd, ATTACH, &a);
	if (!strcmp(verb, "detach"))
		return ioctl(fd, DETACH, &d);
	if (!strcmp(verb, "zero"))
		return ioctl(fd, ZEROOUT, range);
	if (!strcmp(verb, "stat")) {
		c.optlen = sizeof(counts);
		c.opt = (uintptr_t)counts;
		if (ioctl(fd, CTL, &c))
			return -1;
		printf("shown=%lu\nsectors=%lu\nheld=%lu\nsent=%lu\nserved=%lu\n", counts[0], counts[1], counts[2], counts[3],
		       counts[4]);
		return 0;
	}
	if (!strcmp(verb, "close")) {
		c.cmd = 1;
		c.optlen = sizeof(ms);
		c.opt = (uintptr_t)&ms;
	} else if (!strcmp(verb, "mode")) {
		c.cmd = 5;
		c.optlen = sizeof(ms);
		c.opt = (uintptr_t)&ms;
	} else if (!strcmp(verb, "open")) {
		c.cmd = 2;
	} else {
		fprintf(stderr, "no such verb: %s\n", verb);
		exit(2);
	}
	return ioctl(fd, CTL, &c);
}

int main(int argc, char **argv)
{
	int fd = argc < 4 ? -1 : open(argv[3], !strcmp(argv[2], "zero") ? O_RDWR : O_RDONLY);

	if (fd < 0) {
		fprintf(stderr, "filterc FILTER VERB DEVICE [NUMBER]\n");
		return 2;
	}
	if (!run(fd, argv[1], argv[2], argc > 4 ? strtoull(argv[4], NULL, 0) : 0))
		return 0;
	fprintf(stderr, "%s\n", strerrorname_np(errno));
	return 1;
}
