// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel log. The text is not NUL-terminated and is complete: it brings no newline.
 */
#include <linux/printk.h>
#include "shim.h"

void bsk_print(int level, const char *text, size_t len)
{
	switch (level) {
	case 0:
		pr_emerg("%.*s\n", (int)len, text);
		break;
	case 3:
		pr_err("%.*s\n", (int)len, text);
		break;
	case 4:
		pr_warn("%.*s\n", (int)len, text);
		break;
	case 6:
		pr_info("%.*s\n", (int)len, text);
		break;
	default:
		pr_debug("%.*s\n", (int)len, text);
	}
}
