// SPDX-License-Identifier: GPL-2.0-only
/*
 * A foreign client of the interface: every number and layout is written down here by hand, as programs that were
 * written against the upstream interface have them, and nothing is taken from our own headers. One call a command;
 * a failing call prints the name of its errno alone on standard error and exits with 1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define ATTACH 0xc030128eu /* _IOWR(0x12, 142, 48 bytes) */
#define DETACH 0xc020128fu /* _IOWR(0x12, 143, 32 bytes) */
#define CTL 0xc0301290u /* _IOWR(0x12, 144, 48 bytes) */
#define VERSION 0x80085600u /* _IOR('V', 0, 8 bytes) */
#define CREATE 0xc0205601u /* _IOWR('V', 1, 32 bytes) */
#define DESTROY 0x40105602u /* _IOW('V', 2, 16 bytes) */
#define TAKE 0x40105603u /* _IOW('V', 3, 16 bytes) */
#define COLLECT 0x80105604u /* _IOR('V', 4, 16 bytes) */
#define WAIT_EVENT 0x90005605u /* _IOR('V', 5, 4096 bytes) */
#define OPEN 0xc0305641u /* _IOWR('V', 65, 48 bytes): as it first was */
#define OPEN_2 0xc0485641u /* _IOWR('V', 65, 72 bytes) */
#define STAT 0xc0605642u /* _IOWR('V', 66, 96 bytes) */
#define STORE_ADD 0xc0385644u /* _IOWR('V', 68, 56 bytes) */
#define MEMBERS 0xc0205645u /* _IOWR('V', 69, 32 bytes) */

struct attach { uint8_t name[32]; uint64_t opt; uint32_t optlen; };
struct detach { uint8_t name[32]; };
struct ctl { uint8_t name[32]; uint32_t cmd; uint32_t optlen; uint64_t opt; };
struct create { uint64_t limit; uint64_t path; uint8_t id[16]; };
struct collect { uint32_t count; uint64_t ids; };
struct event { uint8_t id[16]; uint32_t timeout; uint32_t code; int64_t time; uint8_t data[4064]; };
struct cbtinfo { uint64_t capacity; uint32_t block_size, block_count; uint8_t generation[16]; uint8_t number; };
struct cbtmap { uint32_t offset, length; uint64_t buffer; };
struct range { uint64_t offset, count; };
struct cbtdirty { uint32_t count; uint64_t ranges; };
struct info { int32_t error; uint8_t image[32]; };
struct open_ours { uint32_t size, flags, store, gate_ms; uint64_t limit, path; uint8_t id[16]; };
struct open_2 {
	struct open_ours first; uint32_t policy, pool_kib; int32_t fd; uint32_t extent_count; uint64_t extents;
};
struct store_add {
	uint32_t size, kind; uint8_t id[16]; uint64_t limit, path; int32_t fd; uint32_t extent_count; uint64_t extents;
};
struct add { uint32_t size, flags; uint8_t id[16]; };
struct free_space { uint32_t size, count; uint8_t id[16]; uint64_t extents, accepted; };
struct consumer { uint32_t size, op; uint8_t name[64], generation[16]; uint64_t number; uint32_t index, reserved; };
struct extents { uint32_t size, count; uint8_t generation[16]; uint64_t base, offset, next, extents; };
struct members { uint32_t size, count; uint8_t id[16]; uint64_t entries; };
struct member { uint32_t major, minor; int32_t error; uint32_t flags; uint8_t image[32]; uint64_t number; };
struct stat_ours {
	uint32_t size, state; uint8_t id[16]; int32_t error; uint32_t devices;
	uint64_t gate_ns, taken_ns, capacity, used, limit, memory, full_in_ms; uint32_t policy, reserved;
};
struct image_stat {
	uint32_t size; int32_t error; uint8_t image[32], snapshot[16];
	uint64_t number, copy_reads, copy_read_bytes, stores, store_bytes, held, image_reads, image_writes, saved, memory;
	uint64_t spec, spec_used, free, pool, pool_limit, waits, wait_ns, longest_ns;
};

_Static_assert(sizeof(struct attach) == 48 && sizeof(struct ctl) == 48 && sizeof(struct create) == 32, "layout");
_Static_assert(sizeof(struct event) == 4096 && sizeof(struct info) == 36 && sizeof(struct open_ours) == 48, "layout");
_Static_assert(sizeof(struct stat_ours) == 96 && sizeof(struct cbtinfo) == 40 && sizeof(struct open_2) == 72, "layout");
_Static_assert(sizeof(struct store_add) == 56 && sizeof(struct image_stat) == 200 && sizeof(struct consumer) == 104, "layout");

