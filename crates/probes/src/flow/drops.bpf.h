/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Packets that the kernel threw away, and why. */
#ifndef TAPROOT_FLOW_DROPS_H
#define TAPROOT_FLOW_DROPS_H

/* The number of QUEUE_PURGE on this kernel; 0 where there is none. */
const volatile u32 purge_reason = 0;

/* The namespace a dropped packet died in. */
static __always_inline struct net *net_of(struct sk_buff *skb, struct sock *sk)
{
	struct net_device *dev = skb->dev;

	if (sk)
		return sk->__sk_common.skc_net.net;
	/* skb->dev shares its place with other data in receive queues. */
	return dev ? dev->nd_net.net : NULL;
}

static __always_inline void drop_ends(struct flow_drop_key *key, const struct packet *p)
{
	bool to = listener_of(0, p->dport, p->proto);
	bool from = listener_of(0, p->sport, p->proto);

	key->to_server = to == from ? p->dport < p->sport : to;
	key->port = key->to_server ? p->dport : p->sport;
	key->proto = p->proto;
	if (key->to_server) {
		source_of(p, key->client);
		destination_of(p, key->server);
	} else {
		destination_of(p, key->client);
		source_of(p, key->server);
	}
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(on_drop, struct sk_buff *skb, void *location, u32 reason)
{
	struct flow_drop_key key = {};
	struct flow_drop *drop;
	struct packet p;
	struct net *net;
	u32 inum = 0;

	/* A closed socket's queue: every connection that ends with a FIN has one. */
	if (purge_reason && reason == purge_reason) {
		u64 *count = bpf_map_lookup_elem(&purged, &inum);

		if (count)
			*count += 1;
		return 0;
	}
	net = net_of(skb, skb->sk);
	if (net)
		inum = net->ns.inum;
	if (inum >= NETNS_INUM_MIN)
		key.netns = net->net_cookie;
	else
		inum = 0;
	if (!in_scope(inum))
		return 0;
	key.reason = reason;
	if (skb->network_header && skb->network_header != 0xffff &&
	    parse(&p, skb->head + skb->network_header, skb->protocol))
		drop_ends(&key, &p);
	drop = bpf_map_lookup_elem(&drops, &key);
	if (!drop) {
		bpf_map_update_elem(&drops, &key, &empty_drop, BPF_NOEXIST);
		drop = bpf_map_lookup_elem(&drops, &key);
	}
	if (!drop) {
		lost(FLOW_LOSS_DROPS_FULL);
		return 0;
	}
	add(&drop->count, 1);
	drop->location = (u64)location;
	drop->netns_inum = inum;
	return 0;
}

#endif
