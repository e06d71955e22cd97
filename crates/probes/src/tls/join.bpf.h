/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Which connection a session is of.
 *
 * A library reads from and writes to its connection within the calls that are made of
 * it, whatever its version and however the socket was handed over: the socket that a
 * thread uses within such a call is the one. Sockets tell by tracepoints from Linux
 * 6.3 on; before, the number of the file that a system call names is looked up.
 */
#ifndef TAPROOT_TLS_JOIN
#define TAPROOT_TLS_JOIN

#include "state.bpf.h"

#define S_IFMT 0170000
#define S_IFSOCK 0140000

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
typedef struct {
	s64 counter;
} atomic64_t;

struct inode {
	u16 i_mode;
};

struct file___tls {
	struct inode *f_inode;
	void *private_data;
};

struct fdtable {
	unsigned int max_fds;
	struct file___tls **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct task_struct___tls {
	struct files_struct *files;
};

struct sock_common___tls {
	atomic64_t skc_cookie;
};

struct sock___tls {
	struct sock_common___tls __sk_common;
	u16 sk_protocol;
};

struct socket___tls {
	struct sock___tls *sk;
};
#pragma clang attribute pop

/* The call that this thread is in. */
static __always_inline struct call *call_in_progress(void)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct call *call = bpf_map_lookup_elem(&calls, &thread);

	return call && call->stack ? call : NULL;
}

/* Cookie of the TCP connection that a file of this process is; 0: it is none, or
 * has none yet. */
static __always_inline u64 cookie_of(u32 fd)
{
	struct task_struct___tls *task = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file___tls **files, *file = NULL;
	struct socket___tls *socket;
	struct sock___tls *sk;

	if (fd >= BPF_CORE_READ(table, max_fds))
		return 0;
	files = BPF_CORE_READ(table, fd);
	if (bpf_probe_read_kernel(&file, sizeof(file), files + fd) || !file ||
	    (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	return BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
}

/* The session, begun anew where it has come to another connection. */
static __always_inline struct session *session_on(u64 object, u64 socket, u64 since, u64 watched)
{
	struct session_key key = { object, bpf_get_current_pid_tgid() >> 32 };
	struct session *s = bpf_map_lookup_elem(&sessions, &key);
	struct session fresh = {};

	if (s && (!socket || s->socket == socket))
		return s;
	if (!socket)
		return NULL;
	fresh.socket = socket;
	fresh.since = since;
	fresh.watched = watched;
	if (bpf_map_update_elem(&sessions, &key, &fresh, BPF_ANY)) {
		lose(TLS_LOST_SESSIONS, 1);
		return NULL;
	}
	return bpf_map_lookup_elem(&sessions, &key);
}

/* A socket is used. */
static __always_inline int used(struct sock *sk)
{
	struct call *call = call_in_progress();

	if (call && !call->socket && sk->sk_protocol == IPPROTO_TCP)
		call->socket = bpf_get_socket_cookie(sk);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(tls_sent, struct sock *sk)
{
	return used(sk);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(tls_received, struct sock *sk)
{
	return used(sk);
}

/* x86-64: read, write, readv, writev, sendto, recvfrom, sendmsg, recvmsg. */
static __always_inline bool uses_file(long number)
{
	return number <= 1 || number == 19 || number == 20 || (number >= 44 && number <= 47);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(tls_syscall, struct pt_regs *regs, long number)
{
	struct call *call = uses_file(number) ? call_in_progress() : NULL;

	if (call && call->fd < 0)
		call->fd = regs->di;
	return 0;
}

#endif
