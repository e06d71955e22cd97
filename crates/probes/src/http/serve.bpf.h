/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Which request a thread serves.
 *
 * A thread that waits for its client in read() serves one request from there to the end
 * of the answer, and what it asks of others meanwhile is for that request. One that has
 * many connections at hand at once never waits in read(): theirs do not block, or are in
 * an epoll set, or a ring reads them. What such a thread sends has no known cause.
 */
#ifndef TAPROOT_HTTP_SERVE
#define TAPROOT_HTTP_SERVE

#include "state.bpf.h"

#define O_NONBLOCK 04000

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct file___serve {
	unsigned int f_flags;
	struct hlist_head *f_ep; /* the epoll sets it is in */
};

struct socket___serve {
	struct file___serve *file;
};

typedef struct {
	int owned;
} socket_lock___serve;

struct sock___serve {
	struct socket___serve *sk_socket;
	socket_lock___serve sk_lock;
};

struct task_struct___serve {
	struct io_uring_task *io_uring;
};
#pragma clang attribute pop

/* Whether the current thread has to wait for this socket, and can do nothing else meanwhile. */
static __always_inline bool waited_for(struct sock *sk, struct task_struct *task)
{
	struct socket___serve *socket = ((struct sock___serve *)sk)->sk_socket;
	struct file___serve *file;

	if (!socket || ((struct task_struct___serve *)task)->io_uring)
		return false;
	file = socket->file;
	return file && !(file->f_flags & O_NONBLOCK) && !file->f_ep;
}

/*
 * What tells a request, at its client as at its server: the client's address and port,
 * and the sequence number of its first byte. (Of the server there may be two addresses.)
 */
static __always_inline u64 request_id(struct connection *c, u32 seq)
{
	bool client = c->key.role == HTTP_ROLE_CLIENT;
	u64 low, high, h = 0xcbf29ce484222325ULL;

	low = client ? *(u64 *)&c->key.local[0] : *(u64 *)&c->key.remote[0];
	high = client ? *(u64 *)&c->key.local[8] : *(u64 *)&c->key.remote[8];
	if (!low && (u32)high == 0xffff0000) {
		/* The client has an IPv4 socket, its server one of IPv6. */
		low = high >> 32;
		high = 0;
	}
	h = (h ^ low) * 0x9e3779b97f4a7c15ULL;
	h = (h ^ h >> 32 ^ high) * 0x9e3779b97f4a7c15ULL;
	h = (h ^ h >> 32 ^ ((u64)c->peer_port << 32 | seq)) * 0x9e3779b97f4a7c15ULL;
	h ^= h >> 32;
	return h ? h : 1;
}

/* The current thread, whose id is `pid`, has read a request. True: it serves it from now on. */
__noinline int start_serving(struct connection *c, struct pending *p, u32 pid, u32 alone)
{
	struct serving *s = bpf_map_lookup_elem(&serving, &pid);

	if (!c || !p)
		return 0;
	if (!alone) {
		if (s)
			s->mixed = 1;
		return 0;
	}
	if (!s) {
		struct serving fresh = { .request = request_id(c, p->seq), .open = 1 };

		return !bpf_map_update_elem(&serving, &pid, &fresh, BPF_NOEXIST);
	}
	/* Two at once: neither is proved to be the cause of anything, until both are over. */
	s->request = __sync_fetch_and_add(&s->open, 1) ? 0 : request_id(c, p->seq);
	return 1;
}

/* The request that was being answered is over. */
__noinline int stop_serving(struct connection *c)
{
	struct serving *s;
	u32 reader;

	if (!c)
		return 0;
	c->current.served = 0;
	reader = c->current.reader;
	s = bpf_map_lookup_elem(&serving, &reader);
	if (!s)
		return 0;
	if (c->writer && c->writer != reader)
		s->mixed = 1; /* it hands requests on to others */
	__sync_fetch_and_add(&s->open, -1);
	return 0;
}

/*
 * The thread that sends this segment; 0 where that is not known: one that waited in its
 * queue leaves in whatever thread an acknowledgement interrupts. Only while a thread owns
 * the socket's lock does it send by itself.
 */
static __always_inline u32 sender(struct tcp_sock *tcp)
{
	if (!tcp || !((struct sock___serve *)tcp)->sk_lock.owned)
		return 0;
	return bpf_get_current_task_btf()->pid;
}

/* Who sends this segment of requests (of answers)? And for what? */
static __always_inline void note_sender(struct connection *c, u32 which, u32 pid)
{
	struct serving *s;

	if (which) {
		c->writer = pid;
		return;
	}
	s = pid ? bpf_map_lookup_elem(&serving, &pid) : NULL;
	c->serving = s && s->open == 1 && !s->mixed ? s->request : 0;
}

#endif
