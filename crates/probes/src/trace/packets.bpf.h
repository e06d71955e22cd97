/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Hooks that have a packet: where it is, and where it ends. */
#ifndef TAPROOT_TRACE_PACKETS_H
#define TAPROOT_TRACE_PACKETS_H

/* How a packet's place is found. */
enum where {
	AT_ARRIVAL, /* at the device; from here on the CPU is busy with it */
	AT_DEVICE,
	AT_DROP,   /* at the device, unless its field holds something else by now */
	AT_SOCKET,
	AT_HOOK,   /* where the hook says: `dev` and `netns` are set */
	AT_READER, /* at the socket; UDP's packets do not know theirs */
};

/* A packet that is asked about. */
struct look_at {
	struct sk_buff *skb;
	struct sock *sk;	/* for AT_SOCKET and AT_READER; may be NULL */
	const u8 *ip;		/* its IP header */
	const u8 *inner_ip;	/* that of the packet inside a tunnel's; NULL: none */
	struct net_device *dev; /* NULL: none, or the field holds something else */
	struct headers h;
	struct headers inner;
	u64 nfct;
	u32 netns;
	u32 flags;
	u32 reason; /* of a drop; else 0 */
	enum where where;
};

/* Set before loading: whether the filter asks for namespace, device, mark or reason. */
const volatile bool asks_place = false;

static __always_inline u32 inode_of(struct net *net)
{
	u32 inode = net ? net->ns.inum : 0;

	return inode >= NETNS_INUM_MIN ? inode : 0;
}

static __always_inline const u8 *network_header(struct sk_buff *skb)
{
	u16 at = skb->network_header;

	return at && at != NO_HEADER ? skb->head + at : skb->data;
}

/* The namespace that the sockets of the running process are in. */
static __always_inline u32 netns_of_task(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
}

static __always_inline u32 netns_of_sock(struct sock *sk)
{
	return inode_of(plain(sk, sock)->__sk_common.skc_net.net);
}

/* Where the device's field holds something else: the socket knows, or the last hop does. */
static __always_inline void locate_otherwise(struct look_at *it)
{
	struct sock *sk = plain(it->skb, sk_buff)->sk;
	struct of_cpu *cpu = of_cpu();

	it->dev = NULL;
	if (sk)
		it->netns = netns_of_sock(sk);
	else if (cpu && cpu->current.skb == (u64)it->skb)
		it->netns = cpu->current.netns;
}

/* Finds namespace and device: not before they are asked for. */
static __always_inline void locate(struct look_at *it)
{
	if (it->where == AT_HOOK)
		return;
	if (it->where != AT_SOCKET && it->where != AT_READER) {
		it->dev = plain(it->skb, sk_buff)->dev;
		if (it->dev)
			it->netns = inode_of(it->dev->nd_net.net);
		if (it->where == AT_DROP && !it->netns)
			locate_otherwise(it);
	} else if (it->sk) {
		it->netns = netns_of_sock(it->sk);
	} else if (it->where == AT_READER) {
		it->netns = netns_of_task();
	}
}

static __always_inline void fill_meta(struct look_at *it, struct headers *h)
{
	if (asks_owner)
		h->field[TRACE_FIELD_OWNED] = !!(it->flags & TRACE_FLAG_OWNED);
	if (asks_link)
		h->field[TRACE_FIELD_VLAN] = tag_of(it->skb);
	if (!asks_place)
		return;
	h->field[TRACE_FIELD_NETNS] = it->netns;
	h->field[TRACE_FIELD_IFINDEX] = it->dev ? it->dev->ifindex : 0;
	h->field[TRACE_FIELD_MARK] = ((struct sk_buff___trace *)it->skb)->mark;
	h->field[TRACE_FIELD_REASON] = it->reason;
}

