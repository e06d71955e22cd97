/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* A packet at cgroup_skb: its headers, and the addresses of its socket. */
#ifndef TAPROOT_SEGMENT_H
#define TAPROOT_SEGMENT_H

#include "taproot.h"

#define FIN 1

struct packet {
	u32 seq;
	u32 length;  /* of the payload */
	u32 offset;  /* of the payload in the packet */
	u8 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	u8 flags;    /* of TCP */
};

/* What the first 14 bytes of a TCP header, or those of UDP, say. */
static __always_inline bool read_transport(struct packet *p, u8 *header, u8 protocol, u32 transport, u32 total)
{
	p->protocol = protocol;
	if (protocol == IPPROTO_TCP) {
		p->seq = (u32)header[4] << 24 | (u32)header[5] << 16 | (u32)header[6] << 8 | header[7];
		p->offset = transport + (header[12] >> 4) * 4;
		p->flags = header[13];
	} else if (protocol == IPPROTO_UDP) {
		p->seq = p->flags = 0;
		p->offset = transport + 8;
	} else {
		return false;
	}
	if (p->offset > total)
		return false;
	p->length = total - p->offset;
	return true;
}

/* As `dissect`, of headers that do not lie in one piece or have options. */
static __noinline bool dissect_slowly(struct __sk_buff *skb, struct packet *p)
{
	u8 ip[40] = {}, header[20] = {};
	u32 transport;
	u8 protocol;

	if (bpf_skb_load_bytes(skb, 0, ip, 20))
		return false;
	if (ip[0] >> 4 == 4) {
		protocol = ip[9];
		transport = (ip[0] & 15) * 4;
	} else {
		if (bpf_skb_load_bytes(skb, 0, ip, sizeof(ip)))
			return false;
		protocol = ip[6];
		transport = 40;
	}
	if (protocol == IPPROTO_UDP) {
		if (bpf_skb_load_bytes(skb, transport, header, 8))
			return false;
	} else if (bpf_skb_load_bytes(skb, transport, header, sizeof(header))) {
		return false;
	}
	return read_transport(p, header, protocol, transport, skb->len);
}

/* Reads the headers of a TCP segment or UDP datagram; false for anything else. */
static __always_inline bool dissect(struct __sk_buff *skb, struct packet *p)
{
	u8 *ip = (u8 *)(long)skb->data, *end = (u8 *)(long)skb->data_end;

	if (ip + 40 > end)
		return dissect_slowly(skb, p);
	if (ip[0] == 0x45)
		return read_transport(p, ip + 20, ip[9], 20, skb->len);
	if (ip + 60 > end || ip[0] >> 4 != 6)
		return dissect_slowly(skb, p);
	return read_transport(p, ip + 40, ip[6], 40, skb->len);
}

/* Socket fields may only be read at constant offsets; the barrier keeps clang
 * from turning four reads into one read through a computed pointer. */
#define READ(to, from)           \
	do {                     \
		u32 v_ = (from); \
		barrier_var(v_); \
		(to) = v_;       \
	} while (0)

/* IPv4 addresses take the first four bytes. */
static __always_inline void read_addresses(struct bpf_sock *sk, u8 *near, u8 *far)
{
	u32 *local = (u32 *)near, *remote = (u32 *)far;

	if (sk->family == AF_INET) {
		READ(local[0], sk->src_ip4);
		READ(remote[0], sk->dst_ip4);
		return;
	}
	READ(local[0], sk->src_ip6[0]);
	READ(local[1], sk->src_ip6[1]);
	READ(local[2], sk->src_ip6[2]);
	READ(local[3], sk->src_ip6[3]);
	READ(remote[0], sk->dst_ip6[0]);
	READ(remote[1], sk->dst_ip6[1]);
	READ(remote[2], sk->dst_ip6[2]);
	READ(remote[3], sk->dst_ip6[3]);
}

#endif
