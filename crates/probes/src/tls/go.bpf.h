/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Go's crypto/tls.
 *
 * Arguments and results are in registers since Go 1.17: ax, bx, cx, di, ...; the
 * goroutine is in r14. A goroutine may go on in another thread, and its stack may
 * move, so a read in progress is kept by goroutine, and its end is a probe at each
 * return instruction: a return probe would change the stack.
 */
#ifndef TAPROOT_TLS_GO
#define TAPROOT_TLS_GO

#include "join.bpf.h"
#include "tell.bpf.h"

struct go_key {
	u64 goroutine;
	u64 process;
};

struct go_read {
	u64 connection;
	u64 buffer;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct go_key);
	__type(value, struct go_read);
} go_reads SEC(".maps");

/* An interface value: its type with its methods, and what it holds. */
struct go_interface {
	u64 type;
	u64 data;
};

/* Wrappers that embed a net.Conn as their first field, looked through. */
#define WRAPPERS 3
/* net.netFD begins with poll.FD, which begins with a lock of 16 bytes. */
#define GO_FILE_AT 16

/*
 * The socket under a crypto/tls.Conn: its first field is a net.Conn, mostly a
 * *net.TCPConn, whose only field is a *netFD. What is found has to be the number of a
 * TCP socket of this very process.
 */
static __always_inline u64 go_socket(u64 connection)
{
	struct go_interface inner;
	u64 at = connection, socket, fd;
	u32 file;

	for (int i = 0; i < WRAPPERS; i++) {
		if (bpf_probe_read_user(&inner, sizeof(inner), (void *)at) || !inner.data)
			return 0;
		if (!bpf_probe_read_user(&fd, sizeof(fd), (void *)inner.data) && fd &&
		    !bpf_probe_read_user(&file, sizeof(file), (void *)(fd + GO_FILE_AT))) {
			socket = cookie_of(file);
			if (socket)
				return socket;
		}
		at = inner.data;
	}
	return 0;
}

/* The session of a connection. An object that was freed may come again as another
 * connection: it is looked up at every call. One that was known and has no socket any
 * more is closed, and what is written to it goes nowhere. */
static __always_inline struct session *go_session(struct pt_regs *ctx, u64 connection, u64 length)
{
	u64 watched = bpf_get_attach_cookie(ctx) >> TLS_OPERATION_BITS;
	u64 socket = go_socket(connection);

	if (socket)
		return session_on(connection, socket, bpf_ktime_get_ns(), watched);
	if (!session_on(connection, 0, 0, 0))
		lose(TLS_LOST_UNJOINED, length);
	return NULL;
}

static __always_inline void go_tell(struct pt_regs *ctx, u64 connection, u64 buffer, u64 length, bool sent)
{
	struct session *s;

	if (length > 1 << 30)
		return; /* no such call */
	s = go_session(ctx, connection, length);
	if (s)
		tell(s, buffer, length, sent, bpf_ktime_get_ns());
}

/* Told before it is written: another goroutine may read the answer before this one
 * comes back. */
static __always_inline int go_writes(struct pt_regs *ctx)
{
	if (ctx->cx)
		go_tell(ctx, ctx->ax, ctx->bx, ctx->cx, true);
	return 0;
}

static __always_inline int go_reads_begin(struct pt_regs *ctx)
{
	struct go_key key = { ctx->r14, bpf_get_current_pid_tgid() >> 32 };
	struct go_read read = { ctx->ax, ctx->bx };
	struct session *s = go_session(ctx, ctx->ax, 0);

	/* Another goroutine may have been reading since before this was observed. */
	if (s)
		s->settled = 1;
	if (bpf_map_update_elem(&go_reads, &key, &read, BPF_ANY))
		lose(TLS_LOST_CALLS, 1);
	return 0;
}

static __always_inline int go_reads_end(struct pt_regs *ctx)
{
	struct go_key key = { ctx->r14, bpf_get_current_pid_tgid() >> 32 };
	struct go_read *found = bpf_map_lookup_elem(&go_reads, &key);
	struct go_read read;

	if (!found)
		return 0;
	read = *found;
	bpf_map_delete_elem(&go_reads, &key);
	if ((s64)ctx->ax > 0)
		go_tell(ctx, read.connection, read.buffer, ctx->ax, false);
	return 0;
}

#endif
