// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is done after each test of a guest, in one process, as starting programs is dear in an emulated one:
 *
 *   tidy COMPLAINTS DEVICE…
 *
 * 1. Destroys every snapshot and detaches every device.
 * 2. Says on standard output what is still there of ours: a snapshot, an image.
 * 3. Empties the first 128 KiB of each DEVICE where they hold anything, and has its partitions read again.
 * 4. Reads the kernel's log from where the last call stopped (descriptor 9 is /dev/kmsg, shared with the caller) and prints
 *    the first line that holds one of the words of the file COMPLAINTS.
 *
 * Nothing on standard output: all is well. Exits with 1 when it cannot do its work.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DETACH 0xc020128fu /* _IOWR(0x12, 143, 32 bytes) */
#define DESTROY 0x40105602u /* _IOW('V', 2, 16 bytes) */
#define COLLECT 0x80105604u /* _IOR('V', 4, 16 bytes) */
#define ROOM 256 /* snapshots */
#define HEAD (128 << 10)
#define KMSG 9

static int destroy_all(void)
{
	static uint8_t ids[ROOM][16];
	struct { uint32_t count; uint64_t ids; } c = { ROOM, (uintptr_t)ids };
	int fd = open("/dev/blksnap-control", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return 0;
	if (!ioctl(fd, COLLECT, &c))
		for (uint32_t i = 0; i < c.count; i++)
			ioctl(fd, DESTROY, ids[i]);
	c.count = ROOM;
	if (ioctl(fd, COLLECT, &c) || c.count)
		printf("%u snapshots cannot be destroyed\n", c.count);
	close(fd);
	return 1;
}

static void detach_all(void)
{
	static uint8_t names[][32] = { "blksnap", "sample", "rust" };
	struct dirent *entry;
	DIR *dir = opendir("/sys/class/block");

	while (dir && (entry = readdir(dir))) {
		char path[300];
		int fd;

		if (!strncmp(entry->d_name, "blksnap-image", 13))
			printf("%s is left\n", entry->d_name);
		snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
		fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0)
			continue;
		/* Invalid: others of these are attached. Nothing is: the rest need not be asked. */
		for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
			if (!ioctl(fd, DETACH, names[i]) || errno == EINVAL)
				continue;
			if (errno != ENOENT && errno != ENOTTY)
				printf("%s cannot be detached: %s\n", path, strerror(errno));
			break;
		}
		close(fd);
	}
	if (dir)
		closedir(dir);
}

static int empty(const char *path)
{
	static char head[HEAD] __attribute__((aligned(4096))), zero[HEAD] __attribute__((aligned(4096)));
	int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC), used, busy;
	char first[300];

	if (fd < 0 || pread(fd, head, HEAD, 0) != HEAD) {
		perror(path);
		return 1;
	}
	snprintf(first, sizeof(first), "%s1", path);
	used = memcmp(head, zero, HEAD) != 0 || !access(first, F_OK);
	close(fd);
	if (!used)
		return 0;
	fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (fd < 0 || pwrite(fd, zero, HEAD, 0) != HEAD) {
		perror(path);
		return 1;
	}
	/* Refused while somebody looks at a partition: that ends soon. */
	for (int i = 0; (busy = ioctl(fd, BLKRRPART) && errno == EBUSY) && i < 1000; i++)
		usleep(20000);
	if (busy)
		printf("the partitions of %s are in use\n", path);
	close(fd);
	return 0;
}

static int complaints(const char *file)
{
	static char words[64][64], record[8192];
	int count = 0, said = 0;
	ssize_t length;
	FILE *list = fopen(file, "r");

	if (!list || fcntl(KMSG, F_SETFL, O_NONBLOCK)) {
		perror(file);
		return 1;
	}
	while (count < 64 && fgets(words[count], sizeof(words[0]), list)) {
		words[count][strcspn(words[count], "\n")] = 0;
		count += words[count][0] != 0;
	}
	/* EPIPE: older records were overwritten; the next read goes on with those that are left. */
	while ((length = read(KMSG, record, sizeof(record) - 1)) > 0 || (length < 0 && errno == EPIPE)) {
		char *text;

		if (length < 0)
			continue;
		record[length] = 0;
		text = strchr(record, ';');
		if (!text || said)
			continue;
		text[strcspn(text, "\n")] = 0;
		for (int i = 0; i < count && !said; i++)
			if (strstr(text, words[i]))
				said = printf("kernel log: %s\n", text + 1);
	}
	return 0;
}

int main(int argc, char **argv)
{
	int bad = 0;

	if (argc < 2)
		return 2;
	if (destroy_all())
		detach_all();
	for (int i = 2; i < argc; i++)
		bad |= empty(argv[i]);
	return bad | complaints(argv[1]);
}
