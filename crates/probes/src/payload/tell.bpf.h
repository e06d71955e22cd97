/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Records into the ring. User space is woken once in a while, not for each of them. */
#ifndef TAPROOT_PAYLOAD_TELL
#define TAPROOT_PAYLOAD_TELL

#include "state.bpf.h"

/* Bytes of records for which user space is woken once. A power of two. */
#define WAKE_EVERY (256 << 10)
#define RECORD_HEADER 8 /* of the ring's own */

/* How a record of that size is handed over: whoever goes over the line rings. */
static __always_inline u64 bell(u64 size)
{
	u64 written = bpf_ringbuf_query(&records, BPF_RB_PROD_POS);

	return (written & (WAKE_EVERY - 1)) < size + RECORD_HEADER ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

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
}

/* A record with room for `size` bytes: a reservation's size must be a constant. */
#define TELL_SIZED(size)                                                                    \
	do {                                                                                \
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
	} while (0)

/* Steps of a half and a third, so that little of the ring is air. */
static __noinline bool tell_piece(struct __sk_buff *skb, struct payload_piece *piece, u32 offset)
{
	struct payload_piece *out;

	if (piece->copied <= 64)
		TELL_SIZED(64);
	if (piece->copied <= 96)
		TELL_SIZED(96);
	if (piece->copied <= 128)
		TELL_SIZED(128);
	if (piece->copied <= 192)
		TELL_SIZED(192);
	if (piece->copied <= 256)
		TELL_SIZED(256);
	if (piece->copied <= 384)
		TELL_SIZED(384);
	if (piece->copied <= 512)
		TELL_SIZED(512);
	if (piece->copied <= 768)
		TELL_SIZED(768);
	if (piece->copied <= 1024)
		TELL_SIZED(1024);
	if (piece->copied <= 1536)
		TELL_SIZED(1536);
	if (piece->copied <= 2048)
		TELL_SIZED(2048);
	if (piece->copied <= 3072)
		TELL_SIZED(3072);
	if (piece->copied <= 4096)
		TELL_SIZED(4096);
	if (piece->copied <= 6144)
		TELL_SIZED(6144);
	if (piece->copied <= 8192)
		TELL_SIZED(8192);
	if (piece->copied <= 12288)
		TELL_SIZED(12288);
	if (piece->copied <= 16384)
		TELL_SIZED(16384);
	if (piece->copied <= 24576)
		TELL_SIZED(24576);
	if (piece->copied <= 32768)
		TELL_SIZED(32768);
	if (piece->copied <= 49152)
		TELL_SIZED(49152);
	if (piece->copied <= 65536)
		TELL_SIZED(65536);
	if (piece->copied <= 98304)
		TELL_SIZED(98304);
	if (piece->copied <= 131072)
		TELL_SIZED(131072);
	if (piece->copied <= 196608)
		TELL_SIZED(196608);
	TELL_SIZED(PAYLOAD_MOST);
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