static const char *filter = "blksnap";
static const char *control = "/dev/blksnap-control";

static int fail(void)
{
	fprintf(stderr, "%s\n", strerrorname_np(errno));
	return 1;
}

/* Of a path, or `fd:N`: a descriptor that the caller opened, of a device that may be gone since. */
static int device(const char *path)
{
	int fd = strncmp(path, "fd:", 3) ? open(path, O_RDONLY) : atoi(path + 3);

	if (fd < 0) {
		perror(path);
		exit(2);
	}
	return fd;
}

static int controller(void)
{
	int fd = open(control, O_RDWR);

	if (fd < 0) {
		fail();
		exit(2);
	}
	return fd;
}

static void named(uint8_t name[32])
{
	memset(name, 0, 32);
	memcpy(name, filter, strnlen(filter, 32));
}

static int do_ctl(int fd, uint32_t cmd, void *opt, uint32_t optlen)
{
	struct ctl c = { .cmd = cmd, .optlen = optlen, .opt = (uintptr_t)opt };

	named(c.name);
	return ioctl(fd, CTL, &c);
}

static void print_id(const uint8_t id[16])
{
	for (int i = 0; i < 16; i++)
		printf("%02x", id[i]);
	printf("\n");
}

static void parse_id(const char *text, uint8_t id[16])
{
	for (int i = 0; i < 16; i++) {
		unsigned byte = 0;

		if (sscanf(text + 2 * i, "%2x", &byte) != 1) {
			fprintf(stderr, "not an id: %s\n", text);
			exit(2);
		}
		id[i] = (uint8_t)byte;
	}
}

/* memory, extents:PATH or PATH: its kind; opens the file of the second. */
static uint32_t store_of(const char *text, uint64_t *path, int32_t *fd)
{
	*path = 0;
	*fd = -1;
	if (!strcmp(text, "memory"))
		return 0;
	if (strncmp(text, "extents:", 8)) {
		*path = (uintptr_t)text;
		return 1;
	}
	*fd = open(text + 8, O_RDWR);
	if (*fd < 0) {
		perror(text + 8);
		exit(2);
	}
	return 2;
}

static unsigned long number_of(const char *variable)
{
	const char *value = getenv(variable);

	return value ? strtoul(value, NULL, 0) : 0;
}

