// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Who waited for a CPU, how long, and who ran instead.
 *
 * One hook, sched_switch. When a task is switched in, the kernel itself knows
 * since when it was queued (sched_info.last_queued, in the run queue's clock), so
 * no wake-up has to be traced and nothing is stored per task. Each CPU keeps the
 * history of who ran on it; the wait is laid over that history and handed out to
 * those who ran: another cgroup (the culprit), the waiter's own cgroup (it has
 * more threads than CPU), kernel threads, or nobody at all.
 *
 * Stopped by the own quota is not the same as kept waiting by a neighbour, though
 * both look "runnable" from outside. A task switched out of a throttled group
 * leaves a note of when the quota is refilled; the part of a wait that lies
 * within such a note is WHO_THROTTLED, whoever ran at that time.
 *
 * The sum over all culprits of a victim equals the kernel's own run_delay of its
 * tasks (second field of /proc/<pid>/schedstat), except for what the
 * counters of `lost` admit.
 */
#include "waits.bpf.h"
#include "sched.h"
#include "sched_types.bpf.h"

#define PF_KTHREAD 0x00200000
/* Slices of history per CPU; a power of two. */
#define HISTORY 256
/* Slots that remember tasks' run_delay; a power of two. */
#define TASKS 16384
/* Distinct culprits gathered before they are added to the matrix. */
#define GATHER 8
/* A wait shorter than this on an idle CPU is that CPU's way out of sleep. */
#define WAKING_NS 1000000ULL
/* Levels of cgroups above a task that may carry a CPU quota. */
#define QUOTA_LEVELS 4
/* Refills that a stop is believed to last, at most. */
#define MOST_REFILLS 32

/* Set by user space: whether only the cgroups in `watched` count as victims. */
const volatile bool only_watched = false;

struct slice {
	u64 who;
	u64 end;
};

struct gathered {
	u64 who;
	u64 ns;
};

/* History of one CPU: who ran until when. A slice begins where its predecessor ends. */
struct history {
	u32 head;  /* index of the newest slice, counting on for ever */
	u32 count; /* slices ever closed, capped at HISTORY */
	u64 began; /* when the oldest slice began */
	struct slice slices[HISTORY];
	struct gathered gathered[GATHER];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct history);
} histories SEC(".maps");

/* (victim, culprit) -> nanoseconds, for ever growing. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct wait_key);
	__type(value, u64);
} waits SEC(".maps");

/* cgroups that count as victims when only_watched is set. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, u64);
	__type(value, u8);
} watched SEC(".maps");

/* When a throttled run queue (one cgroup on one CPU) was stopped, and until when. */
struct throttle {
	u64 from;
	u64 until;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, struct throttle);
} throttles SEC(".maps");

/* The last run_delay seen of a task; `check` tells a slot of its own from another's. */
struct remembered {
	u64 delay;
	u64 check;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TASKS);
	__type(key, u32);
	__type(value, struct remembered);
} tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCHED_LOST_REASONS);
	__type(key, u32);
	__type(value, u64);
} lost SEC(".maps");

static __always_inline void count_lost(u32 reason, u64 amount)
{
	u64 *counter = bpf_map_lookup_elem(&lost, &reason);

	if (counter)
		*counter += amount;
}

static __always_inline u64 cgroup_of(struct task_struct *task)
{
	return task->cgroups->dfl_cgrp->kn->id;
}

/*
 * The clock of the run queue the task is on; the idle task has one as well. Not
 * by the per-CPU symbol `runqueues`: kernels without KALLSYMS_ALL do not resolve it.
 */
static __always_inline u64 queue_clock(struct task_struct *task)
{
	struct task_struct___sched *sched = (void *)task;

	return sched->se.cfs_rq->rq->clock;
}

static __always_inline u64 who_is(struct task_struct *task)
{
	if (task->pid == 0)
		return WHO_IDLE;
	if (task->flags & PF_KTHREAD)
		return WHO_KERNEL;
	return cgroup_of(task);
}

/* A victim of 0 is one whose matrix nobody asked for. */
static __noinline void add_wait(u64 victim, u64 culprit, u64 ns)
{
	struct wait_key key = { .victim = victim, .culprit = culprit };
	u64 *sum;

	if (!victim)
		return;
	sum = bpf_map_lookup_elem(&waits, &key);
	if (!sum) {
		u64 zero = 0;

		bpf_map_update_elem(&waits, &key, &zero, BPF_NOEXIST);
		sum = bpf_map_lookup_elem(&waits, &key);
		if (!sum) {
			count_lost(SCHED_LOST_CELL, ns);
			return;
		}
	}
	__sync_fetch_and_add(sum, ns);
}

/* Closes the slice of whoever ran until now; neighbouring slices of one owner are one. */
static __always_inline void close_slice(struct history *history, u64 who, u64 now)
{
	struct slice *newest = &history->slices[history->head & (HISTORY - 1)];

	if (history->count && newest->who == who) {
		newest->end = now;
		return;
	}
	if (history->count == HISTORY)
		history->began = history->slices[(history->head + 1) & (HISTORY - 1)].end;
	else
		history->count++;
	history->head++;
	newest = &history->slices[history->head & (HISTORY - 1)];
	newest->who = who;
	newest->end = now;
}

