/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The maps, and how an edge is named, made and found. */
#ifndef TAPROOT_FLOW_EDGES_H
#define TAPROOT_FLOW_EDGES_H

#define SOCK_DONE 1	    /* enum sock_flags: a FIN was received */
#define SOCK_BINDPORT_LOCK 8 /* sk_userlocks: bind() named the port */

/* The state of one TCP socket. */
struct conn {
	struct flow_key key;
	u64 started;
	u64 tx_packets;
	/* What the edge already holds of this socket. */
	u64 seen_tx_packets;
	u64 seen_tx_bytes;
	u64 seen_rx_bytes;
	u64 seen_rx_segments;
	u64 seen_drops;
	/* The last packet, to know it again on a lower device. */
	u64 last_skb;
	u32 last_ifindex;
	u8 listener;
	u8 open;
	u8 dialling;
	u8 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct conn);
} conns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct flow_key);
	__type(value, struct flow_edge);
} edges SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct flow_packet_key);
	__type(value, struct flow_packets);
} packets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct flow_failure_key);
	__type(value, u64);
} failures SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct flow_drop_key);
	__type(value, struct flow_drop);
} drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct flow_listener_key);
	__type(value, struct flow_listener);
} listeners SEC(".maps");

/* Packets thrown away as usual with a socket's end: counted, not looked into. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} purged SEC(".maps");

/* Inodes of the network namespaces to observe, unless scope_all. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, u32);
	__type(value, u8);
} scope SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FLOW_LOSSES);
	__type(key, u32);
	__type(value, u64);
} losses SEC(".maps");

/* Set before loading. */
const volatile bool scope_all = true;
/* Edges that only a SYN made: at most so many, or a flood would fill the map. */
const volatile u32 syn_only_limit = 2048;

/* New entries start as copies of these; they also give the reader their types. */
const struct flow_edge empty_edge = {};
const struct flow_packets empty_packets = {};
const struct flow_report empty_report = {};
const struct flow_drop empty_drop = {};
const struct flow_listener empty_listener = {};
const struct flow_failure_key empty_failure_key = {};
const struct flow_drop_report empty_drop_report = {};
const struct flow_listener_key empty_listener_key = {};

u32 syn_only = 0;

static __always_inline void lost(u32 reason)
{
	u64 *count = bpf_map_lookup_elem(&losses, &reason);

	if (count)
		*count += 1;
}

static __always_inline void add(u64 *to, u64 n)
{
	__sync_fetch_and_add(to, n);
}

static __always_inline bool in_scope(u32 netns_inum)
{
	return scope_all || bpf_map_lookup_elem(&scope, &netns_inum);
}

static __noinline int bucket_of(u64 nanos)
{
	u32 bucket = taproot_bucket(nanos);

	if (bucket < FLOW_BUCKET_FIRST)
		return 0;
	bucket -= FLOW_BUCKET_FIRST;
	return bucket < FLOW_BUCKETS ? bucket : FLOW_BUCKETS - 1;
}

static __always_inline void record(u32 *buckets, u64 *sum, u64 nanos)
{
	u32 bucket = bucket_of(nanos);

	if (bucket < FLOW_BUCKETS)
		__sync_fetch_and_add(&buckets[bucket], 1);
	add(sum, nanos);
}

static __always_inline void map_v4(u8 *to, __be32 address)
{
	*(u64 *)to = 0;
	*(u32 *)(to + 8) = bpf_htonl(0xffff);
	*(u32 *)(to + 12) = address;
}

static __always_inline struct flow_edge *edge_get(const struct flow_key *key)
{
	struct flow_edge *edge = bpf_map_lookup_elem(&edges, key);

	if (edge)
		return edge;
	bpf_map_update_elem(&edges, key, &empty_edge, BPF_NOEXIST);
	edge = bpf_map_lookup_elem(&edges, key);
	if (!edge)
		lost(FLOW_LOSS_EDGES_FULL);
	return edge;
}

/* An IPv6 address in 32 bits: two that meet on one edge differ but by odd chance. */
static __always_inline u32 fold(const void *address)
{
	u64 high = *(u32 *)address | (u64)*(u32 *)(address + 4) << 32;
	u64 low = *(u32 *)(address + 8) | (u64)*(u32 *)(address + 12) << 32;

	return (high * 0x9E3779B97F4A7C15ull + low * 0xC2B2AE3D27D4EB4Full) >> 32;
}

static __always_inline bool is_mapped(const u8 *address)
{
	return *(u64 *)address == 0 && *(u32 *)(address + 8) == bpf_htonl(0xffff);
}

