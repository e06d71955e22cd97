/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Whose packet is it, where the filter does not say so by the packet's own headers:
 * a translated leg of a conversation that matches, its replies, or what a tunnel
 * carries.
 */
#ifndef TAPROOT_TRACE_FOLLOW_H
#define TAPROOT_TRACE_FOLLOW_H

/* These give the reader the types. */
const struct trace_leg empty_leg = {};
const struct trace_owner empty_owner = {};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct trace_leg);
	__type(value, u8);
} legs SEC(".maps");

/* A datagram of interest that goes in pieces: only the first of them has ports. */
struct datagram {
	u32 source, destination;
	u32 protocol;
	u32 ip_id;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct datagram);
	__type(value, u8);
} datagrams SEC(".maps");

/* Counts up when a leg is remembered; while it is 0, nobody looks for one. */
u32 legs_made = 0;

/* The packet that a CPU is busy with, for hooks that have no packet. */
struct current {
	u64 skb;
	u64 time; /* 0: there was none */
	u32 source;
	u32 destination;
	u32 netns;
	u32 ip_id;
	u32 sequence;
	u32 acknowledgement;
	struct trace_tuple tuple;
};

/*
 * The last packet that a CPU had no interest in, by all that the filter may ask of it.
 * A packet passes a dozen hooks, most of them one after the other on one CPU: only the
 * first of them asks the filter.
 */
struct refusal {
	u64 word[3]; /* of `union start`; word[0] is 0 where there is none */
	u64 nfct;
	u32 legs_made;
};

struct of_cpu {
	struct current current;
	struct refusal refusal;
	struct trace_event dropped; /* the last one of interest; a function may still tell of it */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct of_cpu);
} of_cpus SEC(".maps");

/*
 * How long a CPU is busy with the packet that it received last, for what is only done for
 * received ones. The next one ends it, of whatever kind it is; a CPU that is taken away in
 * between (a virtual one, an emulated one) needs many times the usual microseconds.
 */
#define BUSY_NS 1000000000
/* The same for what may as well be done for something else, as for a process. */
#define CURRENT_NS 2000000

static __always_inline u32 folded(const u32 *words)
{
	return words[0] ^ words[1] ^ words[2] ^ words[3];
}

static __always_inline void leg_of(struct trace_leg *leg, u32 source, u32 destination,
				   u16 source_port, u16 destination_port, u8 protocol)
{
	bool low = source < destination ||
		   (source == destination && source_port < destination_port);

	leg->low_address = low ? source : destination;
	leg->high_address = low ? destination : source;
	leg->low_port = low ? source_port : destination_port;
	leg->high_port = low ? destination_port : source_port;
	leg->protocol = protocol;
}

static __always_inline void leg_of_headers(struct trace_leg *leg, const struct headers *h)
{
	leg_of(leg, folded(h->field + TRACE_FIELD_SOURCE),
	       folded(h->field + TRACE_FIELD_DESTINATION), h->field[TRACE_FIELD_SOURCE_PORT],
	       h->field[TRACE_FIELD_DESTINATION_PORT], h->field[TRACE_FIELD_PROTOCOL]);
}

__noinline int is_leg(const struct headers *h)
{
	struct trace_leg leg;

	if (!h || !legs_made)
		return 0;
	leg_of_headers(&leg, h);
	return !!bpf_map_lookup_elem(&legs, &leg);
}

static __always_inline void datagram_of(struct datagram *datagram, const struct headers *h)
{
	datagram->source = h->field[TRACE_FIELD_SOURCE];
	datagram->destination = h->field[TRACE_FIELD_DESTINATION];
	datagram->protocol = h->field[TRACE_FIELD_PROTOCOL];
	datagram->ip_id = h->ip_id;
}

/* Whether it is a later piece of a datagram whose first one was of interest. */
static __always_inline bool is_piece(const struct headers *h)
{
	struct datagram datagram;

	if (!(h->fragment & IP_OFFSET))
		return false;
	datagram_of(&datagram, h);
	return bpf_map_lookup_elem(&datagrams, &datagram);
}

static __always_inline void remember_pieces(const struct headers *h)
{
	struct datagram datagram;
	u8 one = 1;

	if ((h->fragment & (IP_MF | IP_OFFSET)) != IP_MF)
		return;
	datagram_of(&datagram, h);
	/* The table gives up its oldest; what cannot be entered is shown as a path cut short. */
	bpf_map_update_elem(&datagrams, &datagram, &one, BPF_ANY);
}