static int on_device(const char *verb, int argc, char **argv)
{
	int fd = device(argv[2]);

	if (!strcmp(verb, "attach")) {
		struct attach a = { .opt = 0 };

		named(a.name);
		return ioctl(fd, ATTACH, &a) ? fail() : 0;
	}
	if (!strcmp(verb, "detach")) {
		struct detach d;

		named(d.name);
		return ioctl(fd, DETACH, &d) ? fail() : 0;
	}
	if (!strcmp(verb, "add")) {
		uint8_t id[16];

		parse_id(argv[3], id);
		return do_ctl(fd, 3, id, 16) ? fail() : 0;
	}
	if (!strcmp(verb, "join")) { /* DEV ID: also when it is in another one */
		struct add a = { .size = sizeof(a), .flags = 1 };

		parse_id(argv[3], a.id);
		return do_ctl(fd, 67, &a, sizeof(a)) ? fail() : 0;
	}
	if (!strcmp(verb, "free")) { /* DEV ID: ranges on standard input, a line OFFSET LENGTH each, in bytes */
		static struct range ranges[65536];
		struct free_space f = { .size = sizeof(f), .extents = (uintptr_t)ranges };
		unsigned long long offset, length;

		parse_id(argv[3], f.id);
		while (f.count < 65536 && scanf("%llu %llu", &offset, &length) == 2)
			ranges[f.count++] = (struct range){ offset, length };
		if (do_ctl(fd, 68, &f, sizeof(f)))
			return fail();
		printf("%llu\n", (unsigned long long)f.accepted);
		return 0;
	}
	if (!strcmp(verb, "consumer")) { /* DEV get|set|remove|list NAME|INDEX [NUMBER]; the generation is the current one */
		struct { uint32_t size, block; uint64_t capacity; uint8_t generation[16]; uint64_t number, blocks, memory; }
			state = { .size = 56 };
		struct consumer c = { .size = sizeof(c) };

		if (do_ctl(fd, 64, &state, 56))
			return fail();
		memcpy(c.generation, state.generation, 16);
		c.op = !strcmp(argv[3], "get") ? 0 : !strcmp(argv[3], "set") ? 1 : !strcmp(argv[3], "remove") ? 2 : 3;
		if (c.op == 3)
			c.index = (uint32_t)strtoul(argv[4], NULL, 0);
		else
			strncpy((char *)c.name, argv[4], 63);
		c.number = argc > 5 ? strtoull(argv[5], NULL, 0) : 0;
		if (do_ctl(fd, 69, &c, sizeof(c)))
			return fail();
		printf("%.64s %llu\n", (char *)c.name, (unsigned long long)c.number);
		return 0;
	}
	if (!strcmp(verb, "info") && argc > 3) { /* DEV ID */
		struct image_stat s = { .size = sizeof(s) };

		parse_id(argv[3], s.snapshot);
		if (do_ctl(fd, 66, &s, sizeof(s)))
			return fail();
		printf("%d %.32s\n", s.error, s.image);
		return 0;
	}
	if (!strcmp(verb, "info")) {
		struct info i = { 0 };

		if (do_ctl(fd, 4, &i, sizeof(i)))
			return fail();
		printf("%d %.32s\n", i.error, i.image);
		return 0;
	}
	if (!strcmp(verb, "cbtinfo")) {
		struct cbtinfo i = { 0 };

		if (do_ctl(fd, 0, &i, sizeof(i)))
			return fail();
		printf("capacity=%llu\nblock_size=%u\nblock_count=%u\nnumber=%u\ngeneration=",
		       (unsigned long long)i.capacity, i.block_size, i.block_count, i.number);
		print_id(i.generation);
		return 0;
	}
	if (!strcmp(verb, "cbtmap")) { /* DEV [OFFSET LENGTH]: the map on standard output */
		struct cbtinfo i = { 0 };
		struct cbtmap m = { 0 };
		uint8_t *buffer;

		if (do_ctl(fd, 0, &i, sizeof(i)))
			return fail();
		m.offset = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 0) : 0;
		m.length = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 0) : i.block_count - m.offset;
		buffer = calloc(m.length ? m.length : 1, 1);
		m.buffer = (uintptr_t)buffer;
		if (do_ctl(fd, 1, &m, sizeof(m)))
			return fail();
		return fwrite(buffer, 1, m.length, stdout) == m.length ? 0 : 2;
	}
	if (!strcmp(verb, "extents")) { /* DEV OFFSET [GENERATION]: what changed after take 0, from an offset on */
		static struct range found[64];
		struct extents e = { .size = sizeof(e), .count = 64, .offset = strtoull(argv[3], NULL, 0), .extents = (uintptr_t)found };
		struct { uint32_t size, block; uint64_t capacity; uint8_t generation[16]; uint64_t number, blocks, memory; }
			state = { .size = 56 };

		if (argc > 4)
			parse_id(argv[4], e.generation);
		else if (do_ctl(fd, 64, &state, 56))
			return fail();
		else
			memcpy(e.generation, state.generation, 16);
		if (do_ctl(fd, 65, &e, sizeof(e)))
			return fail();
		for (uint32_t i = 0; i < e.count; i++)
			printf("%llu %llu\n", (unsigned long long)found[i].offset, (unsigned long long)found[i].count);
		printf("next=%llu\ngeneration=", (unsigned long long)e.next);
		print_id(e.generation);
		return 0;
	}
	if (!strcmp(verb, "cbtmemory")) { /* DEV: what tracking takes, in bytes */
		struct { uint32_t size, block; uint64_t capacity; uint8_t generation[16]; uint64_t number, blocks, memory; }
			state = { .size = 56 };

		if (do_ctl(fd, 64, &state, 56))
			return fail();
		printf("%llu\n", (unsigned long long)state.memory);
		return 0;
	}
	if (!strcmp(verb, "dirty")) {
		struct range r = { strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0) };
		struct cbtdirty d = { 1, (uintptr_t)&r };

		return do_ctl(fd, 2, &d, sizeof(d)) ? fail() : 0;
	}
	if (!strcmp(verb, "counters")) { /* DEV [ID] */
		struct image_stat s = { .size = sizeof(s) };

		if (argc > 3)
			parse_id(argv[3], s.snapshot);

		if (do_ctl(fd, 66, &s, sizeof(s)))
			return fail();
		printf("copy_reads=%llu\ncopy_read_bytes=%llu\nstores=%llu\nstore_bytes=%llu\nheld=%llu\nsaved_blocks=%llu\n"
		       "memory=%llu\nspec_blocks=%llu\nspec_used=%llu\nfree_bytes=%llu\npool_bytes=%llu\npool_limit=%llu\n"
		       "image_reads=%llu\nimage_writes=%llu\npool_waits=%llu\npool_wait_ns=%llu\npool_wait_longest_ns=%llu\n",
		       (unsigned long long)s.copy_reads, (unsigned long long)s.copy_read_bytes,
		       (unsigned long long)s.stores, (unsigned long long)s.store_bytes, (unsigned long long)s.held,
		       (unsigned long long)s.saved, (unsigned long long)s.memory, (unsigned long long)s.spec,
		       (unsigned long long)s.spec_used, (unsigned long long)s.free, (unsigned long long)s.pool,
		       (unsigned long long)s.pool_limit, (unsigned long long)s.image_reads, (unsigned long long)s.image_writes,
		       (unsigned long long)s.waits, (unsigned long long)s.wait_ns, (unsigned long long)s.longest_ns);
		return 0;
	}
	if (!strcmp(verb, "ctl")) { /* DEV CMD OPTLEN [null]: for the table of errors */
		static uint8_t buffer[4096];

		return do_ctl(fd, (uint32_t)strtoul(argv[3], NULL, 0), argc > 5 ? (void *)8 : buffer,
			      (uint32_t)strtoul(argv[4], NULL, 0)) ? fail() : 0;
	}
	if (!strcmp(verb, "badpointer"))
		return ioctl(fd, CTL, (void *)8) ? fail() : 0;
	return -1;
}

