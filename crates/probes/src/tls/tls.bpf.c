// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * What connections say inside of TLS, for the parsers in user space.
 *
 * Programs sit on the functions of TLS libraries that take and give plaintext, in the
 * processes of the chosen control groups. A call that has passed plaintext becomes a
 * record in the ring of the payload collector, under the cookie of the connection that
 * carries it: the parsers read it in place of what is encrypted.
 */
#include "taproot.h"

/* Registers of x86-64 at a probe, as arch/x86/include/asm/ptrace.h has them. */
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8;
	unsigned long ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};

#include "join.bpf.h"
#include "tell.bpf.h"
#include "go.bpf.h"
#include "rustls.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* A call within a call lies at most so deep in the stack, and is over soon. */
#define NESTED_BYTES 65536
#define NESTED_NS 1000000000

/* Whether a call is made on the way of another one: of TLS inside of TLS the inner
 * one is told. A call that never returned must not be taken for such a one for long. */
static __always_inline bool is_nested(struct call *outer, struct call *inner)
{
	return outer->stack > inner->stack && outer->stack - inner->stack < NESTED_BYTES &&
	       outer->session != inner->session && inner->began - outer->began < NESTED_NS;
}

static __always_inline int enter(struct pt_regs *ctx)
{
	u64 thread = bpf_get_current_pid_tgid(), cookie = bpf_get_attach_cookie(ctx);
	u64 first = ctx->di, second = ctx->si;
	struct call *call = bpf_map_lookup_elem(&calls, &thread);
	struct call fresh = {};

	fresh.stack = ctx->sp;
	barrier_var(first); /* a choice between values, not between places of them */
	barrier_var(second);
	fresh.buffer = second;
	fresh.asked = ctx->dx;
	fresh.count_at = ctx->cx;
	fresh.began = bpf_ktime_get_ns();
	fresh.fd = -1;
	fresh.operation = cookie & ((1 << TLS_OPERATION_BITS) - 1);
	fresh.session = fresh.operation == TLS_RUST_IO ? second : first;
	fresh.watched = cookie >> TLS_OPERATION_BITS;
	if (call && is_nested(call, &fresh))
		return 0;
	if (call)
		*call = fresh;
	else if (bpf_map_update_elem(&calls, &thread, &fresh, BPF_ANY))
		lose(TLS_LOST_CALLS, 1);
	return 0;
}

/* Bytes that a call has passed. */
static __always_inline s64 passed(struct pt_regs *ctx, struct call *call)
{
	s32 result = ctx->ax;
	u64 count = 0;

	if (call->operation != TLS_READ_EX && call->operation != TLS_WRITE_EX)
		return result;
	if (result != 1 || bpf_probe_read_user(&count, sizeof(count), (void *)call->count_at))
		return 0;
	return count;
}

/* The call in progress is over. */
static __always_inline int finish(struct pt_regs *ctx, struct call *call)
{
	u64 socket, time = bpf_ktime_get_ns();
	struct session *s;
	bool sent;
	s64 count;

	call->stack = 0;
	if (call->operation == TLS_RUST_IO) {
		rust_returns(call);
		return 0;
	}
	if (call->operation == TLS_RUST_WRITE || call->operation == TLS_RUST_WRITE_MANY) {
		rust_takes_to_send(ctx, call);
		return 0;
	}
	socket = call->socket;
	if (!socket && call->fd >= 0)
		socket = cookie_of(call->fd);
	s = session_on(call->session, socket, call->began, call->watched);
	if (s)
		s->settled = 1; /* a thread reads and writes by turns */
	if (call->operation == TLS_OTHER)
		return 0;
	count = passed(ctx, call);
	if (count <= 0)
		return 0;
	if (!s) {
		lose(TLS_LOST_UNJOINED, count);
		return 0;
	}
	sent = call->operation == TLS_WRITE || call->operation == TLS_WRITE_EX;
	/* Before a write has returned its answer may have come. */
	tell(s, call->buffer, count, sent, sent ? call->began : time);
	return 0;
}

static __always_inline int leave(struct pt_regs *ctx)
{
	struct call *call = call_in_progress();

	/* The return address is taken off by now. */
	if (!call || ctx->sp != call->stack + sizeof(u64))
		return 0;
	return finish(ctx, call);
}

/* On the way out of a function: the stack is what it was at its call. */
static __always_inline int done(struct pt_regs *ctx)
{
	struct call *call = call_in_progress();

	if (!call || ctx->sp != call->stack)
		return 0;
	return finish(ctx, call);
}

/* Each is loaded twice: for many places at once, which not every kernel has, and for
 * one. A probe at the end of a function that is no return probe, as those of Go, is
 * one at an instruction. */
#define PROGRAM(name, kind, body)        \
	SEC(kind ".multi")               \
	int name##_many(struct pt_regs *ctx) \
	{                                \
		return body(ctx);        \
	}                                \
	SEC(kind)                        \
	int name(struct pt_regs *ctx)    \
	{                                \
		return body(ctx);        \
	}

PROGRAM(tls_enter, "uprobe", enter)
PROGRAM(tls_leave, "uretprobe", leave)
PROGRAM(tls_done, "uprobe", done)
PROGRAM(tls_rust_decrypted, "uprobe", rust_decrypted)
PROGRAM(tls_go_write, "uprobe", go_writes)
PROGRAM(tls_go_read, "uprobe", go_reads_begin)
PROGRAM(tls_go_return, "uprobe", go_reads_end)
