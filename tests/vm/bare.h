/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a program needs that is built without a C library, for 32 bits and for 64: system calls, and checks. A check that fails says
 * its file and line and what came, and ends the program with 1.
 */
#ifndef BARE_H
#define BARE_H

#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/types.h>

static long call(long nr, long a, long b, long c)
{
	long ret;

#ifdef __i386__
	__asm__ volatile("int $0x80" : "=a"(ret) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory");
#else
	__asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
#endif
	return ret;
}

/* The compiler calls these two by itself. */
void *memset(void *to, int value, unsigned long n)
{
	void *at = to;

	__asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(value) : "memory");
	return to;
}

void *memcpy(void *to, const void *from, unsigned long n)
{
	void *at = to;

	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(n) : : "memory");
	return to;
}

static int same_bytes(const void *a, const void *b, unsigned long n)
{
	const __u8 *x = a, *y = b;

	while (n && *x == *y)
		n--, x++, y++;
	return !n;
}

static unsigned long length(const char *text)
{
	unsigned long n = 0;

	while (text[n])
		n++;
	return n;
}

static void say(const char *text)
{
	call(__NR_write, 2, (long)text, length(text));
}

/* Of a larger one, what a long has room for. */
static void say_number(long long value)
{
	char digits[24], *at = digits + sizeof(digits) - 1;
	unsigned long left = value < 0 ? -value : value;

	*at = 0;
	do
		*--at = '0' + left % 10;
	while (left /= 10);
	if (value < 0)
		*--at = '-';
	say(at);
}

static void leave(int code)
{
	call(__NR_exit, code, 0, 0);
	__builtin_unreachable();
}

static void expect(const char *file, int line, long long got, long long wanted)
{
	if (got == wanted)
		return;
	say(file);
	say(":");
	say_number(line);
	say(": ");
	say_number(got);
	say(", expected ");
	say_number(wanted);
	say("\n");
	leave(1);
}

#define SAME(got, wanted) expect(__FILE__, __LINE__, (long long)(got), (long long)(wanted))
#define OK(result) SAME(result, 0)
#define FAILS(error, result) SAME(result, -(error))
#define TRUE(condition) SAME(!!(condition), 1)

/* A pointer as the interface has it. */
static __u64 address(const void *at)
{
	return (unsigned long)at;
}

static int run(int count, char **arguments);

__attribute__((used)) static void start(long *stack)
{
	leave(run((int)stack[0], (char **)(stack + 1)));
}

#ifdef __i386__
__asm__(".globl _start\n_start:\n\tmov %esp, %eax\n\tand $-16, %esp\n\tsub $12, %esp\n\tpush %eax\n\tcall start\n");
#else
__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall start\n");
#endif

#endif
