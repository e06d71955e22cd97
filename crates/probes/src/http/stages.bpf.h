/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Where the time of a request went.
 *
 * A request arrives, waits in the socket's receive buffer, is read by a thread, and is
 * answered. What that thread waited for a CPU meanwhile, the scheduler's program knows;
 * laid over the two intervals it tells a slow server from one that may not run.
 */
#ifndef TAPROOT_HTTP_STAGES
#define TAPROOT_HTTP_STAGES

#include "count.bpf.h"

/* What of [from, to] the thread was kept from running; adds to `out`. */
__noinline int waited(struct thread *thread, u64 from, u64 to, struct http_stage *out)
{
	u64 known, start, stopped;
	u32 i;

	if (!thread || !out)
		return 0;
	known = thread->since;
	for (i = 0; i < WAITS; i++) {
		struct thread_wait *wait = &thread->waits[(thread->newest - i) & (WAITS - 1)];

		if (wait->end <= from)
			break;
		start = wait->end - wait->queued - wait->throttled;
		stopped = start + wait->throttled;
		out->throttled += overlap(from, to, start, stopped);
		out->queued += overlap(from, to, stopped, wait->end);
		if (i == WAITS - 1 && start > known)
			known = start; /* more waits than are kept: what came before is lost */
	}
	out->unknown += overlap(from, to, 0, known);
	return 0;
}

/* Adds to `stage` what the current thread, whose id is `pid`, waited within [from, to]. */
static __always_inline void split(u32 pid, u64 from, u64 to, struct http_stage *stage)
{
	struct thread *thread = waits_known ? bpf_map_lookup_elem(&threads, &pid) : NULL;

	if (thread)
		waited(thread, from, to, stage);
	else
		stage->unknown += to - from;
}

/* From now on the scheduler's program keeps the waits of this thread. */
static __always_inline void watch_thread(u32 pid, u64 now)
{
	struct thread *thread;
	u32 zero_key = 0;
	void *empty;

	if (!waits_known || bpf_map_lookup_elem(&threads, &pid))
		return;
	empty = bpf_map_lookup_elem(&no_waits, &zero_key);
	if (!empty)
		return;
	bpf_map_update_elem(&threads, &pid, empty, BPF_NOEXIST);
	thread = bpf_map_lookup_elem(&threads, &pid);
	if (thread)
		thread->since = now;
}

/* The application has read up to `copied`: which requests did it begin to read? */
__noinline int requests_read(struct connection *c, u32 copied, u32 pid, u32 alone)
{
	u64 now = bpf_ktime_get_ns();
	u32 i;

	if (!c)
		return 0;
	if ((s32)(c->tail - c->read) > 0)
		c->read = c->tail; /* answered before they were read, or never read */
	for (i = 0; i < PENDING && c->read != c->head; i++) {
		struct pending *p = &c->pending[c->read & (PENDING - 1)];
		struct http_stage stage = {};

		if ((s32)(copied - p->seq) <= 0)
			break;
		split(pid, p->start, now, &stage);
		p->queued = stage.queued;
		p->throttled = stage.throttled;
		p->unknown = stage.unknown;
		p->reader = pid;
		p->read = now;
		p->served = start_serving(c, p, pid, alone);
		c->read++;
	}
	watch_thread(pid, now);
	return 0;
}

/* The first byte of an answer is known: what came before it, at a server. */
static __always_inline void server_stages(struct connection *c)
{
	struct http_stage *receive = &c->stages.receive, *service = &c->stages.service;
	struct task_struct *task = bpf_get_current_task_btf();
	struct pending *p = &c->current;

	receive->total = p->read - p->start;
	receive->queued = p->queued;
	receive->throttled = p->throttled;
	receive->unknown = p->unknown;
	service->total = c->first_byte - p->read;
	service->queued = service->throttled = service->unknown = 0;
	/* Answered by another thread (or sent by nobody's): whose waits held it up is not
	 * known then. */
	if (task->pid == p->reader)
		split(p->reader, p->read, c->first_byte, service);
	else
		service->unknown = service->total;
	c->stages.device.seen = p->has_path && c->device;
	c->stages.device.total = c->stages.device.seen ? c->device : 0;
}

/*
 * A segment of answers leaves the socket. What passed since the last one was spent in the
 * socket's buffer if there were bytes then that could not go with it. If there were none,
 * the program had yet to write; that it did just now is proved where a thread sends by
 * itself (`pid`).
 */
static __always_inline void note_sent(struct connection *c, struct tcp_sock *tcp, u32 seq, u32 end,
				      u64 now, u32 pid)
{
	struct http_send *send = &c->stages.send;
	u64 since = now - c->sent_at;

	if ((s32)(seq - tcp->snd_nxt) < 0)
		return; /* once more */
	if (c->unsent)
		send->buffered += since;
	else if (!pid)
		send->unknown += since;
	c->sent_at = now;
	c->unsent = (s32)(tcp->write_seq - end) > 0;
}

/* Fills in `stages` of the request that is being answered, up to its first byte. */
__noinline int answer_begins(struct connection *c)
{
	if (!c || !c->current.start)
		return 0;
	if (c->key.role == HTTP_ROLE_CLIENT) {
		c->stages.service.total = c->first_byte - c->current.start;
	} else {
		/* Not read, or not before the answer was on its way: nothing to tell. */
		if (!c->current.read || c->first_byte < c->current.read)
			return 0;
		server_stages(c);
	}
	c->staged = 1;
	return 0;
}

#endif
