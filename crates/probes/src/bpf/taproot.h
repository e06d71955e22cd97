/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Kernel types as far as Taproot reads them, and small helpers that every BPF
 * program shares.
 *
 * Only the fields that are read stand here: preserve_access_index makes clang
 * record each access, and libbpf moves it to where the running kernel keeps the
 * field. A `___suffix` names another shape of the same kernel type.
 */
#ifndef TAPROOT_H
#define TAPROOT_H

/* bpf_tracing.h asks for either vmlinux.h or the kernel's own headers. */
#define __VMLINUX_H__
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>
#include <stdbool.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd

/* include/net/tcp_states.h */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_CLOSING,
	TCP_NEW_SYN_RECV,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
	struct list_head *next, *prev;
};

struct hlist_node {
	struct hlist_node *next, **pprev;
};

typedef struct {
	int counter;
} atomic_t;

struct ns_common {
	unsigned int inum;
};

struct net {
	u64 net_cookie;
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	int ifindex;
	char name[16];
	possible_net_t nd_net;
	unsigned short type;
	u64 priv_flags;
};

struct in6_addr {
	union {
		u8 u6_addr8[16];
		__be32 u6_addr32[4];
	} in6_u;
};

struct kernfs_node {
	u64 id;
	struct kernfs_node *parent;
	const char *name;
};

struct cgroup {
	struct kernfs_node *kn;
	int level;
};

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

struct sock_common {
	union {
		struct {
			__be32 skc_daddr;
			__be32 skc_rcv_saddr;
		};
	};
	union {
		struct {
			__be16 skc_dport;
			u16 skc_num;
		};
	};
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	unsigned long skc_flags;
};

struct request_sock {
	struct sock_common __req_common;
};

struct sock {
	struct sock_common __sk_common;
	u16 sk_protocol;
	u16 sk_type;
	int sk_err;
	u32 sk_ack_backlog;
	u32 sk_max_ack_backlog;
	atomic_t sk_drops;
	u8 sk_userlocks;
	struct sock_cgroup_data sk_cgrp_data;
};

struct inet_sock {
	struct sock sk;
	__be32 inet_saddr;
	__be16 inet_sport;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	u8 icsk_retransmits;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	u64 bytes_received;
	u64 bytes_acked;
	u64 bytes_sent;
	u64 bytes_retrans;
	u32 segs_in;
	u32 segs_out;
	u32 data_segs_in;
	u32 data_segs_out;
	u32 srtt_us;
	u32 snd_nxt;
	u32 snd_una;
	u32 rcv_nxt;
	u32 copied_seq;
	u32 write_seq;
	u32 total_retrans;
};

struct sk_buff {
	struct sock *sk;
	struct net_device *dev;
	unsigned int len, data_len;
	u16 protocol;
	u16 transport_header;
	u16 network_header;
	u16 mac_header;
	unsigned char *head, *data;
	u8 encapsulation : 1;
};

struct file {
	void *private_data;
};

struct socket {
	struct sock *sk;
};

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	u32 fd;
	struct file *file;
};

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	void *value;
};

struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	struct sock *sk;
	void *value;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct pid_namespace {
	unsigned int level;
	struct ns_common ns;
};

struct nsproxy {
	struct net *net_ns;
	struct pid_namespace *pid_ns_for_children;
};

struct upid {
	int nr;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct signal_struct {
	atomic_t live;
	int group_exit_code;
};

struct task_struct {
	int pid;
	int tgid;
	char comm[16];
	int exit_code;
	unsigned int flags;
	int prio;
	int on_rq;
	u64 start_time;
	struct task_struct *group_leader;
	struct task_struct *real_parent;
	struct css_set *cgroups;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	struct pid *thread_pid;
};

#pragma clang attribute pop

/*
 * Bucket of a latency histogram in OTLP's exponential scale 3: eight times the
 * octave plus the eighth within it. The table is that of the model crate.
 */
static __always_inline u32 taproot_bucket(u64 value)
{
	u32 octave = 0, fraction, eighth = 0;
	u64 v = value = value ? value : 1;

	if (v >> 32) { octave += 32; v >>= 32; }
	if (v >> 16) { octave += 16; v >>= 16; }
	if (v >> 8) { octave += 8; v >>= 8; }
	if (v >> 4) { octave += 4; v >>= 4; }
	if (v >> 2) { octave += 2; v >>= 2; }
	if (v >> 1) octave += 1;

	fraction = octave >= 32 ? (u32)(value >> (octave - 32)) : (u32)(value << (32 - octave));
	if (fraction >= 1779033704) {
		eighth = 4;
		if (fraction >= 2928277910)
			eighth = fraction >= 3582037456 ? 7 : 6;
		else if (fraction >= 2328777763)
			eighth = 5;
	} else if (fraction >= 812638371) {
		eighth = fraction >= 1274916179 ? 3 : 2;
	} else if (fraction >= 388727752) {
		eighth = 1;
	}
	return octave * 8 + eighth;
}

/* Control group (v2 hierarchy) that owns a task. */
static __always_inline u64 taproot_task_cgroup(struct task_struct *task)
{
	return BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
}

#endif
