/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What sched.bpf.c and sched.rs share. */
#ifndef TAPROOT_SCHED_H
#define TAPROOT_SCHED_H

/*
 * Who had the CPU while a task waited for it, where that was no cgroup. Ids of
 * cgroups are kernfs node numbers, which never come near these.
 */
#define WHO_IDLE (~0ULL)	 /* nobody: not placed there yet, or not allowed to run */
#define WHO_KERNEL (~0ULL - 1)	 /* a kernel thread */
#define WHO_THROTTLED (~0ULL - 2) /* nobody could help: its own quota was used up */
#define WHO_MIGRATED (~0ULL - 3) /* waited on another CPU, then was moved here */
#define WHO_UNKNOWN (~0ULL - 4)	 /* longer ago than the CPU's history reaches */
#define WHO_WAKING (~0ULL - 5)	 /* the idle CPU was waking up for it */

/* One cell of the waiting matrix. */
struct wait_key {
	u64 victim;  /* cgroup that waited */
	u64 culprit; /* cgroup that ran meanwhile, or a WHO_ */
};

/* Why something is missing from the matrix; index of the counters. */
enum sched_lost {
	SCHED_LOST_CELL,      /* the matrix is full: nanoseconds not accounted */
	SCHED_LOST_THROTTLE,  /* a throttling could not be remembered */
	SCHED_LOST_MIGRATION, /* a task's earlier waits were forgotten (slot taken) */
	SCHED_LOST_REASONS,
};

#endif