static unsigned long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* All steps of a snapshot. Prints its id, the time before and after the take, and the images' device nodes. */
static int whole_snapshot(int fd, int argc, char **argv)
{
	struct open_ours o = { .size = sizeof(o), .store = strcmp(argv[2], "memory") != 0, .limit = strtoull(argv[3], NULL, 0) };
	unsigned long long before, after;

	o.path = o.store ? (uintptr_t)argv[2] : 0;
	if (ioctl(fd, OPEN, &o))
		return fail();
	for (int i = 4; i < argc; i++) {
		int disk = device(argv[i]);
		struct attach a = { .opt = 0 };

		named(a.name);
		if ((ioctl(disk, ATTACH, &a) && errno != EALREADY) || do_ctl(disk, 3, o.id, 16))
			return fail();
		close(disk);
	}
	before = now();
	if (ioctl(fd, TAKE, o.id))
		return fail();
	after = now();
	for (int i = 0; i < 16; i++)
		printf("%02x", o.id[i]);
	printf(" %llu %llu", before, after);
	for (int i = 4; i < argc; i++) {
		struct info info = { 0 };
		char node[48];
		int disk = device(argv[i]);

		if (do_ctl(disk, 4, &info, sizeof(info)))
			return fail();
		close(disk);
		snprintf(node, sizeof(node), "/dev/%.32s", info.image);
		for (int wait = 0; access(node, F_OK) && wait < 500; wait++)
			usleep(10000);
		printf(" %s", node);
	}
	printf("\n");
	return 0;
}

static void handled(int signal)
{
	(void)signal;
}

