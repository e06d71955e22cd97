/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Work space, counters, samples, and the queue of unanswered requests. */
#ifndef TAPROOT_HTTP_COUNT
#define TAPROOT_HTTP_COUNT

#include "serve.bpf.h"

/*
 * A softirq may interrupt a sender on the same CPU, and senders can be preempted,
 * so "per CPU" alone does not protect a buffer: take a free slot, and give it back.
 */
static __always_inline struct scratch *take(void)
{
	u32 zero_key = 0, i;
	struct slots *all = bpf_map_lookup_elem(&scratch, &zero_key);

	if (!all)
		return NULL;
	for (i = 0; i < SLOTS; i++)
		if (__sync_val_compare_and_swap(&all->slot[i].busy, 0, 1) == 0)
			return &all->slot[i];
	lose(HTTP_LOST_SCRATCH);
	return NULL;
}

static __always_inline void give_back(struct scratch *s)
{
	/* Only this CPU looks at it, and sees its own stores in order. */
	barrier();
	*(volatile u32 *)&s->busy = 0;
}

/* ---- counting --------------------------------------------------------- */

static __always_inline struct http_value *count_for(struct http_key *key)
{
	u32 zero_key = 0;
	struct http_value *value = bpf_map_lookup_elem(&counts, key);
	void *empty;

	if (value)
		return value;
	empty = bpf_map_lookup_elem(&zero, &zero_key);
	if (!empty)
		return NULL;
	bpf_map_update_elem(&counts, key, empty, BPF_NOEXIST);
	value = bpf_map_lookup_elem(&counts, key);
	if (value)
		return value;
	/* Full: routes of this endpoint share one key rather than being lost. */
	key->route = 0;
	value = bpf_map_lookup_elem(&counts, key);
	if (!value) {
		bpf_map_update_elem(&counts, key, empty, BPF_NOEXIST);
		value = bpf_map_lookup_elem(&counts, key);
	}
	lose(value ? HTTP_MERGED_ROUTES : HTTP_LOST_MAP);
	return value;
}

static __always_inline bool within_budget(void)
{
	u32 zero_key = 0;
	s64 *left = bpf_map_lookup_elem(&budget, &zero_key);

	if (!left || *left <= 0)
		return false;
	__sync_fetch_and_add(left, -1);
	return true;
}

__noinline int send_sample(struct connection *c, struct http_key *key, u64 now, u32 bytes)
{
	struct http_sample *out;
	u64 start;

	if (!c || !key)
		return -1;
	out = bpf_ringbuf_reserve(&samples, sizeof(*out), 0);
	if (!out) {
		lose(HTTP_LOST_RING);
		return -1;
	}
	start = c->current.start;
	out->start = start;
	out->duration = now - start;
	out->first_byte = c->first_byte > start ? c->first_byte - start : 0;
	out->key = *key;
	out->stages = c->stages;
	out->staged = c->staged;
	out->request_bytes = c->current.request_bytes;
	out->response_bytes = bytes;
	out->peer_port = c->peer_port;
	out->path_length = c->current.has_path ? c->path_length : 0;
	out->request = c->sampled = request_id(c, c->current.seq);
	out->cause = c->key.role == HTTP_ROLE_CLIENT ? c->current.cause : 0;
	out->context_length = c->current.has_path ? c->context_length : 0;
	__builtin_memcpy(out->path, c->path, HTTP_PATH);
	__builtin_memcpy(out->context, c->context, HTTP_CONTEXT);
	bpf_ringbuf_submit(out, 0);
	return 0;
}

static __always_inline void add(u64 *sum, u64 ns)
{
	if (ns)
		__sync_fetch_and_add(sum, ns);
}

static __always_inline void add_stage(struct http_stage *sum, const struct http_stage *part)
{
	add(&sum->total, part->total);
	add(&sum->queued, part->queued);
	add(&sum->throttled, part->throttled);
	add(&sum->unknown, part->unknown);
}

