/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Whose socket sends. A packet carries no process: where its socket hands it out, the
 * socket's control group tells, or the process whose system call it is. From there on
 * the conversation is followed by its addresses.
 */
#ifndef TAPROOT_TRACE_OWNER_H
#define TAPROOT_TRACE_OWNER_H

/* Set before loading: the filter asks for an owner. */
const volatile bool asks_owner = false;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct trace_owner);
	__type(value, u8);
} owners SEC(".maps");

/* Whether a CPU is busy with what came in, whoever it interrupted. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} serving SEC(".maps");

static __always_inline int serves(u32 yes)
{
	u32 zero = 0, *flag = bpf_map_lookup_elem(&serving, &zero);

	if (flag)
		*flag = yes;
	return 0;
}

/*
 * The preemption counter would tell without these two, but a kernel without the names of
 * its data (KALLSYMS_ALL) does not say where it is. They run only for an owner's sake.
 */
SEC("tp_btf/softirq_entry")
int BPF_PROG(on_softirq)
{
	return serves(1);
}

SEC("tp_btf/softirq_exit")
int BPF_PROG(on_softirq_end)
{
	return serves(0);
}

/* Whether the running process does this, not an interrupt that came upon it. */
static __always_inline bool is_in_process(void)
{
	u32 zero = 0, *flag = bpf_map_lookup_elem(&serving, &zero);

	return flag && !*flag;
}

static __always_inline bool is_owner(u32 kind, u64 id)
{
	struct trace_owner owner = { .id = id, .kind = kind };

	return bpf_map_lookup_elem(&owners, &owner);
}

/* Whether a process that is asked for does this. */
static __always_inline bool is_owned_task(void)
{
	return is_in_process() &&
	       (is_owner(TRACE_OWNER_PROCESS, bpf_get_current_pid_tgid() >> 32) ||
		is_owner(TRACE_OWNER_CGROUP, bpf_get_current_cgroup_id()));
}

/* Whether the socket, or what uses it now, is asked for. Not of a socket in the making. */
__noinline int is_owned(u64 cgroup)
{
	return is_owner(TRACE_OWNER_CGROUP, cgroup) || is_owned_task();
}

static __always_inline bool is_full(const struct sock_common *sk)
{
	return sk->skc_state != TCP_NEW_SYN_RECV && sk->skc_state != TCP_TIME_WAIT;
}

/* The control group that a socket was made in; 0 where that is not known. */
static __always_inline u64 cgroup_of(const struct sock *sk)
{
	return BPF_CORE_READ(sk, sk_cgrp_data.cgroup, kn, id);
}

/* Whether an owner that is asked for sends it; a SYN-ACK is sent by its listener. */
static __always_inline u32 sender_is_owned(struct sock *sk)
{
	const struct sock_common *common;

	if (!sk)
		return 0;
	common = &plain(sk, sock)->__sk_common;
	if (common->skc_state == TCP_NEW_SYN_RECV)
		sk = BPF_CORE_READ((struct sock_common___listener *)sk, skc_listener);
	else if (!is_full(common))
		return 0;
	return is_owned(cgroup_of(sk));
}

#endif