/* The cgroup level whose quota stopped the task, as a run queue; null: none did. */
static __always_inline struct cfs_rq *stopping_level(struct sched_entity *se)
{
	struct cfs_rq *limited = NULL;

#pragma unroll
	for (int level = 0; level < QUOTA_LEVELS; level++) {
		struct cfs_rq *queue = se->cfs_rq;

		if (!queue)
			break;
		if (queue->runtime_enabled) {
			if (queue->throttled_clock)
				return queue;
			if (!limited)
				limited = queue;
		}
		se = se->parent;
		if (!se)
			break;
	}
	return limited;
}

/*
 * Nanoseconds until the quota suffices again. The group may have overrun it (the
 * scheduler looks at every tick only), by more than one refill pays back.
 */
static __always_inline u64 until_refill(struct cfs_rq *level)
{
	struct cfs_bandwidth *bandwidth = &level->tg->cfs_bandwidth;
	/* The period timer runs on the monotonic clock, the run queue on its own. */
	s64 next = bandwidth->period_timer.node.expires - (s64)bpf_ktime_get_ns();
	s64 overrun = -level->runtime_remaining;
	u64 quota = bandwidth->quota, more = 0;

	if (next <= 0)
		return 0;
	if (overrun > 0 && quota)
		more = (u64)(overrun - 1) / quota;
	return next + (more < MOST_REFILLS ? more : MOST_REFILLS) * (u64)bandwidth->period;
}

/* Notes that the outgoing task's group was stopped, and when its quota is refilled. */
static __always_inline void note_throttle(struct task_struct___sched *prev, u64 now)
{
	struct cfs_rq *own = prev->se.cfs_rq;
	struct throttle note = { .from = now };
	u64 key = (u64)own;
	struct cfs_rq *level;
	struct throttle *old;
	u64 remaining;

	if (!own || !own->throttle_count)
		return;
	level = stopping_level(&prev->se);
	if (!level)
		return;
	remaining = until_refill(level);
	if (!remaining)
		return;
	note.until = now + remaining;
	old = bpf_map_lookup_elem(&throttles, &key);
	if (old && old->until > now) {
		/* A second task of the group leaves within the same stop. */
		old->until = note.until;
		return;
	}
	if (bpf_map_update_elem(&throttles, &key, &note, BPF_ANY))
		count_lost(SCHED_LOST_THROTTLE, 1);
}

/* Whether any cgroup above the task has a CPU quota. */
static __always_inline bool has_quota(struct sched_entity *se)
{
#pragma unroll
	for (int level = 0; level < QUOTA_LEVELS; level++) {
		struct cfs_rq *queue = se->cfs_rq;

		if (queue && queue->runtime_enabled)
			return true;
		se = se->parent;
		if (!se)
			return false;
	}
	return false;
}

/* The wait [from, to] that is being handed out, and the part its own quota caused. */
struct handing_out {
	struct history *history;
	u64 victim;
	u64 from;
	u64 to; /* moves back to the start of the slices already handed out */
	u64 stop_from;
	u64 stop_until;
	u64 throttled; /* of what was handed out, what the quota caused */
	bool limited;  /* some cgroup above has a quota */
};

static __always_inline void gather(struct handing_out *w, u64 who, u64 ns)
{
	struct gathered *slot;

	slot = &w->history->gathered[((who * 0x9e3779b97f4a7c15ULL) >> 61) & (GATHER - 1)];
	if (slot->ns && slot->who != who) {
		add_wait(w->victim, slot->who, slot->ns);
		slot->ns = 0;
	}
	slot->who = who;
	slot->ns += ns;
}

/* When the slice `back` steps before the newest began. */
static __always_inline u64 slice_start(struct history *history, u32 back)
{
	if (back + 1 < history->count)
		return history->slices[(history->head - back - 1) & (HISTORY - 1)].end;
	return history->began;
}

/* Hands out the part of the wait in the slice `back` steps before the newest; 1 ends. */
static long hand_out_slice(u32 back, void *context)
{
	struct handing_out *w = context;
	struct history *history = w->history;
	struct slice *slice = &history->slices[(history->head - back) & (HISTORY - 1)];
	u64 start, end = slice->end < w->to ? slice->end : w->to;

	if (back >= history->count)
		return 1;
	start = slice_start(history, back);
	if (start < w->from)
		start = w->from;
	if (end > start) {
		u64 ns = end - start;

		ns -= overlap(start, end, w->stop_from, w->stop_until);
		/* It was runnable and the CPU free: only its quota can have kept it. */
		if (ns && slice->who == WHO_IDLE && w->limited) {
			w->throttled += ns;
			gather(w, WHO_THROTTLED, ns);
		} else if (ns) {
			gather(w, slice->who, ns);
		}
		w->to = start;
	}
	return w->to <= w->from;
}