static __always_inline struct flow_packet_key packet_key(const struct flow_key *key)
{
	bool v4 = is_mapped(key->local) && is_mapped(key->remote);
	struct flow_packet_key out = {
		.netns = key->netns,
		.local = v4 ? *(u32 *)(key->local + 12) : fold(key->local),
		.remote = v4 ? *(u32 *)(key->remote + 12) : fold(key->remote),
		.port = key->port,
		.proto = key->proto,
		.role = key->role | (v4 ? 0 : FLOW_PACKET_V6),
	};

	return out;
}

/* Gives a new edge its owner and, so that packets find it, its small entry. */
static __always_inline void edge_own(struct flow_edge *edge, const struct flow_key *key, u64 owner,
				     u32 inum)
{
	struct flow_packets *counts;

	edge->owner = owner;
	edge->netns_inum = inum;
	edge->packets = packet_key(key);
	bpf_map_update_elem(&packets, &edge->packets, &empty_packets, BPF_NOEXIST);
	counts = bpf_map_lookup_elem(&packets, &edge->packets);
	if (counts)
		counts->owner = owner;
	else
		lost(FLOW_LOSS_EDGES_FULL);
}

/*
 * The edge of a socket that `owner` holds. The first cgroup to use an edge owns
 * it; another one gets an entry of its own, and `key` then names that.
 */
static __always_inline struct flow_edge *edge_claim(struct flow_key *key, u64 owner, u32 inum)
{
	struct flow_edge *edge = edge_get(key);
	struct flow_packets *counts;

	if (!edge)
		return NULL;
	if (!edge->netns_inum)
		edge_own(edge, key, owner, inum);
	if (edge->owner == owner)
		return edge;
	if (!edge->shared) {
		edge->shared = 1;
		counts = bpf_map_lookup_elem(&packets, &edge->packets);
		if (counts)
			counts->shared = 1;
	}
	key->cgroup = owner;
	edge = edge_get(key);
	if (edge) {
		edge->owner = owner;
		edge->netns_inum = inum;
	}
	return edge;
}

static __always_inline u64 sock_cgroup(const struct sock *sk)
{
	struct cgroup *cgroup = sk->sk_cgrp_data.cgroup;

	return cgroup ? cgroup->kn->id : 0;
}

static __always_inline u32 sock_netns_inum(const struct sock *sk)
{
	return sk->__sk_common.skc_net.net->ns.inum;
}

/* Addresses of a socket or of a request for one; the caller knows the role. */
static __always_inline void key_of_sock(struct flow_key *key, const struct sock_common *c, u8 role)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->netns = c->skc_net.net->net_cookie;
	if (c->skc_family == AF_INET6 && c->skc_v6_daddr.in6_u.u6_addr32[2] != bpf_htonl(0xffff)) {
		__builtin_memcpy(key->local, &c->skc_v6_rcv_saddr, 16);
		__builtin_memcpy(key->remote, &c->skc_v6_daddr, 16);
	} else {
		map_v4(key->local, c->skc_rcv_saddr);
		map_v4(key->remote, c->skc_daddr);
	}
	key->proto = IPPROTO_TCP;
	key->role = role;
	key->port = role == FLOW_CLIENT ? bpf_ntohs(c->skc_dport) : c->skc_num;
}

static __always_inline struct flow_listener *listener_of(u64 netns, u16 port, u8 proto)
{
	struct flow_listener_key key = { .netns = netns, .port = port, .proto = proto };
	struct flow_listener *listener = bpf_map_lookup_elem(&listeners, &key);

	return listener && listener->sockets ? listener : NULL;
}

/* Adds or takes away a listening socket, in its namespace and "anywhere". */
static __always_inline void listener_count(u64 netns, u16 port, u8 proto, u64 owner, u32 inum, int n)
{
	struct flow_listener_key key = { .netns = netns, .port = port, .proto = proto };
	struct flow_listener *listener;

	for (int i = 0; i < 2; i++) {
		listener = bpf_map_lookup_elem(&listeners, &key);
		if (!listener && n > 0) {
			bpf_map_update_elem(&listeners, &key, &empty_listener, BPF_NOEXIST);
			listener = bpf_map_lookup_elem(&listeners, &key);
			if (!listener)
				lost(FLOW_LOSS_LISTENERS_FULL);
		}
		if (listener) {
			__sync_fetch_and_add(&listener->sockets, n);
			listener->owner = owner;
			listener->netns_inum = inum;
		}
		key.netns = 0;
	}
}

#endif