/* How a packet's own headers match. */
enum matched {
	NOT_MATCHED,
	BY_FILTER,
	BY_LEG,
};

__noinline int matches_headers(const struct headers *h, u64 ip)
{
	int how = NOT_MATCHED;

	if (!h)
		return NOT_MATCHED;
	if (evaluate(h, ip))
		how = BY_FILTER;
	else if (is_leg(h))
		how = BY_LEG;
	else
		return is_piece(h) ? BY_FILTER : NOT_MATCHED;
	remember_pieces(h);
	return how;
}

/* The packet's entry in the table of connections, with what it is there in the low bits. */
static __always_inline u64 conntrack_of(struct sk_buff *skb)
{
	if (!bpf_core_field_exists(struct sk_buff___ct, _nfct) ||
	    !bpf_core_type_exists(struct nf_conn))
		return 0;
	return ((struct sk_buff___ct *)skb)->_nfct;
}

static __always_inline struct nf_conn *connection(u64 nfct)
{
	return (struct nf_conn *)(nfct & NFCT_PTRMASK);
}

static __always_inline bool is_translated(u64 nfct)
{
	struct nf_conn *ct = connection(nfct);

	return ct && (BPF_CORE_READ(ct, status) & IPS_NAT_MASK);
}

/* One of the two tuples of a tracked connection, as it lies in the kernel. */
struct side {
	u32 source[4];
	u16 source_port, family;
	u32 destination[4];
	u16 destination_port;
	u8 protocol, direction;
};

/* Whether the kernel has it like that; it is read in one piece then, or not at all. */
static __always_inline bool sides_are_known(void)
{
	return bpf_core_type_exists(struct nf_conn) &&
	       bpf_core_field_offset(struct nf_conntrack_tuple, src.u.all) ==
		       __builtin_offsetof(struct side, source_port) &&
	       bpf_core_field_offset(struct nf_conntrack_tuple, src.l3num) ==
		       __builtin_offsetof(struct side, family) &&
	       bpf_core_field_offset(struct nf_conntrack_tuple, dst.u3) ==
		       __builtin_offsetof(struct side, destination) &&
	       bpf_core_field_offset(struct nf_conntrack_tuple, dst.u.all) ==
		       __builtin_offsetof(struct side, destination_port) &&
	       bpf_core_field_offset(struct nf_conntrack_tuple, dst.protonum) ==
		       __builtin_offsetof(struct side, protocol);
}

static __always_inline bool read_side(struct side *side, const void *from)
{
	return sides_are_known() && !bpf_probe_read_kernel(side, sizeof(*side), from);
}

/* Where they lie; only a literal index is moved to where the kernel has its element. */
#define ORIGINAL_OF(ct) __builtin_preserve_access_index(&(ct)->tuplehash[0].tuple)
#define REPLY_OF(ct) __builtin_preserve_access_index(&(ct)->tuplehash[1].tuple)

static __always_inline void fill_side(struct trace_tuple *to, const void *from)
{
	struct side side;

	if (!read_side(&side, from))
		return;
	__builtin_memcpy(to->source, side.source, sizeof(side.source));
	__builtin_memcpy(to->destination, side.destination, sizeof(side.destination));
	to->family = side.family == AF_INET6 ? 6 : 4;
	to->protocol = side.protocol;
	if (has_ports(side.protocol)) {
		to->source_port = bpf_ntohs(side.source_port);
		to->destination_port = bpf_ntohs(side.destination_port);
	}
}

static __always_inline void remember_leg(const struct trace_leg *leg)
{
	u32 zero = 0;
	u8 one = 1;

	if (bpf_map_lookup_elem(&legs, leg))
		return;
	if (bpf_map_update_elem(&legs, leg, &one, BPF_ANY)) {
		struct trace_counts *count = bpf_map_lookup_elem(&counts, &zero);

		if (count)
			__sync_fetch_and_add(&count->legs_full, 1);
		return;
	}
	__sync_fetch_and_add(&legs_made, 1);
}

/* Remembers both sides of a translation, so that packets that carry only one are known. */
static __always_inline void remember(const struct trace_tuple *tuple)
{
	struct trace_leg leg;
	u32 source[4], destination[4];

	for (int i = 0; i < 4; i++) {
		source[i] = bpf_ntohl(tuple->source[i]);
		destination[i] = bpf_ntohl(tuple->destination[i]);
	}
	leg_of(&leg, folded(source), folded(destination), tuple->source_port,
	       tuple->destination_port, tuple->protocol);
	remember_leg(&leg);
}

