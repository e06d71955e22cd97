/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Calls in progress, sessions, what is shared with the payload collector, and losses. */
#ifndef TAPROOT_TLS_STATE
#define TAPROOT_TLS_STATE

#include "taproot.h"
#include "../payload/payload.h"
#include "tls.h"

#define GLANCE_BYTES 256
#define GLANCE_EVERY 100000000 /* ns */

/* A call of a library in C that has not returned. */
struct call {
	u64 stack;   /* pointer at its beginning; 0: there is no call */
	u64 session; /* the library's object */
	u64 buffer;
	u64 asked;   /* its third argument */
	u64 count_at; /* where the bytes are counted, by the calls that do not return them */
	u64 began;   /* ns */
	u64 socket;  /* cookie of the connection that was used in it */
	u64 watched; /* ns */
	s32 fd;	     /* that was used in it, where sockets do not tell; or -1 */
	u32 operation;
};

struct session_key {
	u64 session;
	u64 process;
};

/* One TLS session of one process. */
struct session {
	u64 socket; /* cookie of its connection */
	u64 since;  /* when the call began that first used it, ns */
	u64 watched; /* from when on its process is certainly observed, ns */
	u64 glanced;
	u32 position[2]; /* bytes so far; 0: received, 1: sent */
	u32 lost[2];	 /* bytes since the last record that the ring had no room for */
	u32 settled;	 /* no read of it can have begun unseen */
	u32 pad;
};

/* By thread. The least recent go: a thread may end within a call. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, u64);
	__type(value, struct call);
} calls SEC(".maps");

/* The least recent go: nobody tells when the object is freed. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct session_key);
	__type(value, struct session);
} sessions SEC(".maps");

/* What is wanted of the plaintext of a connection, by its cookie, where it is less
 * than all: enum payload_verdict. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, u64);
	__type(value, u32);
} plain_verdicts SEC(".maps");

/* The payload collector's own ring: plaintext keeps its order with all else. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TLS_LOSSES);
	__type(key, u32);
	__type(value, u64);
} tls_losses SEC(".maps");

static __always_inline void lose(u32 reason, u64 amount)
{
	u64 *n = bpf_map_lookup_elem(&tls_losses, &reason);

	/* A program on a function of a process may be preempted by another. */
	if (n)
		__sync_fetch_and_add(n, amount);
}

#endif