static int on_control(const char *verb, int argc, char **argv)
{
	int fd = controller();

	if (!strcmp(verb, "version")) {
		uint16_t v[4];

		if (ioctl(fd, VERSION, v))
			return fail();
		printf("%u.%u.%u.%u\n", v[0], v[1], v[2], v[3]);
		return 0;
	}
	if (!strcmp(verb, "create")) { /* PATH [SECTORS] */
		struct create c = { .limit = argc > 3 ? strtoull(argv[3], NULL, 0) : 0, .path = (uintptr_t)argv[2] };

		if (ioctl(fd, CREATE, &c))
			return fail();
		print_id(c.id);
		return 0;
	}
	if (!strcmp(verb, "open2")) { /* STORE [BYTES]; POLICY, POOL_KIB and GATE_MS in the environment */
		struct open_2 o = { .first = { .size = sizeof(o), .limit = argc > 3 ? strtoull(argv[3], NULL, 0) : 0,
					       .gate_ms = (uint32_t)number_of("GATE_MS") },
				    .policy = (uint32_t)number_of("POLICY"), .pool_kib = (uint32_t)number_of("POOL_KIB") };

		o.first.store = store_of(argv[2], &o.first.path, &o.fd);
		if (ioctl(fd, OPEN_2, &o))
			return fail();
		print_id(o.first.id);
		return 0;
	}
	if (!strcmp(verb, "addstore")) { /* ID STORE [BYTES] */
		struct store_add a = { .size = sizeof(a), .limit = argc > 4 ? strtoull(argv[4], NULL, 0) : 0 };

		parse_id(argv[2], a.id);
		a.kind = store_of(argv[3], &a.path, &a.fd);
		return ioctl(fd, STORE_ADD, &a) ? fail() : 0;
	}
	if (!strcmp(verb, "addall")) { /* ID DEV...: attaches and adds */
		uint8_t id[16];

		parse_id(argv[2], id);
		for (int i = 3; i < argc; i++) {
			int fd_device = device(argv[i]);
			struct attach a = { .opt = 0 };

			named(a.name);
			if (ioctl(fd_device, ATTACH, &a) || do_ctl(fd_device, 3, id, 16))
				return fail();
			close(fd_device);
		}
		return 0;
	}
	if (!strcmp(verb, "members")) { /* ID */
		static struct member entries[128];
		struct members m = { .size = sizeof(m), .count = 128, .entries = (uintptr_t)entries };

		parse_id(argv[2], m.id);
		if (ioctl(fd, MEMBERS, &m))
			return fail();
		for (uint32_t i = 0; i < m.count; i++)
			printf("%u:%u %d %.32s %llu\n", entries[i].major, entries[i].minor, entries[i].error, entries[i].image,
			       (unsigned long long)entries[i].number);
		return 0;
	}
	if (!strcmp(verb, "open") || !strcmp(verb, "hold")) { /* memory|PATH [BYTES]; hold keeps it, and tells its events, till it is killed */
		struct open_ours o = { .size = sizeof(o), .flags = !strcmp(verb, "hold"), .store = strcmp(argv[2], "memory") != 0,
				       .limit = argc > 3 ? strtoull(argv[3], NULL, 0) : 0 };

		o.path = o.store ? (uintptr_t)argv[2] : 0;
		o.gate_ms = getenv("GATE_MS") ? (uint32_t)strtoul(getenv("GATE_MS"), NULL, 0) : 0;
		if (ioctl(fd, OPEN, &o))
			return fail();
		print_id(o.id);
		fflush(stdout);
		while (o.flags) {
			static struct event e;
			struct pollfd wanted = { .fd = fd, .events = POLLIN };

			if (poll(&wanted, 1, -1) < 0 || wanted.revents != POLLIN)
				return fail();
			/* What poll told of is there, without waiting. */
			memcpy(e.id, o.id, sizeof(e.id));
			if (ioctl(fd, WAIT_EVENT, &e))
				return fail();
			printf("code=%u\n", e.code);
			fflush(stdout);
		}
		return 0;
	}
	if (!strcmp(verb, "snapshot")) /* memory|PATH BYTES DEVICE… */
		return argc > 4 ? whole_snapshot(fd, argc, argv) : -1;
	if (!strcmp(verb, "stat")) {
		struct stat_ours s = { .size = sizeof(s) };

		parse_id(argv[2], s.id);
		if (ioctl(fd, STAT, &s))
			return fail();
		printf("state=%u\nerror=%d\ndevices=%u\ngate_ns=%llu\ntaken_ns=%llu\ncapacity=%llu\nused=%llu\nlimit=%llu\n"
		       "memory=%llu\nfull_in_ms=%llu\npolicy=%u\n", s.state, s.error, s.devices, (unsigned long long)s.gate_ns,
		       (unsigned long long)s.taken_ns, (unsigned long long)s.capacity, (unsigned long long)s.used,
		       (unsigned long long)s.limit, (unsigned long long)s.memory,
		       (unsigned long long)s.full_in_ms, s.policy);
		return 0;
	}
	if (!strcmp(verb, "take") || !strcmp(verb, "destroy")) {
		uint8_t id[16];

		parse_id(argv[2], id);
		return ioctl(fd, *verb == 't' ? TAKE : DESTROY, id) ? fail() : 0;
	}
	if (!strcmp(verb, "takes")) { /* DEV COUNT: so many snapshots, one after the other */
		int fd_device = device(argv[2]);

		for (long i = strtol(argv[3], NULL, 0); i > 0; i--) {
			struct open_ours o = { .size = sizeof(o) };

			if (ioctl(fd, OPEN, &o) || do_ctl(fd_device, 3, o.id, 16) || ioctl(fd, TAKE, o.id) ||
			    ioctl(fd, DESTROY, o.id))
				return fail();
		}
		return 0;
	}
	if (!strcmp(verb, "collect")) { /* [ROOM]: without it the count alone, then the ids */
		struct collect c = { 0, 0 };
		uint8_t (*ids)[16];
		uint32_t count;

		if (argc > 2) {
			ids = calloc(strtoul(argv[2], NULL, 0) + 1, 16);
			c.count = (uint32_t)strtoul(argv[2], NULL, 0);
			c.ids = (uintptr_t)ids;
			if (ioctl(fd, COLLECT, &c)) {
				printf("%u\n", c.count);
				return fail();
			}
			for (uint32_t i = 0; i < c.count; i++)
				print_id(ids[i]);
			return 0;
		}
		if (ioctl(fd, COLLECT, &c))
			return fail();
		count = c.count;
		printf("%u\n", count);
		return 0;
	}
	if (!strcmp(verb, "wait") || !strcmp(verb, "interrupted")) { /* ID MILLISECONDS; interrupted: a signal comes every 20 ms, and is handled */
		static struct event e;
		struct itimerval every = { { 0, 20000 }, { 0, 20000 } };
		struct sigaction nothing = { .sa_handler = handled };

		parse_id(argv[2], e.id);
		e.timeout = (uint32_t)strtoul(argv[3], NULL, 0);
		if (*verb == 'i' && (sigaction(SIGALRM, &nothing, NULL) || setitimer(ITIMER_REAL, &every, NULL)))
			return fail();
		if (ioctl(fd, WAIT_EVENT, &e))
			return fail();
		printf("code=%u\n", e.code);
		return 0;
	}
	if (!strcmp(verb, "raw")) { /* NUMBER: on zeros */
		static uint8_t buffer[8192];

		return ioctl(fd, strtoul(argv[2], NULL, 0), buffer) ? fail() : 0;
	}
	return -1;
}