/* Asks the filter by all names of the packet. */
static __always_inline bool matches(struct look_at *it, u16 protocol)
{
	int how;

	it->h.framed = is_framed(it->skb, it->ip);
	fill_meta(it, &it->h);
	how = matches_headers(&it->h, number_of(it->ip));
	if (how == NOT_MATCHED && connection(it->nfct)) {
		/* By what it was before translation, or by its answers. */
		it->inner = it->h;
		if (matches_tracked(&it->inner, it->nfct, number_of(it->ip)))
			how = BY_LEG;
	}
	if (how == NOT_MATCHED && it->inner_ip) {
		__builtin_memset(&it->inner, 0, sizeof(it->inner));
		if (!read_headers(&it->inner, as_number(it->inner_ip), protocol))
			return false;
		fill_meta(it, &it->inner);
		it->inner.framed = is_inner_framed(&it->h);
		how = matches_headers(&it->inner, number_of(it->inner_ip));
		it->flags |= TRACE_FLAG_INNER;
	}
	if (how == BY_LEG)
		it->flags |= TRACE_FLAG_FOLLOWED;
	return how != NOT_MATCHED;
}

static __always_inline bool v4_wanted(struct look_at *it)
{
	struct of_cpu *cpu = of_cpu();
	union start start;
	u16 protocol = 0;
	bool yes;
	u8 ttl;

	if (!cpu || !read_start(&start, it->ip))
		return false;
	ttl = start.ip.ttl;
	/* These change on the way, and no filter that remembers asks for them. */
	start.ip.ttl = 0;
	start.ip.check = 0;
	if (it->where == AT_ARRIVAL)
		cpu->current.time = 0;
	if (remembers && is_refused(cpu, &start, it->nfct))
		return false;
	__builtin_memset(&it->h, 0, sizeof(it->h));
	if (!fill_v4(&it->h, &start))
		return false;
	it->h.field[TRACE_FIELD_TTL] = ttl;
	read_rest(&it->h, it->ip);
	it->inner_ip = inside(&it->h, it->ip, &protocol);
	yes = matches(it, protocol);
	/* A tunnel's packets look alike from outside. */
	if (!yes && !it->inner_ip)
		refuse(cpu, &start, it->nfct);
	else
		cpu->refusal.word[0] = 0;
	return yes;
}

static __always_inline bool v6_wanted(struct look_at *it)
{
	struct of_cpu *cpu = of_cpu();
	u16 protocol = 0;

	if (cpu && it->where == AT_ARRIVAL)
		cpu->current.time = 0;
	__builtin_memset(&it->h, 0, sizeof(it->h));
	if (!read_headers(&it->h, as_number(it->ip), it->skb->protocol))
		return false;
	it->inner_ip = inside(&it->h, it->ip, &protocol);
	return matches(it, protocol);
}

/* Reads the headers once and asks the filter; false: not of interest. */
static __always_inline bool wanted(struct look_at *it)
{
	u16 protocol = it->skb->protocol;
	bool yes;

	if (protocol != bpf_htons(ETH_P_IP) && protocol != bpf_htons(ETH_P_IPV6))
		return false;
	it->nfct = conntrack_of(it->skb);
	if (asks_place)
		locate(it);
	yes = protocol == bpf_htons(ETH_P_IP) ? v4_wanted(it) : v6_wanted(it);
	if (yes && !asks_place)
		locate(it);
	return yes;
}

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

static __always_inline void begin_look(struct look_at *it, struct sk_buff *skb, enum where where)
{
	it->skb = skb;
	it->sk = NULL;
	it->ip = network_header(skb);
	it->inner_ip = NULL;
	it->dev = NULL;
	it->netns = 0;
	it->where = where;
	it->flags = 0;
	it->reason = 0;
}

SEC("tp_btf/netif_receive_skb")
int BPF_PROG(on_receive, struct sk_buff *skb)
{
	struct trace_event *event;
	struct look_at it;

	begin_look(&it, skb, AT_ARRIVAL);
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

/* The number of QUEUE_PURGE on this kernel; 0 where there is none. */
const volatile u32 purge_reason = 0;

SEC("tp_btf/kfree_skb")
int BPF_PROG(on_drop, struct sk_buff *skb, void *location, u32 reason)
{
	struct trace_drop_event *drop;
	struct look_at it;
	u64 now;

	/* A closed socket's queue: every connection that ends with a FIN has one. */
	if (purge_reason && reason == purge_reason)
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
