/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Kernel types that only the tracer reads. */
#ifndef TAPROOT_TRACE_KERNEL_H
#define TAPROOT_TRACE_KERNEL_H

#include "wire.bpf.h"

#define ETH_HLEN 14
#define ETH_P_ARP 0x0806
#define ETH_P_RARP 0x8035
#define IP_MF 0x2000
#define IPPROTO_ICMP 1
#define IPPROTO_IPIP 4
#define IPPROTO_IPV6 41
#define IPPROTO_ICMPV6 58
#define IPPROTO_SCTP 132
#define IPS_NAT_MASK 0x30 /* IPS_SRC_NAT | IPS_DST_NAT */
#define NFCT_PTRMASK (~7ul)
#define IP_CT_IS_REPLY 3 /* in the low bits of _nfct: this and above go back */
#define LOOPBACK_IFINDEX 1
#define IFF_LOOPBACK (1 << 3)
#define NO_HEADER 0xffff

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* Its number differs from kernel to kernel, and older ones do not have it. */
enum skb_drop_reason___trace { SKB_DROP_REASON_QUEUE_PURGE___trace };

struct sk_buff___trace {
	int skb_iif;
	__u32 mark;
	__u16 inner_network_header;
	unsigned int tail; /* from `head` on */
	char cb[48];
};

/* Until 6.1 a bit says whether there is a tag, from 6.2 on the tag's protocol does. */
struct sk_buff___tag {
	__u8 vlan_present : 1;
	__u16 vlan_proto;
	__u16 vlan_tci;
};

struct sock_common___trace {
	struct {
		s64 counter;
	} skc_cookie;
};

struct sock_common___listener {
	struct sock *skc_listener;
};

struct timespec64 {
	s64 tv_sec;
	long tv_nsec;
};

struct itimerspec64 {
	struct timespec64 it_interval, it_value;
};

struct sk_buff___ct {
	unsigned long _nfct;
};

union nf_inet_addr {
	__u32 all[4];
};

struct nf_conntrack_man {
	union nf_inet_addr u3;
	union {
		__u16 all;
	} u;
	u16 l3num;
};

struct nf_conntrack_tuple {
	struct nf_conntrack_man src;
	struct {
		union nf_inet_addr u3;
		union {
			__u16 all;
		} u;
		u8 protonum;
	} dst;
};

struct nf_conntrack_tuple_hash {
	struct nf_conntrack_tuple tuple;
};

struct nf_conn {
	struct nf_conntrack_tuple_hash tuplehash[2];
	unsigned long status;
};

struct flowi_common {
	int flowic_oif;
	int flowic_iif;
	__u8 flowic_proto;
};

struct flowi4 {
	struct flowi_common __fl_common;
	__be32 saddr;
	__be32 daddr;
	union {
		struct {
			__be16 dport;
			__be16 sport;
		} ports;
	} uli;
};

struct flowi6 {
	struct flowi_common __fl_common;
	struct in6_addr daddr;
	struct in6_addr saddr;
	union {
		struct {
			__be16 dport;
			__be16 sport;
		} ports;
	} uli;
};

struct fib6_table {
	u32 tb6_id;
};

struct fib_nh_common {
	struct net_device *nhc_dev;
	u8 nhc_gw_family;
	union {
		__be32 ipv4;
		struct in6_addr ipv6;
	} nhc_gw;
};

struct neigh_table {
	int family;
};

struct neighbour {
	struct neigh_table *tbl;
	u8 nud_state;
	struct net_device *dev;
	u8 primary_key[16];
};

struct inet_request_sock {
	struct request_sock req;
};

#pragma clang attribute pop

/* The highest bit is set in every address of the kernel, of four levels or five. */
static __always_inline bool is_of_kernel(u64 address)
{
	return (s64)address < 0;
}

/*
 * The same pointer, of which the verifier thinks less: for each pointer read through one
 * that it trusts, it searches all of the kernel's types by name.
 */
#define plain(pointer, type)                                                               \
	((struct type *)(bpf_ksym_exists(bpf_rdonly_cast) ?                                \
				 bpf_rdonly_cast(pointer, bpf_core_type_id_kernel(struct type)) : \
				 (pointer)))

#endif
