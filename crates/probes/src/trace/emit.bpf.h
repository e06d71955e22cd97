/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The ring, its accounts, and how an event is filled in. */
#ifndef TAPROOT_TRACE_EMIT_H
#define TAPROOT_TRACE_EMIT_H

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct trace_counts);
} counts SEC(".maps");

/* Events that one CPU may make in a second; 0: as many as there are. */
const volatile u32 budget = 0;

/*
 * Set while all hooks are attached. Before and after, some of them would tell of a
 * packet what looks like a way with holes.
 */
u32 armed = 0;

/* These give the reader the types. */
const struct trace_drop_event empty_drop_event = {};
const struct trace_call_event empty_call_event = {};

/* Which one would be lost, if any: a CPU's events of this second are counted. */
static __always_inline bool within_budget(struct trace_counts *count, u64 now)
{
	u64 window = now >> 30;

	if (!budget)
		return true;
	if (count->window != window) {
		count->window = window;
		count->used = 0;
	}
	return __sync_fetch_and_add(&count->used, 1) < budget;
}

/*
 * Room for an event; every one asked for is either handed out and submitted, or
 * counted as lost. Atomic, because an interrupt may come between.
 */
static __always_inline void *reserve(u64 size, u64 now)
{
	u32 zero = 0;
	struct trace_counts *count = bpf_map_lookup_elem(&counts, &zero);
	void *event;

	if (!count || !armed)
		return NULL;
	__sync_fetch_and_add(&count->produced, 1);
	if (!within_budget(count, now)) {
		__sync_fetch_and_add(&count->lost[TRACE_LOSS_BUDGET], 1);
		if (!count->over_first)
			count->over_first = now;
		count->over_last = now;
		return NULL;
	}
	event = bpf_ringbuf_reserve(&ring, size, 0);
	if (!event)
		__sync_fetch_and_add(&count->lost[TRACE_LOSS_RING], 1);
	return event;
}

/* The reader looks by itself, many times a second: nobody is woken for one event. */
static __always_inline void submit(void *event)
{
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

static __always_inline struct trace_event *event_new(u32 step)
{
	u64 now = bpf_ktime_get_ns();
	struct trace_event *event = reserve(sizeof(struct trace_event), now);

	if (!event)
		return NULL;
	__builtin_memset(event, 0, sizeof(*event));
	event->time = now;
	event->step = step;
	event->cpu = bpf_get_smp_processor_id();
	return event;
}

static __always_inline void fill_tuple(struct trace_tuple *to, const struct headers *h)
{
	for (int i = 0; i < 4; i++) {
		to->source[i] = bpf_htonl(h->field[TRACE_FIELD_SOURCE + i]);
		to->destination[i] = bpf_htonl(h->field[TRACE_FIELD_DESTINATION + i]);
	}
	to->source_port = h->field[TRACE_FIELD_SOURCE_PORT];
	to->destination_port = h->field[TRACE_FIELD_DESTINATION_PORT];
	to->family = h->field[TRACE_FIELD_FAMILY];
	to->protocol = h->field[TRACE_FIELD_PROTOCOL];
	to->tcp_flags = h->field[TRACE_FIELD_TCP_FLAGS];
	to->ttl = h->field[TRACE_FIELD_TTL];
	to->icmp_type = h->field[TRACE_FIELD_ICMP] >> 8;
	to->icmp_code = h->field[TRACE_FIELD_ICMP];
	to->length = h->field[TRACE_FIELD_LENGTH];
}

/* What tells this packet from others of its connection. */
static __always_inline void fill_identity(struct trace_event *event, const struct headers *h,
					  const u8 *ip)
{
	u32 words[2] = {};

	event->ip_id = h->ip_id;
	event->fragment = h->fragment & (IP_MF | IP_OFFSET);
	if (!h->l4)
		return;
	/* TCP: sequence and acknowledgement. ICMP: identifier and sequence. */
	bpf_probe_read_kernel(words, sizeof(words), ip + h->l4 + 4);
	if (h->field[TRACE_FIELD_PROTOCOL] == IPPROTO_TCP) {
		event->sequence = bpf_ntohl(words[0]);
		event->acknowledgement = bpf_ntohl(words[1]);
	} else if (!h->field[TRACE_FIELD_PORTS]) {
		event->acknowledgement = bpf_ntohl(words[0]);
	}
}

#endif