/* The first byte of the answer was seen, and now its last. */
static __always_inline void add_stages(struct http_value *value, struct connection *c, u64 now)
{
	struct http_send *send = &c->stages.send;

	send->total = now - c->first_byte;
	__sync_fetch_and_add(&value->staged, 1);
	add_stage(&value->stages.receive, &c->stages.receive);
	add_stage(&value->stages.service, &c->stages.service);
	add(&value->stages.send.total, send->total);
	add(&value->stages.send.buffered, send->buffered);
	add(&value->stages.send.unknown, send->unknown);
	add(&value->stages.device.total, c->stages.device.total);
	add(&value->stages.device.seen, c->stages.device.seen);
}

/*
 * An answer is counted when it leaves its socket, and has yet to get to the device: what
 * that took is counted with the next of the same connection, or at its end.
 */
static __always_inline void count_departures(struct http_value *value, struct connection *c)
{
	if (!c->qdisc.seen)
		return;
	add(&value->stages.qdisc.total, __sync_lock_test_and_set(&c->qdisc.total, 0));
	add(&value->stages.qdisc.seen, __sync_lock_test_and_set(&c->qdisc.seen, 0));
}

/* The connection is over. */
__noinline int last_departures(struct connection *c)
{
	struct http_value *value;
	struct http_key key;

	if (!c || !c->qdisc.seen)
		return 0;
	key = c->key;
	key.route = c->current.route;
	key.method = c->current.method;
	key.status = c->dir[1].status;
	value = count_for(&key);
	if (value)
		count_departures(value, c);
	return 0;
}

/* One request has its end: answered with `status`, or with 0 not at all. */
__noinline int finish(struct connection *c, u32 status, u32 bytes, u64 now)
{
	struct http_value *value;
	struct http_key key; /* on the stack: 6.1 takes no map key from an argument */
	u64 took;
	u32 bucket;
	bool wanted;

	if (!c)
		return 0;
	c->sampled = 0;
	if (c->current.served)
		stop_serving(c);
	key = c->key;
	key.route = c->current.route;
	key.method = c->current.method;
	key.status = status;
	value = count_for(&key);
	if (!value)
		return 0;
	__sync_fetch_and_add(&value->count, 1);
	__sync_fetch_and_add(&value->request_bytes, c->current.request_bytes);
	__sync_fetch_and_add(&value->response_bytes, bytes);
	count_departures(value, c);
	if (!c->current.start)
		return 0; /* came beyond the queue: counted, its time unknown */
	took = now - c->current.start;
	__sync_fetch_and_add(&value->latency_sum, took);
	bucket = taproot_bucket(took);
	bucket = bucket < HTTP_FIRST_BUCKET ? 0 : bucket - HTTP_FIRST_BUCKET;
	if (bucket >= HTTP_BUCKETS)
		bucket = HTTP_BUCKETS - 1;
	__sync_fetch_and_add(&value->buckets[bucket], 1);
	if (c->staged)
		add_stages(value, c, now);

	if (!value->named && c->current.has_path) {
		/* The first of its kind carries the path that names the route. */
		if (!send_sample(c, &key, now, bytes))
			value->named = 1;
		return 0;
	}
	wanted = took >= slow_ns || status >= 500 || !status;
	if (!wanted && sample_every)
		wanted = c->tick++ % sample_every == 0;
	if (!wanted)
		return 0;
	if (within_budget())
		send_sample(c, &key, now, bytes);
	else
		lose(HTTP_UNSAMPLED);
	return 0;
}

/* ---- the queue of unanswered requests --------------------------------- */

static __always_inline void push(struct connection *c, struct pending *p)
{
	u32 head = c->head;

	if (head - c->tail >= PENDING) {
		__sync_fetch_and_add(&c->unqueued, 1);
		return;
	}
	c->pending[head & (PENDING - 1)] = *p;
	barrier();
	c->head = head + 1;
}

static __always_inline bool pop(struct connection *c)
{
	u32 tail = c->tail;

	if (c->current.served)
		stop_serving(c); /* the end of its answer was not seen */
	c->staged = 0;
	if (c->head != tail) {
		c->current = c->pending[tail & (PENDING - 1)];
		barrier();
		c->tail = tail + 1;
		return true;
	}
	if (c->unqueued) {
		__sync_fetch_and_add(&c->unqueued, -1);
		__builtin_memset(&c->current, 0, sizeof(c->current));
		return true;
	}
	return false;
}

#endif
