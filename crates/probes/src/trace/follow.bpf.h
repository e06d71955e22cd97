/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Whose packet is it, where the filter does not say so by the packet's own headers:
 * a translated leg of a conversation that matches, its replies, or what a tunnel
 * carries.
 */
#ifndef TAPROOT_TRACE_FOLLOW_H
#define TAPROOT_TRACE_FOLLOW_H

/* A conversation, the same for both directions; IPv6 addresses are folded. */
struct leg {
	u32 low_address, high_address;
	u16 low_port, high_port;
	u32 protocol;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct leg);
	__type(value, u8);
} legs SEC(".maps");

/* Whether `legs` holds anything: without translation nobody looks into it. */
u32 any_leg = 0;

/* The packet that this CPU is busy with, for hooks that have no packet. */
struct current {
	u64 skb;
	u64 time;
	u32 source;
	u32 destination;
	u32 netns;
	u32 ip_id;
	u32 sequence;
	u32 acknowledgement;
	struct trace_tuple tuple;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct current);
} currents SEC(".maps");

/* Longest time between a packet's hop and a lookup that is still its own. */
#define CURRENT_NS 300000

static __always_inline u32 folded(const u32 *words)
{
	return words[0] ^ words[1] ^ words[2] ^ words[3];
}

static __always_inline void leg_of(struct leg *leg, u32 source, u32 destination, u16 source_port,
				   u16 destination_port, u8 protocol)
{
	bool low = source < destination ||
		   (source == destination && source_port < destination_port);

	leg->low_address = low ? source : destination;
	leg->high_address = low ? destination : source;
	leg->low_port = low ? source_port : destination_port;
	leg->high_port = low ? destination_port : source_port;
	leg->protocol = protocol;
}

static __always_inline bool is_leg(const struct headers *h)
{
	struct leg leg;

	if (!any_leg)
		return false;
	leg_of(&leg, folded(h->field + TRACE_FIELD_SOURCE),
	       folded(h->field + TRACE_FIELD_DESTINATION), h->field[TRACE_FIELD_SOURCE_PORT],
	       h->field[TRACE_FIELD_DESTINATION_PORT], h->field[TRACE_FIELD_PROTOCOL]);
	return bpf_map_lookup_elem(&legs, &leg);
}

static __always_inline struct nf_conn *conntrack_of(struct sk_buff *skb)
{
	unsigned long nfct;

	if (!bpf_core_field_exists(struct sk_buff___ct, _nfct) ||
	    !bpf_core_type_exists(struct nf_conn))
		return NULL;
	nfct = ((struct sk_buff___ct *)skb)->_nfct;
	return (struct nf_conn *)(nfct & NFCT_PTRMASK);
}

static __always_inline bool is_translated(struct nf_conn *ct)
{
	return ct && (BPF_CORE_READ(ct, status) & IPS_NAT_MASK);
}

static __always_inline void fill_ends(struct trace_tuple *to, const struct nf_conntrack_tuple *from)
{
	__builtin_memcpy(to->source, &from->src.u3, 16);
	__builtin_memcpy(to->destination, &from->dst.u3, 16);
	to->family = from->src.l3num == AF_INET6 ? 6 : 4;
	to->protocol = from->dst.protonum;
	if (to->protocol == IPPROTO_TCP || to->protocol == IPPROTO_UDP ||
	    to->protocol == IPPROTO_SCTP) {
		to->source_port = bpf_ntohs(from->src.u.all);
		to->destination_port = bpf_ntohs(from->dst.u.all);
	}
}

/*
 * One of the two tuples of a tracked connection: 0 the original, 1 the reply. A
 * macro, because only a literal index is moved to where the kernel has its element.
 */
#define read_tracked(to, ct, which)                                                       	do {                                                                              		struct nf_conntrack_tuple t_ = {};                                        		BPF_CORE_READ_INTO(&t_.src.u3, ct, tuplehash[which].tuple.src.u3);        		BPF_CORE_READ_INTO(&t_.dst.u3, ct, tuplehash[which].tuple.dst.u3);        		BPF_CORE_READ_INTO(&t_.src.u.all, ct, tuplehash[which].tuple.src.u.all);  		BPF_CORE_READ_INTO(&t_.dst.u.all, ct, tuplehash[which].tuple.dst.u.all);  		BPF_CORE_READ_INTO(&t_.src.l3num, ct, tuplehash[which].tuple.src.l3num);  		BPF_CORE_READ_INTO(&t_.dst.protonum, ct,                                  				   tuplehash[which].tuple.dst.protonum);                  		fill_ends(to, &t_);                                                       	} while (0)

/* Remembers both sides of a translation, so that packets that carry only one are known. */
static __always_inline void remember(const struct trace_tuple *tuple)
{
	struct leg leg;
	u8 one = 1;
	u32 zero = 0;
	u32 source[4], destination[4];

	for (int i = 0; i < 4; i++) {
		source[i] = bpf_ntohl(tuple->source[i]);
		destination[i] = bpf_ntohl(tuple->destination[i]);
	}
	leg_of(&leg, folded(source), folded(destination), tuple->source_port,
	       tuple->destination_port, tuple->protocol);
	if (bpf_map_lookup_elem(&legs, &leg))
		return;
	if (bpf_map_update_elem(&legs, &leg, &one, BPF_ANY)) {
		struct trace_counts *count = bpf_map_lookup_elem(&counts, &zero);

		if (count)
			__sync_fetch_and_add(&count->legs_full, 1);
		return;
	}
	any_leg = 1;
}

/* The fields of a tracked connection's tuple, to be asked by the filter. */
static __always_inline void fields_of(struct headers *h, const struct trace_tuple *tuple)
{
	for (int i = 0; i < 4; i++) {
		h->field[TRACE_FIELD_SOURCE + i] = bpf_ntohl(tuple->source[i]);
		h->field[TRACE_FIELD_DESTINATION + i] = bpf_ntohl(tuple->destination[i]);
	}
	h->field[TRACE_FIELD_SOURCE_PORT] = tuple->source_port;
	h->field[TRACE_FIELD_DESTINATION_PORT] = tuple->destination_port;
}

/* The filter asked of what the packet was, or of the answer to it. */
static __always_inline bool matches_tracked(struct headers *h, struct nf_conn *ct)
{
	struct trace_tuple tuple = {};

	read_tracked(&tuple, ct, 0);
	fields_of(h, &tuple);
	if (evaluate(h))
		return true;
	__builtin_memset(&tuple, 0, sizeof(tuple));
	read_tracked(&tuple, ct, 1);
	fields_of(h, &tuple);
	return evaluate(h);
}

static __always_inline struct current *current_get(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&currents, &zero);
}

/* The same, unless that was too long ago. */
static __always_inline struct current *current_fresh(void)
{
	struct current *current = current_get();

	if (!current || !current->time || bpf_ktime_get_ns() - current->time > CURRENT_NS)
		return NULL;
	return current;
}

/* The packet that a lookup between these addresses is done for, if it is one of ours. */
static __always_inline struct current *current_of(u32 source, u32 destination)
{
	struct current *current = current_fresh();

	/* A lookup without a source is no packet's: ARP asks like that in between. */
	if (!current || !source)
		return NULL;
	/* Translation changes one of the two at a time; a reverse lookup swaps them. */
	if (source == current->source || destination == current->destination ||
	    destination == current->source || source == current->destination)
		return current;
	return NULL;
}

#endif
