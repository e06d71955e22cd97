/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * rustls, where its functions have symbols.
 *
 * It takes plaintext and gives it without any socket. A socket is lent to it by
 * `complete_io`: what it decrypts within such a call came through the socket that was
 * used in that very call. What it is given to send waits for the next such call of the
 * same thread on the same object, and is told then; a copy is kept, as the bytes may be
 * gone by that time. No object is remembered for longer: in Rust they move, and another
 * connection may come to lie where one was.
 */
#ifndef TAPROOT_TLS_RUSTLS
#define TAPROOT_TLS_RUSTLS

#include "join.bpf.h"
#include "tell.bpf.h"

/* Bytes that are kept of what waits to be sent. */
#define RUST_BYTES 4096
/* A connection with all its state is smaller. */
#define RUST_OBJECT 8192
/* A record of TLS holds so much at most (RFC 8446, 5.1). */
#define RUST_RECORD 16384
/* Where a borrowed slice has the mark that it is no vector. */
#define RUST_BORROWED (1ull << 63)
/* Sessions are known by their sockets, whose numbers could be those of objects. */
#define RUST_SESSION (1ull << 63)

/* `Payload`: a vector, or a slice that is borrowed. */
struct rust_payload {
	u64 capacity;
	u64 bytes;
	u64 length;
};

struct rust_slice {
	u64 bytes;
	u64 length;
};

/* What waits to be sent: a record for the ring. */
struct rust_waiting {
	u64 object; /* 0: nothing waits */
	struct payload_plain head;
	u8 bytes[RUST_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct rust_waiting);
} rust_writes SEC(".maps");

/* A connection has taken bytes to send. */
static __always_inline void rust_takes_to_send(struct pt_regs *ctx, struct call *call)
{
	struct rust_slice slice = { call->buffer, call->asked };
	struct rust_waiting *w;
	u64 count = ctx->dx;
	u32 copied;

	if (ctx->ax || !count)
		return; /* an error, or there was no room */
	if (call->operation == TLS_RUST_WRITE_MANY &&
	    bpf_probe_read_user(&slice, sizeof(slice), (void *)call->buffer))
		return;
	w = bpf_task_storage_get(&rust_writes, bpf_get_current_task_btf(), 0,
				 BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!w) {
		lose(TLS_LOST_CALLS, 1);
		return;
	}
	if (w->object == call->session) {
		w->head.length += count; /* after the first: a hole */
		return;
	}
	if (w->object)
		lose(TLS_LOST_UNJOINED, w->head.length);
	copied = count < slice.length ? count : slice.length;
	if (copied > RUST_BYTES)
		copied = RUST_BYTES;
	if (!copy(w->bytes, slice.bytes, copied, RUST_BYTES)) {
		lose(TLS_LOST_COPY, copied);
		copied = 0;
	}
	w->head.copied = copied;
	w->head.length = count;
	w->head.time = call->began;
	w->object = call->session;
}

/* The session of a connection that a socket was lent to, if it was used. */
static __always_inline struct session *rust_session(struct call *call)
{
	u64 socket = call->socket;
	struct session *s;

	if (!socket && call->fd >= 0)
		socket = cookie_of(call->fd);
	if (!socket)
		return NULL;
	s = session_on(socket | RUST_SESSION, socket, call->began, call->watched);
	if (s)
		s->settled = 1; /* it is told when it is decrypted, and nobody reads it before */
	return s;
}

/* Tells what has waited to be sent on the connection. */
static __always_inline void rust_sends(struct call *call, struct session *s)
{
	struct rust_waiting *w = bpf_task_storage_get(&rust_writes, bpf_get_current_task_btf(), 0, 0);
	u64 size, length;
	s32 copied;

	if (!w || !call->session || w->object != call->session)
		return;
	w->object = 0;
	length = w->head.length;
	copied = wanted(s, length, w->head.time);
	w->head.offset = s->position[1];
	s->position[1] += length;
	if (copied < 0)
		return;
	if (w->head.copied > copied)
		w->head.copied = copied;
	if (copied > w->head.copied)
		lose(TLS_LOST_LONG, copied - w->head.copied);
	w->head.kind = PAYLOAD_PLAIN;
	w->head.id = s->socket;
	w->head.since = s->since;
	w->head.watched = s->watched;
	w->head.settled = s->settled;
	w->head.outbound = 1;
	w->head.lost = s->lost[1];
	size = w->head.copied;
	barrier_var(size);
	if (size > RUST_BYTES)
		return;
	size += sizeof(w->head);
	if (bpf_ringbuf_output(&records, &w->head, size, bell(size))) {
		s->lost[1] += length;
		lose(TLS_LOST_RING, length);
	} else {
		s->lost[1] = 0;
	}
}

/* The loan of a socket is over. */
static __always_inline void rust_returns(struct call *call)
{
	struct session *s = rust_session(call);

	if (s)
		rust_sends(call, s);
}

/* Plaintext of a record goes to where it is read from: CommonState::take_received_plaintext(
 * state, payload), and the state is a part of the connection. */
static __always_inline int rust_decrypted(struct pt_regs *ctx)
{
	struct call *call = call_in_progress();
	struct session *s = NULL;
	struct rust_payload got;

	if (bpf_probe_read_user(&got, sizeof(got), (void *)ctx->si) || got.length > RUST_RECORD ||
	    (got.capacity != RUST_BORROWED && got.capacity < got.length)) {
		lose(TLS_LOST_COPY, 1); /* or more: it is not what it was taken for */
		return 0;
	}
	if (!got.length)
		return 0;
	if (call && call->operation == TLS_RUST_IO && ctx->di - call->session < RUST_OBJECT)
		s = rust_session(call);
	if (!s) {
		lose(TLS_LOST_UNJOINED, got.length);
		return 0;
	}
	rust_sends(call, s);
	tell(s, got.bytes, got.length, false, bpf_ktime_get_ns());
	return 0;
}

#endif
