/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What sched.bpf.c reads of the scheduler's own records. */
#ifndef TAPROOT_SCHED_TYPES
#define TAPROOT_SCHED_TYPES

#include "taproot.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sched_info {
	unsigned long pcount;
	unsigned long long run_delay;
	unsigned long long last_queued;
};

struct timerqueue_node {
	s64 expires;
};

struct hrtimer {
	struct timerqueue_node node;
};

struct cfs_bandwidth {
	s64 period;
	u64 quota;
	struct hrtimer period_timer;
};

struct task_group {
	struct cfs_bandwidth cfs_bandwidth;
};

struct rq {
	u64 clock;
};

struct cfs_rq {
	struct rq *rq;
	struct task_group *tg;
	int runtime_enabled;
	s64 runtime_remaining;
	int throttle_count;
	u64 throttled_clock;
};

struct sched_entity {
	struct sched_entity *parent;
	struct cfs_rq *cfs_rq;
};

struct task_struct___sched {
	struct sched_info sched_info;
	struct sched_entity se;
};
#pragma clang attribute pop

#endif
