// SPDX-License-Identifier: GPL-2.0-only
/*
 * A 32-bit program without a C library, which attaches and detaches the filter `blksnap`: compat DEVICE. It exits with 0, or with
 * the number of the step that went wrong. Layouts are those that a 32-bit compiler gives to the interface's structures.
 */
#define O_RDONLY 0
#define EALREADY 114
#define ENOENT 2
#define ENOTTY 25
#define EFAULT 14

struct attach { unsigned char name[32]; unsigned long long opt; unsigned optlen; };
struct detach { unsigned char name[32]; };
struct ctl { unsigned char name[32]; unsigned cmd, optlen; unsigned long long opt; };
struct cbtinfo { unsigned long long capacity; unsigned block_size, block_count; unsigned char generation[16], number; };

#define IOWR(nr, type) (3u << 30 | (unsigned)sizeof(type) << 16 | 0x12 << 8 | (nr))

_Static_assert(sizeof(struct attach) == 44 && sizeof(struct ctl) == 48 && sizeof(void *) == 4, "a 32-bit program");

static int call(int nr, unsigned a, unsigned b, unsigned c)
{
	int ret;

	__asm__ volatile("int $0x80" : "=a"(ret) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory");
	return ret;
}

static int ioctl(int fd, unsigned cmd, void *arg)
{
	return call(54, (unsigned)fd, cmd, (unsigned)arg);
}

static int steps(const char *device)
{
	struct attach a = { .name = "blksnap" };
	struct detach d = { .name = "blksnap" };
	unsigned char info[40] = { 0 };
	struct ctl c = { .name = "blksnap", .cmd = 0, .optlen = sizeof(info), .opt = (unsigned)info };
	int fd = call(5, (unsigned)device, O_RDONLY, 0);

	if (fd < 0)
		return 1;
	if (ioctl(fd, IOWR(143, struct detach), &d) != -ENOENT)
		return 2;
	if (ioctl(fd, IOWR(142, struct attach), (void *)8) != -EFAULT)
		return 3;
	if (ioctl(fd, IOWR(142, struct attach), &a))
		return 4;
	if (ioctl(fd, IOWR(142, struct attach), &a) != -EALREADY)
		return 5;
	if (ioctl(fd, IOWR(144, struct ctl), &c))
		return 6;
	/* 64 KiB, the least tracking block. */
	if (*(unsigned *)(info + 8) != 65536)
		return 7;
	if (ioctl(fd, IOWR(145, struct attach), &a) != -ENOTTY)
		return 8;
	if (ioctl(fd, IOWR(143, struct detach), &d))
		return 9;
	return 0;
}

__attribute__((used)) static void start(unsigned *stack)
{
	/* argc, argv[0], argv[1]. */
	call(1, stack[0] == 2 ? (unsigned)steps((const char *)stack[2]) : 99, 0, 0);
	__builtin_unreachable();
}

__asm__(".globl _start\n_start:\n\tmov %esp, %eax\n\tpush %eax\n\tcall start\n");
