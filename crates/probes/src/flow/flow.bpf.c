// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * TCP and UDP edges, counted in the kernel.
 *
 * What belongs to a connection (bytes, RTT, connects) comes from its socket; what
 * belongs to a packet is counted where packets pass: transmit in dev_queue_xmit
 * (net_dev_queue), receive in netif_receive_skb, each once, at the device that
 * the socket's own network namespace sees first or last.
 */
#include "taproot.h"
#include "flow.h"
#include "edges.bpf.h"
#include "packets.bpf.h"
#include "sockets.bpf.h"
#include "drops.bpf.h"
#include "report.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* A packet leaves: the one that its socket's namespace hands to its first device. */
static __always_inline bool passed_before(struct conn *conn, struct sk_buff *skb, u32 ifindex)
{
	/* Stacked devices (VLAN over a card) see the same packet again. */
	if (conn->last_skb == (u64)skb && conn->last_ifindex != ifindex)
		return true;
	conn->last_skb = (u64)skb;
	conn->last_ifindex = ifindex;
	return false;
}

/* A UDP packet, or a TCP packet without a full socket (SYN-ACK, end of TIME_WAIT). */
static __always_inline void count_by_headers(struct sk_buff *skb, struct sock *sk, u64 netns)
{
	struct flow_packets *counts;
	struct packet p;
	u8 state;

	if (!parse(&p, skb->head + skb->network_header, skb->protocol))
		return;
	counts = packets_of(&p, netns, OUTGOING);
	if (p.proto == IPPROTO_TCP) {
		if (counts)
			add(&counts->tx_packets, 1);
		return;
	}
	if (!sk)
		return;
	state = sk->__sk_common.skc_state;
	/* A request or TIME_WAIT socket ends before sk_protocol; it is never UDP's. */
	if (state == TCP_NEW_SYN_RECV || state == TCP_TIME_WAIT || sk->sk_protocol != IPPROTO_UDP)
		return;
	if (!counts || counts->owner != sock_cgroup(sk)) {
		count_new_udp(&p, sk, netns);
		return;
	}
	add(&counts->tx_packets, 1);
	add(&counts->tx_bytes, udp_payload(&p));
}

SEC("tp_btf/net_dev_queue")
int BPF_PROG(on_queue, struct sk_buff *skb)
{
	struct sock *sk = skb->sk;
	struct net_device *dev = skb->dev;
	struct conn *conn;
	struct net *net;

	/*
	 * Without a socket it is a forwarded packet, and so it is in another namespace
	 * than its socket's. But IPv6 answers for TIME_WAIT without one.
	 */
	if (!dev || (!sk && skb->protocol != bpf_htons(ETH_P_IPV6)))
		return 0;
	net = dev->nd_net.net;
	if (sk && sk->__sk_common.skc_net.net != net)
		return 0;
	if (is_bridge_port(dev) || BPF_CORE_READ_BITFIELD(skb, encapsulation))
		return 0;
	conn = sk ? bpf_sk_storage_get(&conns, sk, 0, 0) : NULL;
	if (!conn || conn->listener)
		count_by_headers(skb, sk, net->net_cookie);
	else if (!passed_before(conn, skb, dev->ifindex))
		add(&conn->tx_packets, 1);
	return 0;
}

SEC("tp_btf/netif_receive_skb")
int BPF_PROG(on_receive, struct sk_buff *skb)
{
	struct net_device *dev = skb->dev;
	struct flow_packets *counts;
	struct packet p;
	struct net *net;

	/* What a bridge takes for this machine it receives again on its own device. */
	if (!dev || is_bridge_port(dev))
		return 0;
	if (!parse(&p, skb->data, skb->protocol))
		return 0;
	net = dev->nd_net.net;
	counts = packets_of(&p, net->net_cookie, INCOMING) ?: packets_of_new_peer(&p, net);
	if (!counts)
		return 0;
	add(&counts->rx_packets, 1);
	if (counts->shared)
		lost(FLOW_LOSS_SHARED);
	if (p.proto == IPPROTO_UDP)
		add(&counts->rx_bytes, udp_payload(&p));
	return 0;
}