/*
 * Each 4 KiB of the image is as in the copy, or cannot be read (EIO). Prints how many of each; exits with 1 when anything else
 * was read, or when a read failed with another error.
 */
static int judge(const char *image, const char *copy)
{
	static uint8_t is[65536] __attribute__((aligned(4096))), was[65536] __attribute__((aligned(4096)));
	int fd = open(image, O_RDONLY | O_DIRECT), other = open(copy, O_RDONLY);
	unsigned long right = 0, eio = 0;
	off_t at = 0;
	ssize_t n;

	if (fd < 0 || other < 0) {
		perror(fd < 0 ? image : copy);
		return 2;
	}
	while ((n = pread(other, was, sizeof(was), at)) > 0) {
		ssize_t step = pread(fd, is, n, at) == n ? n : 4096;

		for (ssize_t from = 0; from < n; from += step) {
			if (step == 4096 && pread(fd, is + from, step, at + from) != step) {
				if (errno != EIO) {
					perror(image);
					return 1;
				}
				eio++;
			} else if (memcmp(is + from, was + from, step)) {
				fprintf(stderr, "wrong between %lld and %lld\n", (long long)(at + from), (long long)(at + from + step));
				return 1;
			} else {
				right += step / 4096;
			}
		}
		at += n;
	}
	printf("right=%lu\neio=%lu\n", right, eio);
	return 0;
}

int main(int argc, char **argv)
{
	static const char *devices[] = { "attach", "detach", "add", "join", "free", "consumer", "info", "cbtinfo", "cbtmap", "extents", "dirty", "cbtmemory", "counters", "ctl",
					 "badpointer", NULL };
	int result;

	if (getenv("FILTER"))
		filter = getenv("FILTER");
	if (argc < 2)
		return 2;
	if (argc == 4 && !strcmp(argv[1], "judge"))
		return judge(argv[2], argv[3]);
	if (getenv("AS_NOBODY") && setresuid(65534, 65534, 65534))
		return 2;
	for (int i = 0; devices[i]; i++) {
		if (strcmp(argv[1], devices[i]))
			continue;
		result = argc < 3 ? -1 : on_device(argv[1], argc, argv);
		if (result < 0)
			fprintf(stderr, "snapc: wrong arguments\n");
		return result < 0 ? 2 : result;
	}
	result = on_control(argv[1], argc, argv);
	if (result < 0)
		fprintf(stderr, "snapc: no such command\n");
	return result < 0 ? 2 : result;
}
