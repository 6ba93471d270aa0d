// SPDX-License-Identifier: GPL-2.0-only
/* Time, identifiers, memory left, user memory, permission. */
#include <linux/capability.h>
#include <linux/compat.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <linux/uuid.h>
#include "snap.h"

u64 bsk_ktime_ns(void)
{
	return ktime_get_ns();
}

u64 bsk_tick_ns(void)
{
	return get_jiffies_64() * TICK_NSEC;
}

u64 bsk_real_ns(void)
{
	return ktime_get_real_ns();
}

void bsk_msleep(u32 ms)
{
	msleep(ms);
}

void bsk_uuid(u8 out[16])
{
	uuid_t u;

	uuid_gen(&u);
	memcpy(out, &u, 16);
}

u32 bsk_processors(void)
{
	return num_online_cpus();
}

u64 bsk_free_memory(void)
{
	return (u64)si_mem_available() << PAGE_SHIFT;
}

unsigned long bsk_copy_from_user(void *to, u64 from, unsigned long n)
{
	return copy_from_user(to, u64_to_user_ptr(from), n);
}

unsigned long bsk_copy_to_user(u64 to, const void *from, unsigned long n)
{
	return copy_to_user(u64_to_user_ptr(to), from, n);
}

long bsk_strndup_user(u64 from, char *to, unsigned long n)
{
	long r = strncpy_from_user(to, u64_to_user_ptr(from), n);

	if (r >= 0 && (unsigned long)r >= n)
		return -ENAMETOOLONG;
	return r;
}

bool bsk_capable_admin(void)
{
	return capable(CAP_SYS_ADMIN);
}

bool bsk_compat_caller(void)
{
	return in_compat_syscall();
}
