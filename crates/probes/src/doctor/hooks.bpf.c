// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* One tiny program per hook kind: what loads and attaches here works here. */
#include "taproot.h"

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} probe_ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u64);
} probe_sk SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u64);
} probe_task SEC(".maps");

SEC("tp_btf/sched_process_exit")
int BPF_PROG(hook_tp_btf)
{
	return 0;
}

SEC("raw_tp/sched_process_exit")
int hook_raw_tp(void *ctx)
{
	return 0;
}

SEC("tp/sched/sched_process_exit")
int hook_tracepoint(void *ctx)
{
	return 0;
}

SEC("fentry/tcp_sendmsg")
int BPF_PROG(hook_fentry)
{
	return 0;
}

SEC("fexit/tcp_sendmsg")
int BPF_PROG(hook_fexit)
{
	return 0;
}

SEC("kprobe/tcp_sendmsg")
int hook_kprobe(void *ctx)
{
	return 0;
}

SEC("kprobe.multi/tcp_sendms*")
int hook_kprobe_multi(void *ctx)
{
	return 0;
}

SEC("uprobe")
int hook_uprobe(void *ctx)
{
	return 0;
}

SEC("iter/tcp")
int hook_iter_tcp(void *ctx)
{
	return 0;
}

SEC("cgroup_skb/egress")
int hook_cgroup_skb(struct __sk_buff *skb)
{
	return 1;
}

SEC("sockops")
int hook_sock_ops(struct bpf_sock_ops *ctx)
{
	return 1;
}

SEC("tc")
int hook_tc(struct __sk_buff *skb)
{
	return -1;
}

SEC("xdp")
int hook_xdp(struct xdp_md *ctx)
{
	return 2;
}

SEC("netfilter")
int hook_netfilter(void *ctx)
{
	return 1;
}

SEC("lsm/file_open")
int BPF_PROG(hook_lsm)
{
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(hook_sk_storage, struct sock *sk)
{
	bpf_sk_storage_get(&probe_sk, sk, 0, 0);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(hook_task_storage, struct task_struct *task)
{
	bpf_task_storage_get(&probe_task, bpf_get_current_task_btf(), 0, 0);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(hook_ring_buffer)
{
	bpf_ringbuf_query(&probe_ring, BPF_RB_AVAIL_DATA);
	return 0;
}
