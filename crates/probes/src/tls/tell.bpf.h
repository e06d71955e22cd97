/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Plaintext into the ring. */
#ifndef TAPROOT_TLS_TELL
#define TAPROOT_TLS_TELL

#include "state.bpf.h"
#include "../payload/ring.bpf.h"

/* How much of `length` bytes is copied; less than nothing: they are not even told. */
static __always_inline s32 wanted(struct session *s, u32 length, u64 now)
{
	u64 socket = s->socket; /* on the stack: 6.1 takes no map key from elsewhere */
	u32 *verdict = bpf_map_lookup_elem(&plain_verdicts, &socket);

	if (!verdict || *verdict == PAYLOAD_ALL) {
		if (length <= PAYLOAD_MOST)
			return length;
		lose(TLS_LOST_LONG, length - PAYLOAD_MOST);
		return PAYLOAD_MOST;
	}
	if (*verdict != PAYLOAD_GLANCE || now - s->glanced < GLANCE_EVERY)
		return -1;
	s->glanced = now;
	return length < GLANCE_BYTES ? length : GLANCE_BYTES;
}

/*
 * Copies `count` bytes of the process. The verifier wants the bounds on the very
 * register that is used, and that of 6.1 learns nothing from "not zero": one is
 * taken off, and added again.
 */
static __always_inline bool copy(void *to, u64 from, u32 count, u32 most)
{
	u64 length = count;

	length--;
	barrier_var(length);
	if (length >= most)
		return false;
	length++;
	return !bpf_probe_read_user(to, length, (void *)from);
}

#define TELL_SIZED(size)                                                      \
	if (head->copied <= (size)) {                                         \
		out = bpf_ringbuf_reserve(&records, sizeof(*out) + (size), 0); \
		if (!out)                                                     \
			return false;                                         \
		*out = *head;                                                 \
		if (head->copied && !copy(out + 1, from, head->copied, size)) { \
			lose(TLS_LOST_COPY, head->copied);                    \
			out->copied = 0;                                      \
		}                                                             \
		bpf_ringbuf_submit(out, bell(sizeof(*out) + (size)));         \
		return true;                                                  \
	}

static __noinline bool tell_plain(struct payload_plain *head, u64 from)
{
	struct payload_plain *out;

	if (!head)
		return false;
	PAYLOAD_SIZES(TELL_SIZED)
	return false;
}

/* Tells `length` bytes at `from` that passed a session. */
static __always_inline void tell(struct session *s, u64 from, u32 length, bool sent, u64 time)
{
	struct payload_plain head = {};
	s32 copied = wanted(s, length, time);

	head.offset = s->position[sent];
	s->position[sent] += length;
	if (copied < 0)
		return;
	head.kind = PAYLOAD_PLAIN;
	head.id = s->socket;
	head.time = time;
	head.since = s->since;
	head.watched = s->watched;
	head.settled = s->settled;
	head.length = length;
	head.copied = copied;
	head.outbound = sent;
	head.lost = s->lost[sent];
	if (tell_plain(&head, from)) {
		s->lost[sent] = 0;
	} else {
		s->lost[sent] += length;
		lose(TLS_LOST_RING, length);
	}
}

#endif
