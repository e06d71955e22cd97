/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Between the device and the socket.
 *
 * A packet is known again by its address, in tables that packets of the whole machine
 * share: a place tells whose it is, and where another packet took it, that is not seen.
 * So a packet that is not ours costs no look-up of its socket: one that arrives a clock
 * reading and two stores, one that leaves a comparison.
 */
#ifndef TAPROOT_HTTP_DEVICE
#define TAPROOT_HTTP_DEVICE

#include "stages.bpf.h"

/* Packets known at a time, arriving and leaving; 1 << so many. */
#define ARRIVAL_BITS 12
#define DEPARTURE_BITS 10

/* An acknowledgement without payload, its headers of IPv4 and TCP's options included, is
 * not longer. No request is as short. */
#define BARE 56

/* From the device's hand-over to the socket there are queues: GRO, RPS, the backlog. */
struct arrival {
	u64 name;
	u64 at; /* 0: not timed */
};

/* Whether all programs that write `arrivals` run. Without one of them, packets would be
 * taken for earlier ones at their address. Set after attaching. */
u32 arrivals_seen = 0;

/* The last packet of an answer, on its way to the device. */
struct departure {
	u64 name;
	u64 at;
	u64 sampled; /* the request it answers, where that was sampled; else 0 */
	u32 seq;
	u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << ARRIVAL_BITS);
	__type(key, u32);
	__type(value, struct arrival);
} arrivals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << DEPARTURE_BITS);
	__type(key, u32);
	__type(value, struct departure);
} departures SEC(".maps");

/*
 * What stands for a packet's address: a number, where the verifier lets nobody reckon with
 * a pointer. Only of a negated one it forgets that it was one.
 */
static __always_inline u64 name_of(const void *skb)
{
	u64 name = (u64)skb;

	asm volatile("%0 = -%0" : "+r"(name));
	return name;
}

static __always_inline u32 place_of(u64 name, u32 bits)
{
	return (u32)name * 0x9e3779b1u >> (32 - bits);
}

/* ---- arriving --------------------------------------------------------- */

/* A device hands a packet over. Where several do in turn (bridges), the last is kept. */
static __always_inline int arrives(const struct sk_buff *skb)
{
	u64 name = name_of(skb);
	u32 place = place_of(name, ARRIVAL_BITS);
	struct arrival *a = bpf_map_lookup_elem(&arrivals, &place);

	if (!a)
		return 0;
	a->at = skb->len > BARE ? bpf_ktime_get_ns() : 0;
	a->name = name;
	return 0;
}

SEC("tp_btf/netif_rx")
int BPF_PROG(device_netif_rx, struct sk_buff *skb)
{
	return arrives(skb);
}

SEC("tp_btf/napi_gro_receive_entry")
int BPF_PROG(device_gro, struct sk_buff *skb)
{
	return arrives(skb);
}

SEC("tp_btf/napi_gro_frags_entry")
int BPF_PROG(device_gro_frags, struct sk_buff *skb)
{
	return arrives(skb);
}

SEC("tp_btf/netif_receive_skb_entry")
int BPF_PROG(device_receive, struct sk_buff *skb)
{
	return arrives(skb);
}

SEC("tp_btf/netif_receive_skb_list_entry")
int BPF_PROG(device_receive_list, struct sk_buff *skb)
{
	return arrives(skb);
}

/* When a device handed this packet over; 0 where that was not seen. */
static __always_inline u64 arrived_at(struct __sk_buff *skb)
{
	u64 name = name_of(skb);
	u32 place = place_of(name, ARRIVAL_BITS);
	struct arrival *a = bpf_map_lookup_elem(&arrivals, &place);

	return arrivals_seen && a && a->name == name ? a->at : 0;
}

/* ---- leaving ---------------------------------------------------------- */

/* The last packet of an answer leaves its socket. */
static __always_inline void departs(struct __sk_buff *skb, struct connection *c, u32 seq, u64 now)
{
	u64 name = name_of(skb);
	u32 place = place_of(name, DEPARTURE_BITS);
	struct departure *d = bpf_map_lookup_elem(&departures, &place);

	c->ended = 0;
	if (!d)
		return;
	d->at = now;
	d->sampled = c->sampled;
	d->seq = seq;
	d->name = name;
}

static __always_inline void tell_departure(u64 request, u64 took)
{
	struct http_departure *out = bpf_ringbuf_reserve(&samples, sizeof(*out), 0);

	if (!out) {
		lose(HTTP_LOST_RING);
		return;
	}
	out->request = request;
	out->qdisc = took;
	bpf_ringbuf_submit(out, 0);
}

/*
 * A packet is handed to its device, of several stacked ones to the first. One that was
 * cut up on the way, or thrown away, is not seen here; a later packet at its address is
 * another segment.
 */
SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(device_xmit, struct sk_buff *skb)
{
	u64 name = name_of(skb);
	u32 place = place_of(name, DEPARTURE_BITS), seq = 0;
	struct departure *d = bpf_map_lookup_elem(&departures, &place);
	struct connection *c;
	struct sock *sk;
	u64 took;

	if (!d || d->name != name)
		return 0;
	sk = skb->sk;
	c = sk ? bpf_sk_storage_get(&connections, sk, NULL, 0) : NULL;
	if (!c)
		return 0;
	bpf_probe_read_kernel(&seq, sizeof(seq), skb->head + skb->transport_header + 4);
	if (bpf_ntohl(seq) != d->seq)
		return 0;
	took = bpf_ktime_get_ns() - d->at;
	d->name = 0;
	__sync_fetch_and_add(&c->qdisc.total, took);
	__sync_fetch_and_add(&c->qdisc.seen, 1);
	if (d->sampled)
		tell_departure(d->sampled, took);
	return 0;
}

#endif
