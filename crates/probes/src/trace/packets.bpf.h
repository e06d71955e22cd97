/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Hooks that have a packet: where it is, and where it ends. */
#ifndef TAPROOT_TRACE_PACKETS_H
#define TAPROOT_TRACE_PACKETS_H

/* Untranslated, both sides are those of the packet, and the reader makes them of it. */
static __always_inline void fill_tracked(struct trace_event *event, u64 nfct)
{
	struct nf_conn *ct = connection(nfct);

	if (!ct)
		return;
	event->tracked = TRACE_TRACKED;
	if ((nfct & ~NFCT_PTRMASK) >= IP_CT_IS_REPLY)
		event->tracked |= TRACE_TRACKED_REPLY;
	if (!is_translated(nfct))
		return;
	event->tracked |= TRACE_TRACKED_TRANSLATED;
	fill_side(&event->original, ORIGINAL_OF(ct));
	fill_side(&event->reply, REPLY_OF(ct));
	remember(&event->original);
	remember(&event->reply);
}

/* What is not IP is kept as it is, as far as it lies in one piece. */
static __always_inline void keep_frame(struct trace_event *event, struct look_at *it)
{
	const bool is_inner = it->flags & TRACE_FLAG_INNER;
	const struct headers *h = is_inner ? &it->inner : &it->h;
	const u8 *at = is_inner ? it->inner_ip : it->ip;
	u32 size = bytes_from(it->skb, at) + ETH_HLEN;

	event->ether_type = h->field[TRACE_FIELD_FAMILY] >> 8;
	event->frame_length = h->field[TRACE_FIELD_LENGTH] + ETH_HLEN;
	if (size > sizeof(event->frame))
		size = sizeof(event->frame);
	if (!bpf_probe_read_kernel(event->frame, size, at - ETH_HLEN))
		event->frame_copied = size;
}

static __always_inline void fill_packet(struct trace_event *event, struct look_at *it)
{
	struct sk_buff___trace *more = (struct sk_buff___trace *)it->skb;

	event->skb = (u64)it->skb;
	event->head = (u64)it->skb->head;
	event->netns = it->netns;
	event->came_in = more->skb_iif;
	event->mark = more->mark;
	event->flags = it->flags;
	if (it->dev) {
		event->ifindex = it->dev->ifindex;
		bpf_probe_read_kernel(event->device, sizeof(event->device), it->dev->name);
	}
	fill_tracked(event, it->nfct);
	if (it->flags & TRACE_FLAG_INNER) {
		read_flags(&it->inner, it->inner_ip);
		fill_tuple(&event->tuple, &it->inner);
		fill_tuple(&event->outer, &it->h);
		fill_identity(event, &it->inner, it->inner_ip);
	} else {
		read_flags(&it->h, it->ip);
		fill_tuple(&event->tuple, &it->h);
		fill_identity(event, &it->h, it->ip);
	}
	if (asks_frames && it->flags & TRACE_FLAG_FRAME)
		keep_frame(event, it);
}

static __always_inline void now_busy_with(struct look_at *it, const struct trace_event *event)
{
	struct of_cpu *cpu = of_cpu();
	struct current *current;

	if (!cpu)
		return;
	current = &cpu->current;
	current->skb = (u64)it->skb;
	current->time = event->time;
	/* The socket that takes a datagram in pieces is told by the first one's ports. */
	if (event->fragment & IP_OFFSET && current->ip_id == event->ip_id)
		return;
	current->source = folded(it->h.field + TRACE_FIELD_SOURCE);
	current->destination = folded(it->h.field + TRACE_FIELD_DESTINATION);
	current->netns = it->netns;
	current->ip_id = event->ip_id;
	current->sequence = event->sequence;
	current->acknowledgement = event->acknowledgement;
	current->tuple = event->tuple;
}

SEC("tp_btf/netif_receive_skb")
int BPF_PROG(on_receive, struct sk_buff *skb)
{
	struct trace_event *event;
	struct look_at it;

	not_busy();
	begin_look(&it, skb, AT_DEVICE);
	/* Nobody has said yet where the header is: here it is what comes next. */
	it.ip = skb->data;
	if (!wanted(&it))
		return 0;
	event = event_new(TRACE_RECEIVED);
	if (!event)
		return 0;
	fill_packet(event, &it);
	now_busy_with(&it, event);
	submit(event);
	return 0;
}

/*
 * The process that sends, where the packet is its socket's first hop. What runs in
 * another namespace was only interrupted by it.
 */
static __always_inline void fill_sender(struct trace_event *event, struct sock *sk)
{
	struct sock_common___trace *more = (struct sock_common___trace *)sk;

	event->flags |= TRACE_FLAG_OWN_SOCKET;
	/* The helper that would make one takes no socket of a packet. */
	event->cookie = more->skc_cookie.counter;
	if (netns_of_task() != event->netns)
		return;
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->extra = (u32)bpf_get_current_pid_tgid();
	bpf_get_current_comm(event->command, sizeof(event->command));
}

