// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Processes that begin, end and are killed, and the cgroups they live in: a few
 * events a second, each sent to user space as it happens, so that a pod which
 * lives for one second still has a name and a cause of death.
 */
#include "taproot.h"
#include "lifecycle.h"

#define SIGNAL_GROUP_EXIT 4
#define SIGNALS 64
/* Signals whose default is to end the process (signal(7)), without real-time ones. */
#define FATAL (1ULL << 1 | 1ULL << 2 | 1ULL << 3 | 1ULL << 4 | 1ULL << 5 | 1ULL << 6 | \
	       1ULL << 7 | 1ULL << 8 | 1ULL << 9 | 1ULL << 10 | 1ULL << 11 | 1ULL << 12 | \
	       1ULL << 13 | 1ULL << 14 | 1ULL << 15 | 1ULL << 16 | 1ULL << 24 | 1ULL << 25 | \
	       1ULL << 26 | 1ULL << 27 | 1ULL << 29 | 1ULL << 30 | 1ULL << 31)
#define SIGKILL 9
/* Values of a siginfo pointer that are no pointers (include/linux/sched/signal.h). */
#define SEND_SIG_NOINFO 0
#define SEND_SIG_PRIV 1
#define SI_KERNEL 0x80
/* trace_signal_generate: result of a signal that was really queued. */
#define TRACE_SIGNAL_DELIVERED 0

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct linux_binprm {
	const char *filename;
};

struct kernel_siginfo {
	int si_signo;
	int si_code;
};

struct sigaction {
	void *sa_handler;
};

struct k_sigaction {
	struct sigaction sa;
};

struct sighand_struct {
	struct k_sigaction action[SIGNALS];
};

struct signal_struct___ends {
	unsigned int flags;
};

struct css_set___ends {
	int nr_tasks;
};

struct task_struct___ends {
	struct sighand_struct *sighand;
	struct css_set___ends *cgroups;
};

struct cgroup_root {
	int hierarchy_id;
};

struct cgroup___root {
	struct cgroup_root *root;
};

/* The shape of mark_victim whose first argument is the task; older ones pass its pid. */
struct trace_event_raw_mark_victim {
	u32 uid;
};
#pragma clang attribute pop

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

struct record {
	struct event event;
	char text[EVENT_TEXT];
};

/* A place to build a record in; programs with a text have one slot each. */
enum scratch { SCRATCH_EXEC, SCRATCH_MADE, SCRATCH_REMOVED, SCRATCH_JOINED, SCRATCHES };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCHES);
	__type(key, u32);
	__type(value, struct record);
} scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVENT_LOST_REASONS);
	__type(key, u32);
	__type(value, u64);
} events_lost SEC(".maps");

static __always_inline void count_lost(void)
{
	u32 reason = EVENT_LOST_RING;
	u64 *counter = bpf_map_lookup_elem(&events_lost, &reason);

	if (counter)
		(*counter)++;
}

static __always_inline void send(void *record, u64 size)
{
	if (bpf_ringbuf_output(&events, record, size, 0))
		count_lost();
}

/* The number a process has in its own pid namespace, and how deep that lies. */
static __always_inline void own_pid(struct task_struct *task, struct event *event)
{
	struct pid *pid = BPF_CORE_READ(task, group_leader, thread_pid);
	u32 level = BPF_CORE_READ(pid, level);
	u64 numbers = (u64)pid + bpf_core_field_offset(struct pid, numbers);

	event->level = level;
	bpf_probe_read_kernel(&event->ns_pid, sizeof(event->ns_pid),
			      (void *)(numbers + level * bpf_core_type_size(struct upid) +
				       bpf_core_field_offset(struct upid, nr)));
}

static __always_inline void describe(struct event *event, u32 kind, struct task_struct *task)
{
	event->at = bpf_ktime_get_ns();
	event->kind = kind;
	event->cgroup = taproot_task_cgroup(task);
	event->pid = BPF_CORE_READ(task, tgid);
	event->started = BPF_CORE_READ(task, group_leader, start_time);
	BPF_CORE_READ_STR_INTO(&event->comm, task, group_leader, comm);
	own_pid(task, event);
}

static __always_inline struct record *blank(u32 slot)
{
	struct record *record = bpf_map_lookup_elem(&scratch, &slot);

	if (record)
		__builtin_memset(&record->event, 0, sizeof(record->event));
	return record;
}

/* Appends a kernel string and sends the record, as long as it became. */
static __always_inline void send_with_text(struct record *record, const char *text)
{
	long length = bpf_probe_read_kernel_str(record->text, EVENT_TEXT, text);
	u64 size;

	/* The terminating zero is not sent. */
	record->event.text_length = length > 0 ? length - 1 : 0;
	size = sizeof(struct event) + (record->event.text_length & (EVENT_TEXT - 1));
	send(record, size);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *binprm)
{
	struct record *record = blank(SCRATCH_EXEC);

	if (!record)
		return 0;
	describe(&record->event, EVENT_EXEC, task);
	record->event.parent = BPF_CORE_READ(task, real_parent, tgid);
	send_with_text(record, BPF_CORE_READ(binprm, filename));
	return 0;
}

