/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* A packet at a hook: where it is, and whether anybody asked for it. */
#ifndef TAPROOT_TRACE_LOOK_H
#define TAPROOT_TRACE_LOOK_H

/* How a packet's place is found. */
enum where {
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

/* What a tunnel carries; false where it is not asked for. */
static __always_inline bool read_inner(struct look_at *it, u16 protocol)
{
	u64 at = as_number(it->inner_ip);

	if (read_headers(&it->inner, at, protocol))
		return true;
	if (!asks_frames)
		return false;
	it->flags |= TRACE_FLAG_FRAME;
	return fill_frame(&it->inner, at, bpf_ntohs(protocol),
			  it->h.field[TRACE_FIELD_LENGTH] - (it->inner_ip - it->ip));
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
		if (!read_inner(it, protocol))
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
	u16 protocol = 0;

	__builtin_memset(&it->h, 0, sizeof(it->h));
	if (!read_headers(&it->h, as_number(it->ip), it->skb->protocol))
		return false;
	it->inner_ip = inside(&it->h, it->ip, &protocol);
	return matches(it, protocol);
}

/* A packet that is not IP. Without a frame around it nobody can say what it is. */
static __always_inline bool frame_wanted(struct look_at *it, u16 protocol)
{
	if (!protocol || !follows_ethernet(it->skb, it->ip))
		return false;
	__builtin_memset(&it->h, 0, sizeof(it->h));
	fill_frame(&it->h, as_number(it->ip), bpf_ntohs(protocol),
		   bytes_from(it->skb, it->ip) + it->skb->data_len);
	fill_meta(it, &it->h);
	it->flags |= TRACE_FLAG_FRAME;
	return matches_headers(&it->h, number_of(it->ip)) != NOT_MATCHED;
}

static __always_inline bool is_ip(u16 protocol)
{
	return protocol == bpf_htons(ETH_P_IP) || protocol == bpf_htons(ETH_P_IPV6);
}

/* Reads the headers once and asks the filter; false: not of interest. */
static __always_inline bool wanted(struct look_at *it)
{
	u16 protocol = it->skb->protocol;
	bool yes;

	if (!is_ip(protocol) && !asks_frames)
		return false;
	it->nfct = is_ip(protocol) ? conntrack_of(it->skb) : 0;
	if (asks_place)
		locate(it);
	if (!is_ip(protocol))
		yes = frame_wanted(it, protocol);
	else
		yes = protocol == bpf_htons(ETH_P_IP) ? v4_wanted(it) : v6_wanted(it);
	if (yes && !asks_place)
		locate(it);
	return yes;
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

#endif