SEC("tp_btf/net_dev_queue")
int BPF_PROG(on_queue, struct sk_buff *skb)
{
	struct trace_event *event;
	struct look_at it;
	struct sock *sk;

	begin_look(&it, skb, AT_DEVICE);
	if (asks_owner && sender_is_owned(plain(skb, sk_buff)->sk))
		it.flags = TRACE_FLAG_OWNED;
	if (!wanted(&it))
		return 0;
	/* No later hop, and no answer, has the socket. */
	if (it.flags & TRACE_FLAG_OWNED)
		remember_headers(it.flags & TRACE_FLAG_INNER ? &it.inner : &it.h);
	event = event_new(TRACE_QUEUED);
	if (!event)
		return 0;
	fill_packet(event, &it);
	sk = plain(skb, sk_buff)->sk;
	if (sk && netns_of_sock(sk) == it.netns)
		fill_sender(event, sk);
	submit(event);
	return 0;
}

SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(on_transmit, struct sk_buff *skb, struct net_device *dev)
{
	struct trace_event *event;
	struct look_at it;

	begin_look(&it, skb, AT_DEVICE);
	if (!wanted(&it))
		return 0;
	event = event_new(TRACE_TRANSMITTED);
	if (!event)
		return 0;
	fill_packet(event, &it);
	submit(event);
	return 0;
}

static __always_inline void remember_drop(const struct trace_event *event)
{
	struct of_cpu *cpu = of_cpu();

	if (cpu)
		cpu->dropped = *event;
}

/* A closed socket's queue: every connection that ends with a FIN has one. */
static __always_inline bool is_purge(u32 reason)
{
	if (!bpf_core_enum_value_exists(enum skb_drop_reason___trace,
					SKB_DROP_REASON_QUEUE_PURGE___trace))
		return false;
	/* Else the compiler may read the number before it asks whether there is one. */
	barrier();
	return reason == bpf_core_enum_value(enum skb_drop_reason___trace,
					     SKB_DROP_REASON_QUEUE_PURGE___trace);
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(on_drop, struct sk_buff *skb, void *location, u32 reason)
{
	struct trace_drop_event *drop;
	struct look_at it;
	u64 now;

	if (is_purge(reason))
		return 0;
	begin_look(&it, skb, AT_DROP);
	it.reason = reason;
	if (!wanted(&it))
		return 0;
	now = bpf_ktime_get_ns();
	drop = reserve(sizeof(*drop), now);
	if (!drop)
		return 0;
	__builtin_memset(drop, 0, sizeof(*drop));
	drop->event.time = now;
	drop->event.step = TRACE_DROPPED;
	drop->event.cpu = bpf_get_smp_processor_id();
	fill_packet(&drop->event, &it);
	drop->event.code = reason;
	drop->event.location = ctx[1]; /* again: with it on the stack 6.1 refuses the program */
	if (bpf_get_stack(ctx, &drop->stack, sizeof(drop->stack), 0) > 0)
		drop->event.flags |= TRACE_FLAG_STACK;
	remember_drop(&drop->event);
	submit(drop);
	return 0;
}

SEC("tp_btf/icmp_send")
int BPF_PROG(on_icmp, struct sk_buff *skb, int type, int code)
{
	struct trace_event *event;
	struct look_at it;

	begin_look(&it, skb, AT_DEVICE);
	if (!wanted(&it))
		return 0;
	event = event_new(TRACE_ICMP_SENT);
	if (!event)
		return 0;
	fill_packet(event, &it);
	event->code = type;
	event->extra = code;
	submit(event);
	return 0;
}

static __always_inline int delivered(struct sk_buff *skb)
{
	struct trace_event *event;
	struct look_at it;

	begin_look(&it, skb, AT_READER);
	it.sk = plain(skb, sk_buff)->sk;
	if (!wanted(&it))
		return 0;
	event = event_new(TRACE_DELIVERED);
	if (!event)
		return 0;
	fill_packet(event, &it);
	event->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(event->command, sizeof(event->command));
	submit(event);
	return 0;
}

/* A process takes it from its TCP or raw socket's queue. */
SEC("tp_btf/skb_copy_datagram_iovec")
int BPF_PROG(on_delivery, struct sk_buff *skb)
{
	return delivered(skb);
}

/*
 * A process has taken it from its UDP socket's queue, where sizes lie in the place
 * of the device, and a truth value in its highest byte.
 */
SEC("tp_btf/consume_skb")
int BPF_PROG(on_read, struct sk_buff *skb)
{
	u64 dev = (u64)plain(skb, sk_buff)->dev;

	if (!dev || is_of_kernel(dev))
		return 0;
	return delivered(skb);
}

SEC("tp_btf/sock_rcvqueue_full")
int BPF_PROG(on_full, struct sock *sk, struct sk_buff *skb)
{
	struct trace_event *event;
	struct look_at it;

	begin_look(&it, skb, AT_SOCKET);
	it.sk = sk;
	if (!wanted(&it))
		return 0;
	event = event_new(TRACE_SOCKET_FULL);
	if (!event)
		return 0;
	fill_packet(event, &it);
	event->cookie = bpf_get_socket_cookie(sk);
	submit(event);
	return 0;
}

SEC("tp_btf/tcp_send_reset")
int BPF_PROG(on_send_reset, struct sock *sk, struct sk_buff *skb)
{
	struct trace_event *event;
	struct look_at it;

	if (!skb)
		return 0;
	begin_look(&it, skb, AT_DEVICE);
	if (!wanted(&it))
		return 0;
	event = event_new(TRACE_RESET_SENT);
	if (!event)
		return 0;
	fill_packet(event, &it);
	submit(event);
	return 0;
}

#endif
