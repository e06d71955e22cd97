/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The last waits of threads that read requests: written by the scheduler's program
 * when a thread gets its CPU, read by the HTTP programs that run in that very thread.
 * So a record has one writer and one reader, and they never meet.
 */
#ifndef TAPROOT_WAITS
#define TAPROOT_WAITS

#include "taproot.h"

/* Waits kept of a thread; a power of two. */
#define WAITS 16

/* A thread that could have run: first stopped by its quota, then kept waiting for a
 * CPU. (A stop ends by the thread being put in a queue, so that is the order.) */
struct thread_wait {
	u64 end; /* CLOCK_MONOTONIC, ns; 0: empty */
	u64 queued;
	u64 throttled;
};

struct thread {
	u64 since; /* its waits are known from then on */
	u64 delay; /* the kernel's run_delay of it when it was last switched in; 0: never */
	u32 newest;
	u32 pad;
	struct thread_wait waits[WAITS];
};

/* By thread id. One map for two objects: whoever starts second uses the first's. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, struct thread);
} threads SEC(".maps");

static __always_inline u64 overlap(u64 from, u64 to, u64 other_from, u64 other_to)
{
	u64 low = from > other_from ? from : other_from;
	u64 high = to < other_to ? to : other_to;

	return high > low ? high - low : 0;
}

#endif
