/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* From a packet's headers to its edge. */
#ifndef TAPROOT_FLOW_PACKETS_H
#define TAPROOT_FLOW_PACKETS_H

#include "wire.bpf.h"

#define IFF_BRIDGE_PORT (1 << 9) /* enum netdev_priv_flags */
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88A8
#define IPPROTO_HOPOPTS 0
#define TCP_FLAGS_AT 13
#define TCP_SYN 0x02
#define TCP_ACK 0x10

enum direction {
	OUTGOING, /* local is the source */
	INCOMING, /* local is the destination */
};

struct packet {
	const u8 *l4; /* where TCP or UDP begins in the kernel's memory */
	u32 source, destination; /* IPv4 */
	u32 source6[4], destination6[4];
	bool v6;
	u8 proto;
	u16 sport, dport;
	u16 udp_len;
};

static __always_inline bool has_ports(u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP;
}

static __always_inline bool parse_ports(struct packet *p, const u8 *l4)
{
	const struct udphdr *header;
	struct udphdr copy;

	if (!look(header, udphdr, l4, copy))
		return false;
	p->l4 = l4;
	p->sport = bpf_ntohs(header->source);
	p->dport = bpf_ntohs(header->destination);
	p->udp_len = bpf_ntohs(header->length);
	return true;
}

static __always_inline bool parse_v4(struct packet *p, const u8 *ip)
{
	const struct iphdr *header;
	struct iphdr copy;

	if (!look(header, iphdr, ip, copy))
		return false;
	p->v6 = false;
	p->proto = header->protocol;
	if (!has_ports(p->proto))
		return false;
	if (header->fragment & bpf_htons(IP_OFFSET)) {
		lost(FLOW_LOSS_FRAGMENT);
		return false;
	}
	p->source = header->source;
	p->destination = header->destination;
	return parse_ports(p, ip + (header->version_length & 15) * 4);
}

static __always_inline bool parse_v6(struct packet *p, const u8 *ip)
{
	const struct ipv6hdr *header;
	struct ipv6hdr copy;
	u8 next = 0;

	if (!look(header, ipv6hdr, ip, copy))
		return false;
	p->v6 = true;
	p->proto = header->next;
	if (!has_ports(p->proto)) {
		/* Hop-by-hop options are mostly MLD's: what follows tells. */
		if (p->proto == IPPROTO_HOPOPTS || p->proto == IPPROTO_FRAGMENT)
			bpf_probe_read_kernel(&next, 1, ip + sizeof(copy));
		if (has_ports(next))
			lost(FLOW_LOSS_HEADER);
		return false;
	}
	for (int i = 0; i < 4; i++) {
		p->source6[i] = header->source[i];
		p->destination6[i] = header->destination[i];
	}
	return parse_ports(p, ip + sizeof(copy));
}

/* Reads the headers at `ip`; false when there are no TCP or UDP ports. */
static __always_inline bool parse(struct packet *p, const u8 *ip, u16 protocol)
{
	if (protocol == bpf_htons(ETH_P_IP))
		return parse_v4(p, ip);
	if (protocol == bpf_htons(ETH_P_IPV6))
		return parse_v6(p, ip);
	if (protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD))
		lost(FLOW_LOSS_HEADER);
	return false;
}

static __always_inline u64 udp_payload(const struct packet *p)
{
	return p->udp_len > 8 ? p->udp_len - 8 : 0;
}

static __always_inline void source_of(const struct packet *p, u8 *to)
{
	if (p->v6)
		__builtin_memcpy(to, p->source6, 16);
	else
		map_v4(to, p->source);
}

static __always_inline void destination_of(const struct packet *p, u8 *to)
{
	if (p->v6)
		__builtin_memcpy(to, p->destination6, 16);
	else
		map_v4(to, p->destination);
}

static __always_inline void key_of_packet(struct flow_key *key, const struct packet *p, u64 netns,
					  enum direction direction, u8 role, u16 port)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->netns = netns;
	if (direction == OUTGOING) {
		source_of(p, key->local);
		destination_of(p, key->remote);
	} else {
		destination_of(p, key->local);
		source_of(p, key->remote);
	}
	key->proto = p->proto;
	key->role = role;
	key->port = port;
}

static __always_inline struct flow_packets *packets_as(struct flow_packet_key *key, u8 role,
						       u16 port)
{
	key->role = (key->role & FLOW_PACKET_V6) | role;
	key->port = port;
	return bpf_map_lookup_elem(&packets, key);
}

