/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Records into the ring. User space is woken once in a while, not for each of them. */
#ifndef TAPROOT_PAYLOAD_TELL
#define TAPROOT_PAYLOAD_TELL

#include "state.bpf.h"
#include "ring.bpf.h"

static __always_inline bool tell_open(struct connection *c, struct bpf_sock *sk, struct tcp_sock *tcp)
{
	struct payload_open *out = bpf_ringbuf_reserve(&records, sizeof(*out), 0);
	u32 port;

	if (!out)
		return false;
	out->kind = PAYLOAD_OPEN;
	out->role = c->role;
	out->pristine = c->pristine;
	out->pad = 0;
	out->id = c->id;
	out->time = bpf_ktime_get_ns();
	__builtin_memset(&out->ends, 0, sizeof(out->ends));
	out->ends.netns = tcp->inet_conn.icsk_inet.sk.__sk_common.skc_net.net->net_cookie;
	out->ends.cgroup = bpf_sk_cgroup_id(sk);
	out->ends.family = sk->family;
	READ(port, sk->src_port);
	out->ends.local_port = port;
	READ(port, sk->dst_port);
	out->ends.remote_port = bpf_ntohs(port);
	read_addresses(sk, out->ends.local, out->ends.remote);
	bpf_ringbuf_submit(out, bell(sizeof(*out)));
	return true;
}

/*
 * Copies `count` (1 to `most`) bytes of a packet. The verifier wants the bounds on
 * the very register that is used, and that of 6.1 learns nothing from "not zero":
 * one is taken off, and added again.
 */
static __always_inline bool copy(struct __sk_buff *skb, u32 offset, void *to, u32 count, u32 most)
{
	u64 length = count;

	length--;
	barrier_var(length);
	if (length >= most)
		return false;
	length++;
	return !bpf_skb_load_bytes(skb, offset, to, length);
}

static __always_inline void describe(struct payload_piece *out, struct payload_piece *from)
{
	out->kind = PAYLOAD_PIECE;
	out->offset = from->offset;
	out->id = from->id;
	out->time = from->time;
	out->length = from->length;
	out->copied = from->copied;
	out->outbound = from->outbound;
	out->fin = from->fin;
	__builtin_memset(out->pad, 0, sizeof(out->pad));
	out->lost = from->lost;
}

#define TELL_SIZED(size)                                                                    \
	if (piece->copied <= (size)) {                                                      \
		out = bpf_ringbuf_reserve(&records, sizeof(*out) + (size), 0);               \
		if (!out)                                                                   \
			return false;                                                       \
		describe(out, piece);                                                       \
		if (piece->copied && !copy(skb, offset, out + 1, piece->copied, size)) {     \
			lose(PAYLOAD_LOST_COPY, piece->copied);                             \
			out->copied = 0;                                                    \
		}                                                                           \
		bpf_ringbuf_submit(out, bell(sizeof(*out) + (size)));                        \
		return true;                                                                \
	}

static __noinline bool tell_piece(struct __sk_buff *skb, struct payload_piece *piece, u32 offset)
{
	struct payload_piece *out;

	PAYLOAD_SIZES(TELL_SIZED)
	return false;
}

/* Tells how much has passed, as far as that is possible. */
static __always_inline void tell_passed(struct connection *c, u64 now)
{
	struct payload_passed *out = bpf_ringbuf_reserve(&records, sizeof(*out), 0);

	if (!out)
		return; /* next time */
	out->kind = PAYLOAD_PASSED;
	out->pad = 0;
	out->id = c->id;
	out->time = now;
	out->bytes = __sync_lock_test_and_set(&c->passed, 0);
	bpf_ringbuf_submit(out, bell(sizeof(*out)));
}

static __always_inline void tell_close(u64 id)
{
	struct payload_close *out = bpf_ringbuf_reserve(&records, sizeof(*out), 0);

	if (!out) {
		lose(PAYLOAD_LOST_CLOSE, 1);
		return;
	}
	out->kind = PAYLOAD_CLOSE;
	out->pad = 0;
	out->id = id;
	out->time = bpf_ktime_get_ns();
	bpf_ringbuf_submit(out, bell(sizeof(*out)));
}

#endif