/* The filter asked of one side of a tracked connection instead of the packet's own. */
static __always_inline bool matches_side(struct headers *h, const void *from, u64 ip)
{
	struct side side;

	if (!read_side(&side, from))
		return false;
	for (int i = 0; i < 4; i++) {
		h->field[TRACE_FIELD_SOURCE + i] = bpf_ntohl(side.source[i]);
		h->field[TRACE_FIELD_DESTINATION + i] = bpf_ntohl(side.destination[i]);
	}
	if (has_ports(side.protocol)) {
		h->field[TRACE_FIELD_SOURCE_PORT] = bpf_ntohs(side.source_port);
		h->field[TRACE_FIELD_DESTINATION_PORT] = bpf_ntohs(side.destination_port);
	}
	return evaluate(h, ip);
}

/* The filter asked of what the packet was, or of the answer to it. */
__noinline int matches_tracked(struct headers *h, u64 nfct, u64 ip)
{
	struct nf_conn *ct = connection(nfct);

	if (!h || !is_translated(nfct))
		return 0;
	return matches_side(h, ORIGINAL_OF(ct), ip) ||
	       matches_side(h, REPLY_OF(ct), ip);
}

/* Remembers a conversation by a packet of it. */
static __always_inline void remember_headers(const struct headers *h)
{
	struct trace_leg leg;

	leg_of_headers(&leg, h);
	remember_leg(&leg);
}

static __always_inline struct of_cpu *of_cpu(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&of_cpus, &zero);
}

/* What a CPU was busy with is over, whatever came in now: ARP asks for routes, too. */
static __always_inline void not_busy(void)
{
	struct of_cpu *cpu = of_cpu();

	if (cpu)
		cpu->current.time = 0;
}

/* Set before loading: the filter asks for nothing but what `struct refusal` holds. */
const volatile bool remembers = true;

/* Whether this very packet was of no interest a moment ago. */
static __always_inline bool is_refused(const struct of_cpu *cpu, const union start *start, u64 nfct)
{
	const struct refusal *refusal = &cpu->refusal;

	return refusal->word[0] == start->word[0] && refusal->word[1] == start->word[1] &&
	       refusal->word[2] == start->word[2] && refusal->legs_made == legs_made &&
	       (!nfct || refusal->nfct == nfct);
}

static __always_inline void refuse(struct of_cpu *cpu, const union start *start, u64 nfct)
{
	/* Options lie where the ports are looked for; such a packet is asked about again. */
	bool is_plain = start->ip.version_length == 0x45;

	cpu->refusal.word[0] = is_plain ? start->word[0] : 0;
	cpu->refusal.word[1] = start->word[1];
	cpu->refusal.word[2] = start->word[2];
	cpu->refusal.nfct = nfct;
	cpu->refusal.legs_made = legs_made;
}

/*
 * Whether a lookup is done for the packet that this CPU had no interest in. What a
 * received packet is looked up with knows no ports: the kernel says the device instead.
 */
static __always_inline bool is_for_refused(const struct of_cpu *cpu, u32 source, u32 destination,
					   int came_in)
{
	const union start *start = (const union start *)&cpu->refusal.word;

	return cpu->refusal.word[0] && cpu->refusal.legs_made == legs_made &&
	       came_in != LOOPBACK_IFINDEX && start->ip.source == source &&
	       start->ip.destination == destination;
}

/* The packet that the CPU is busy with, unless that was too long ago. */
static __always_inline bool is_fresh(const struct current *current, u64 limit)
{
	return current->time && bpf_ktime_get_ns() - current->time <= limit;
}

/*
 * Whether nobody but a received packet is looked up like that: with the device that it came
 * in by, or, backwards, without a transport. What is sent has one, and comes from nowhere.
 */
static __always_inline bool is_of_received(int came_in, u8 protocol)
{
	return (came_in && came_in != LOOPBACK_IFINDEX) || !protocol;
}

/* Whether a lookup between these addresses is done for the packet that the CPU is busy with. */
static __always_inline bool is_for_current(const struct current *current, u32 source,
					   u32 destination, u64 limit)
{
	/* A lookup without a source is no packet's: ARP asks like that in between. */
	if (!current->time || !source)
		return false;
	/* Translation changes one of the two at a time; a reverse lookup swaps them. */
	return (source == current->source || destination == current->destination ||
		destination == current->source || source == current->destination) &&
	       is_fresh(current, limit);
}

#endif