/* Lays the wait over the CPU's history; returns what of it the own quota caused. */
static __always_inline u64 hand_out(struct history *history, struct task_struct___sched *next,
				    u64 victim, u64 from, u64 now)
{
	struct handing_out w = { .history = history, .victim = victim, .from = from, .to = now };
	u64 stopped;

	w.limited = has_quota(&next->se);
	if (w.limited) {
		u64 key = (u64)next->se.cfs_rq;
		struct throttle *note = bpf_map_lookup_elem(&throttles, &key);

		if (note) {
			w.stop_from = note->from;
			w.stop_until = note->until;
		}
	}
	stopped = overlap(from, now, w.stop_from, w.stop_until);
	if (stopped)
		add_wait(victim, WHO_THROTTLED, stopped);

	bpf_loop(HISTORY, hand_out_slice, &w, 0);
	for (int i = 0; i < GATHER; i++) {
		struct gathered *slot = &history->gathered[i];

		if (slot->ns)
			add_wait(victim, slot->who, slot->ns);
		slot->ns = 0;
	}
	if (w.to > from) {
		u64 rest = w.to - from;

		rest -= overlap(from, w.to, w.stop_from, w.stop_until);
		if (rest)
			add_wait(victim, WHO_UNKNOWN, rest);
	}
	return w.throttled + stopped;
}

/*
 * Accounts waits that ended by being moved to another CPU: the kernel adds them to
 * run_delay while the task is off any queue, where no hook runs. What run_delay
 * grew by since this task was last switched in is exactly that, and any switch
 * that the tracepoint left out.
 */
static __always_inline void account_migration(struct task_struct *next, u64 victim, u64 wait)
{
	struct task_struct___sched *info = (void *)next;
	u64 delay = info->sched_info.run_delay;
	u64 own = (u64)(u32)next->pid * 0x9e3779b97f4a7c15ULL;
	u32 slot = (u32)next->pid & (TASKS - 1);
	struct remembered *memory = bpf_map_lookup_elem(&tasks, &slot);
	u64 known;

	if (!memory)
		return;
	/* Two tasks may share a slot on two CPUs: a torn pair fails the check. */
	known = memory->delay;
	if (info->sched_info.pcount == 0) {
		if (delay)
			add_wait(victim, WHO_MIGRATED, delay);
	} else if ((memory->check ^ known) == own) {
		if (delay > known)
			add_wait(victim, WHO_MIGRATED, delay - known);
	} else if (memory->check) {
		count_lost(SCHED_LOST_MIGRATION, 1);
	}
	memory->delay = delay + wait;
	memory->check = own ^ (delay + wait);
}

/* Notes in the thread's own record that it waited until this moment. */
static __always_inline void remember_wait(struct thread *thread, struct task_struct *next, u64 wait,
					  u64 throttled)
{
	struct task_struct___sched *info = (void *)next;
	u64 delay = info->sched_info.run_delay, known = thread->delay;
	struct thread_wait *slot;

	/* Grown while nobody looked: it waited at another CPU, and was moved. */
	u64 moved = known && delay > known ? delay - known : 0;

	thread->delay = delay + wait;
	if (!(wait + moved))
		return;
	slot = &thread->waits[(thread->newest + 1) & (WAITS - 1)];
	slot->end = bpf_ktime_get_ns();
	slot->throttled = throttled;
	slot->queued = wait + moved - throttled;
	thread->newest++;
}

/* Hands a wait out to those who ran; returns what of it the own quota caused. */
static __always_inline u64 account_parts(struct history *history, struct task_struct *next, u64 victim,
					 u64 since, u64 now)
{
	struct slice *newest = &history->slices[history->head & (HISTORY - 1)];
	struct task_struct___sched *info = (void *)next;

	if (newest->who == WHO_IDLE && now - since < WAKING_NS)
		add_wait(victim, WHO_WAKING, now - since);
	else if (since >= slice_start(history, 0) && !has_quota(&info->se))
		/* By far the most common: one owner had the CPU all the time. */
		add_wait(victim, newest->who, now - since);
	else
		return hand_out(history, info, victim, since, now);
	return 0;
}

static __always_inline void account_wait(struct history *history, struct task_struct *next, u64 now)
{
	struct task_struct___sched *info = (void *)next;
	u64 since = info->sched_info.last_queued;
	u64 wait = since && since < now ? now - since : 0;
	u64 victim = cgroup_of(next), throttled = 0;
	u32 pid = next->pid;
	struct thread *thread = bpf_map_lookup_elem(&threads, &pid);

	if (only_watched && !bpf_map_lookup_elem(&watched, &victim)) {
		if (!thread)
			return;
		victim = 0;
	}
	if (victim)
		account_migration(next, victim, wait);
	if (wait)
		throttled = account_parts(history, next, victim, since, now);
	if (thread)
		remember_wait(thread, next, wait, throttled);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	u32 zero = 0;
	struct history *history = bpf_map_lookup_elem(&histories, &zero);
	u64 now = queue_clock(next);

	if (!history)
		return 0;
	if (!history->count)
		history->began = now;
	close_slice(history, who_is(prev), now);
	if (prev->pid)
		note_throttle((void *)prev, now);
	if (next->pid && !(next->flags & PF_KTHREAD))
		account_wait(history, next, now);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
