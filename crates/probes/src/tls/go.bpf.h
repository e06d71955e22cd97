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

/* An object that was freed may come again as another connection: it is looked up at
 * every call. */
static __always_inline void go_tell(u64 connection, u64 buffer, u64 length, bool sent)
{
	u64 time = bpf_ktime_get_ns();
	struct session *s = session_on(connection, go_socket(connection), time);

	if (length > 1 << 30)
		return; /* no such call */
	if (s)
		tell(s, buffer, length, sent, time);
	else
		lose(TLS_LOST_UNJOINED, length);
}

/* Told before it is written: another goroutine may read the answer before this one
 * comes back. */
static __always_inline int go_writes(struct pt_regs *ctx)
{
	if (ctx->cx)
		go_tell(ctx->ax, ctx->bx, ctx->cx, true);
	return 0;
}

static __always_inline int go_reads_begin(struct pt_regs *ctx)
{
	struct go_key key = { ctx->r14, bpf_get_current_pid_tgid() >> 32 };
	struct go_read read = { ctx->ax, ctx->bx };

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
		go_tell(read.connection, read.buffer, ctx->ax, false);
	return 0;
}

#endif
