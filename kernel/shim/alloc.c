// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory for Rust's allocator. An allocation may sleep but never waits for I/O: the I/O may be what waits for us. The scope
 * makes vmalloc's own page tables follow the same rule.
 */
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include "shim.h"

void *bsk_alloc(size_t size, size_t align, bool zero)
{
	gfp_t gfp = GFP_KERNEL | __GFP_RETRY_MAYFAIL | __GFP_NOWARN | (zero ? __GFP_ZERO : 0);
	unsigned int scope;
	void *ptr;

	/* kmalloc aligns to 8 bytes, and a power of two to its own size; vmalloc to a page. */
	if (align > PAGE_SIZE)
		return NULL;
	if (align > 8)
		size = size < PAGE_SIZE ? roundup_pow_of_two(max(size, align)) : ALIGN(size, PAGE_SIZE);

	/* RETRY_MAYFAIL: small allocations without I/O would otherwise be tried for ever. */
	scope = memalloc_noio_save();
	ptr = kvmalloc(size, gfp);
	memalloc_noio_restore(scope);
	return ptr;
}

void bsk_free(void *ptr)
{
	kvfree(ptr);
}