/* What wait(2) will say of the whole process: see wait_task_zombie(). */
static __always_inline u32 exit_status(struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct signal_struct___ends *ends = (void *)signal;

	if (BPF_CORE_READ(ends, flags) & SIGNAL_GROUP_EXIT)
		return BPF_CORE_READ(signal, group_exit_code);
	return BPF_CORE_READ(task, group_leader, exit_code);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	struct event event = {};

	/* Threads end without a word; the last one speaks for the process. Two that end
	 * at once may both see zero: user space drops the second. */
	if (BPF_CORE_READ(task, signal, live.counter) != 0)
		return 0;
	describe(&event, EVENT_EXIT, task);
	event.status = exit_status(task);
	event.others = BPF_CORE_READ((struct task_struct___ends *)task, cgroups, nr_tasks) > 1;
	send(&event, sizeof(event));
	return 0;
}

SEC("raw_tp/mark_victim")
int on_victim(struct bpf_raw_tracepoint_args *ctx)
{
	struct event event = {};

	if (bpf_core_field_exists(struct trace_event_raw_mark_victim, uid)) {
		describe(&event, EVENT_OOM_KILL, (struct task_struct *)ctx->args[0]);
	} else {
		/* Only a pid is given; user space knows it from the signal just before. */
		event.at = bpf_ktime_get_ns();
		event.kind = EVENT_OOM_KILL;
		event.pid = ctx->args[0];
	}
	event.status = SIGKILL;
	send(&event, sizeof(event));
	return 0;
}

/* Whether a signal will end its receiver: it has no handler and does not ignore it. */
static __always_inline bool is_fatal(struct task_struct *task, int number)
{
	struct task_struct___ends *ends = (void *)task;
	struct sighand_struct *handlers;
	void *handler = NULL;
	u64 action;

	if (number <= 0 || number > 31 || !(FATAL >> number & 1))
		return false;
	if (number == SIGKILL)
		return true;
	handlers = BPF_CORE_READ(ends, sighand);
	action = (u64)handlers + bpf_core_field_offset(struct sighand_struct, action) +
		 (number - 1) * bpf_core_type_size(struct k_sigaction) +
		 bpf_core_field_offset(struct sigaction, sa_handler);
	bpf_probe_read_kernel(&handler, sizeof(handler), (void *)action);
	return handler == NULL;
}

SEC("tp_btf/signal_generate")
int BPF_PROG(on_signal, int number, struct kernel_siginfo *info, struct task_struct *task,
	     int group, int result)
{
	struct event event = {};
	u64 by = (u64)info;

	if (result != TRACE_SIGNAL_DELIVERED || !is_fatal(task, number))
		return 0;
	describe(&event, EVENT_SIGNAL, task);
	event.status = number;
	event.code = by == SEND_SIG_PRIV ? SI_KERNEL : by == SEND_SIG_NOINFO ? 0 :
		     BPF_CORE_READ(info, si_code);
	/* Positive codes come from the kernel itself (siginfo_t): a fault, the OOM killer. */
	if (event.code <= 0) {
		event.parent = bpf_get_current_pid_tgid() >> 32;
		event.sender_cgroup = bpf_get_current_cgroup_id();
		bpf_get_current_comm(event.sender_comm, sizeof(event.sender_comm));
	}
	send(&event, sizeof(event));
	return 0;
}

/* Ids of a v1 hierarchy mean other cgroups; only the unified one has number 0. */
static __always_inline bool is_unified(struct cgroup *cgroup)
{
	struct cgroup___root *rooted = (void *)cgroup;

	return BPF_CORE_READ(rooted, root, hierarchy_id) == 0;
}

static __always_inline void cgroup_event(u32 kind, u32 slot, struct cgroup *cgroup,
					 const char *path)
{
	struct record *record;

	if (!is_unified(cgroup))
		return;
	record = blank(slot);
	if (!record)
		return;
	record->event.at = bpf_ktime_get_ns();
	record->event.kind = kind;
	record->event.cgroup = BPF_CORE_READ(cgroup, kn, id);
	send_with_text(record, path);
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(on_cgroup_made, struct cgroup *cgroup, const char *path)
{
	cgroup_event(EVENT_CGROUP_MADE, SCRATCH_MADE, cgroup, path);
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(on_cgroup_removed, struct cgroup *cgroup, const char *path)
{
	cgroup_event(EVENT_CGROUP_REMOVED, SCRATCH_REMOVED, cgroup, path);
	return 0;
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(on_cgroup_joined, struct cgroup *cgroup, const char *path, struct task_struct *task,
	     bool threadgroup)
{
	struct record *record;

	if (!is_unified(cgroup))
		return 0;
	record = blank(SCRATCH_JOINED);
	if (!record)
		return 0;
	describe(&record->event, EVENT_CGROUP_JOINED, task);
	record->event.cgroup = BPF_CORE_READ(cgroup, kn, id);
	send_with_text(record, path);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
