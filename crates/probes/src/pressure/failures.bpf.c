// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * System calls that fail for want of something: counted by cgroup, call and error.
 *
 * Every system call of the node passes here, so the common case must end within a
 * few instructions: a call that did not fail, or failed with an error nobody asked
 * about. Which error counts for which sort of call is a table that user space
 * writes (failures.rs): EAGAIN of a read is daily bread, EAGAIN of a fork is not.
 */
#include "taproot.h"
#include "failures.h"

#define TS_COMPAT 2

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct pt_regs {
	unsigned long orig_ax;
};

struct thread_info {
	u32 status;
};

struct task_struct___compat {
	struct thread_info thread_info;
};
#pragma clang attribute pop

/* For each error the sorts of calls (CALL_) for which it counts; 0: never. */
const volatile u8 wanted[256] = {};
/* The sort of each call. */
const volatile u8 sort_of[SYSCALLS] = {};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct failure_key);
	__type(value, struct failure);
} failures SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FAILURE_LOST_REASONS);
	__type(key, u32);
	__type(value, u64);
} failures_lost SEC(".maps");

/* Whether the call came in by the 32-bit table, whose numbers mean other calls. */
static __always_inline bool is_compat(void)
{
	struct task_struct___compat *task = (void *)bpf_get_current_task_btf();

	return task->thread_info.status & TS_COMPAT;
}

static __noinline void count(u64 call, u32 error)
{
	struct failure_key key = { .call = call, .error = error };
	u64 now = bpf_ktime_get_ns();
	struct failure *found;

	key.cgroup = bpf_get_current_cgroup_id();
	found = bpf_map_lookup_elem(&failures, &key);
	if (!found) {
		struct failure fresh = { .first = now };

		bpf_map_update_elem(&failures, &key, &fresh, BPF_NOEXIST);
		found = bpf_map_lookup_elem(&failures, &key);
		if (!found) {
			u32 reason = FAILURE_LOST_FULL;
			u64 *lost = bpf_map_lookup_elem(&failures_lost, &reason);

			if (lost)
				(*lost)++;
			return;
		}
	}
	__sync_fetch_and_add(&found->count, 1);
	found->last = now;
	found->pid = bpf_get_current_pid_tgid() >> 32;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_sys_exit, struct pt_regs *regs, long result)
{
	u64 error = -result, call;
	u8 sorts;

	if (result >= 0 || error >= ERRNOS)
		return 0;
	sorts = wanted[error & 255];
	if (!sorts)
		return 0;
	call = regs->orig_ax;
	if (call >= SYSCALLS || is_compat())
		call = FAILURE_OTHER;
	if (!(sorts & (call < SYSCALLS ? sort_of[call & (SYSCALLS - 1)] : CALL_PLAIN)))
		return 0;
	count(call, error);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