/* The known edge of a packet. The lower port is more likely the server's. */
static __always_inline struct flow_packets *packets_of(const struct packet *p, u64 netns,
						       enum direction direction)
{
	bool out = direction == OUTGOING;
	u32 source = p->v6 ? fold(p->source6) : p->source;
	u32 destination = p->v6 ? fold(p->destination6) : p->destination;
	u16 local = out ? p->sport : p->dport;
	u16 remote = out ? p->dport : p->sport;
	struct flow_packet_key key = {
		.netns = netns,
		.local = out ? source : destination,
		.remote = out ? destination : source,
		.proto = p->proto,
		.role = p->v6 ? FLOW_PACKET_V6 : 0,
	};
	struct flow_packets *counts;

	if (local < remote) {
		counts = packets_as(&key, FLOW_SERVER, local);
		return counts ?: packets_as(&key, FLOW_CLIENT, remote);
	}
	counts = packets_as(&key, FLOW_CLIENT, remote);
	return counts ?: packets_as(&key, FLOW_SERVER, local);
}

static __always_inline bool is_bridge_port(struct net_device *dev)
{
	return BPF_CORE_READ_BITFIELD(dev, priv_flags) & IFF_BRIDGE_PORT;
}

static __always_inline bool is_first_syn(const struct packet *p)
{
	u8 flags = 0;

	bpf_probe_read_kernel(&flags, 1, p->l4 + TCP_FLAGS_AT);
	return (flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* A first packet that reaches a listening port makes the edge it belongs to. */
static __always_inline struct flow_packets *packets_of_new_peer(const struct packet *p,
								struct net *net)
{
	struct flow_listener *listener = listener_of(net->net_cookie, p->dport, p->proto);
	struct flow_edge *edge;
	struct flow_key key;

	if (!listener || !in_scope(net->ns.inum) ||
	    (p->proto == IPPROTO_TCP && !is_first_syn(p)))
		return NULL;
	if (syn_only >= syn_only_limit) {
		lost(FLOW_LOSS_SYN_ONLY);
		return NULL;
	}
	key_of_packet(&key, p, net->net_cookie, INCOMING, FLOW_SERVER, p->dport);
	edge = edge_get(&key);
	if (!edge)
		return NULL;
	if (!edge->netns_inum) {
		edge_own(edge, &key, listener->owner, net->ns.inum);
		edge->syn_only = 1;
		__sync_fetch_and_add(&syn_only, 1);
	}
	return bpf_map_lookup_elem(&packets, &edge->packets);
}

/*
 * A packet of a local UDP socket whose edge is not known or is another cgroup's.
 * A socket bound to a port and connected to nobody is a server.
 */
static __always_inline void count_new_udp(const struct packet *p, const struct sock *sk, u64 netns)
{
	bool bound = BPF_CORE_READ_BITFIELD(sk, sk_userlocks) & SOCK_BINDPORT_LOCK;
	bool server = bound && !sk->__sk_common.skc_dport;
	u32 inum = sock_netns_inum(sk);
	struct flow_packets *counts;
	struct flow_edge *edge;
	struct flow_key key;

	if (!in_scope(inum))
		return;
	key_of_packet(&key, p, netns, OUTGOING, server ? FLOW_SERVER : FLOW_CLIENT,
		      server ? p->sport : p->dport);
	edge = edge_claim(&key, sock_cgroup(sk), inum);
	if (!edge)
		return;
	counts = key.cgroup ? NULL : bpf_map_lookup_elem(&packets, &edge->packets);
	add(counts ? &counts->tx_packets : &edge->tx_packets, 1);
	add(counts ? &counts->tx_bytes : &edge->tx_bytes, udp_payload(p));
}

static __always_inline struct flow_edge *edge_as(struct flow_key *key, u8 role, u16 port)
{
	key->role = role;
	key->port = port;
	return bpf_map_lookup_elem(&edges, key);
}

/* The known edge of a packet that was received: its IP header may lie before skb->data. */
static __always_inline struct flow_edge *edge_of_received(struct sk_buff *skb)
{
	struct net_device *dev = skb->dev;
	struct flow_edge *edge;
	struct flow_key key;
	struct packet p;

	if (!dev || !parse(&p, skb->head + skb->network_header, skb->protocol))
		return NULL;
	key_of_packet(&key, &p, dev->nd_net.net->net_cookie, INCOMING, FLOW_SERVER, p.dport);
	edge = bpf_map_lookup_elem(&edges, &key);
	return edge ?: edge_as(&key, FLOW_CLIENT, p.sport);
}

#endif
