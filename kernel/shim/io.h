/* SPDX-License-Identifier: GPL-2.0-only */
/* The insides of the worker and of our own bios, shared by worker.c and io.c. */
#ifndef BSK_IO_H
#define BSK_IO_H

#include <linux/bio.h>
#include <linux/llist.h>
#include <linux/workqueue.h>

struct bsk_worker {
	struct work_struct work;
	struct delayed_work later;
	struct workqueue_struct *wq;
	void (*run)(void *ctx);
	void *ctx;
	bool live;
	atomic_t state;
	atomic_t here;		/* how many are in bsk_worker_here: one runs, others may be on their way out */
	struct bio *list[2];
	struct llist_head done;
};

struct bsk_io {
	struct llist_node node;
	struct bsk_worker *worker;
	struct bio *req;
	void (*done)(void *cookie, struct bio *req, int err);
	u64 a, b;
	struct bio bio;		/* last: the bio_set allocates with this in front */
};

#endif
