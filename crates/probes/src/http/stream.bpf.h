/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Messages out of segments: a byte stream with positions. */
#ifndef TAPROOT_HTTP_STREAM
#define TAPROOT_HTTP_STREAM

#include "line.bpf.h"
#include "device.bpf.h"
#include "stages.bpf.h"

/* Moves `next` over a body, a gigabyte at a time: sequence numbers wrap. */
static __always_inline void leap(struct direction *d)
{
	u64 part = d->length < (1 << 30) ? d->length : (1 << 30);

	d->next += part;
	d->length -= part;
}

static __always_inline void next_message(struct direction *d)
{
	d->phase = PHASE_FIRST;
	d->chunked = d->has_length = 0;
	d->length = 0;
	d->message = d->next;
}

static __always_inline void response_done(struct connection *c, u64 now)
{
	struct direction *d = &c->dir[1];

	if (c->current_valid)
		finish(c, d->status, d->next - d->message, now);
	c->current_valid = 0;
	c->ended = 1;
}

/* The blank line of a request: what follows, a body or the next request? */
static __always_inline void request_head_done(struct connection *c)
{
	struct direction *d = &c->dir[0];
	u32 bytes = d->next - d->message;
	u32 last = (c->head - 1) & (PENDING - 1);

	if (!d->chunked)
		bytes += d->length;
	if (c->head != c->tail)
		c->pending[last].request_bytes = bytes;
	if (d->chunked) {
		d->phase = PHASE_CHUNK;
	} else if (d->length) {
		d->phase = PHASE_BODY;
		leap(d);
	} else {
		next_message(d);
	}
}

static __always_inline void response_head_done(struct connection *c, u64 now)
{
	struct direction *d = &c->dir[1];
	u32 status = d->status;
	bool tunnel;

	if (status >= 100 && status < 200 && status != 101) {
		next_message(d); /* "continue" and "early hints" are not the answer */
		return;
	}
	c->current_valid = pop(c);
	c->first_byte = d->message_start;
	if (!c->current_valid)
		lose(HTTP_LOST_ORPHAN);
	else
		answer_begins(c);
	tunnel = status == 101 || (c->current_valid && c->current.method == HTTP_CONNECT && status / 100 == 2);
	if (tunnel) {
		response_done(c, now);
		c->dir[0].phase = d->phase = PHASE_DONE;
	} else if ((c->current_valid && c->current.method == HTTP_HEAD) || status == 204 || status == 304) {
		response_done(c, now);
		next_message(d);
	} else if (d->chunked) {
		d->phase = PHASE_CHUNK;
	} else if (d->has_length && d->length) {
		d->phase = PHASE_BODY;
		leap(d);
	} else if (d->has_length) {
		response_done(c, now);
		next_message(d);
	} else {
		d->phase = PHASE_CLOSE;
	}
}

/* A message has all its bytes. */
static __always_inline void message_done(struct connection *c, u32 which, u64 now)
{
	if (which)
		response_done(c, now);
	next_message(&c->dir[which]);
}

/* ---- a segment -------------------------------------------------------- */

struct segment {
	struct __sk_buff *skb;
	struct scratch *s;
	struct connection *c;
	u64 now;
	u32 which;    /* direction */
	u32 seq, end; /* sequence numbers of its payload */
	u32 offset;   /* of the payload in the packet */
	u32 base;     /* sequence number of buffer[0] */
	u32 filled;   /* valid bytes in the buffer */
	u32 line, at; /* in the buffer: start of the line, and how far it was searched */
};

/*
 * One whole line [start, end), packed into `span`; d->next already stands behind
 * it. 0: this is not HTTP. `how`: bit 0 the direction, bit 1 the line is cut.
 */
__noinline int line(struct scratch *s, struct connection *c, u64 span, u64 now, u32 how)
{
	u32 which = how & 1, start = span >> 32, end = (u32)span;
	struct direction *d;
	u64 size;

	if (!s || !c)
		return 0;
	d = &c->dir[which];
	if (end > start && byte(s, end - 1) == '\r')
		end--;
	switch (d->phase) {
	case PHASE_FIRST:
		if (start == end) {
			d->message = d->next; /* stray blank lines before a message */
			return 1;
		}
		if (which) {
			d->status = status_of(s, start);
			if (!is_response(word(s, start)) || !d->status)
				return 0;
		} else if (!request_line(s, c, start, end, how & 2)) {
			return 0;
		}
		d->phase = PHASE_HEADER;
		return 1;
	case PHASE_HEADER:
		d->proven |= start == end;
		if (start != end)
			header_line(s, c, which, start, end);
		else if (which)
			response_head_done(c, now);
		else
			request_head_done(c);
		return 1;
	case PHASE_CHUNK:
		size = chunk_size(s, start, end);
		if (!size) {
			d->phase = PHASE_TRAILER;
			return 1;
		}
		d->next += size + 2; /* the data and its CRLF */
		if (!which && c->head != c->tail)
			c->pending[(c->head - 1) & (PENDING - 1)].request_bytes = d->next - d->message;
		return 1;
	case PHASE_TRAILER:
		if (start == end)
			message_done(c, which, now);
		return 1;
	}
	return 0;
}

/* Puts the carried beginning of a line at the front of the buffer. */
__noinline int take_carry(struct scratch *s, struct connection *c, u32 which)
{
	u32 i;

	if (!s || !c)
		return 0;
	for (i = 0; i < CARRY / 8; i++)
		*(u64 *)&s->buffer[i * 8] = *(u64 *)&c->carry[which & 1][i * 8];
	return 0;
}

/* Keeps the beginning of a line whose end comes in a later segment. */
__noinline int keep_carry(struct scratch *s, struct connection *c, u32 which, u32 from)
{
	u32 i;

	if (!s || !c)
		return 0;
	for (i = 0; i < CARRY / 8; i++)
		*(u64 *)&c->carry[which & 1][i * 8] = word(s, from + i * 8);
	return 0;
}

/* Fills the buffer with what was carried over and the payload from d->next on. */
static __always_inline bool fill(struct segment *g, struct direction *d)
{
	/* 64 bits wide: 6.1 does not carry bounds over from a 32-bit comparison. */
	u64 carried = d->carry_length, length = g->end - d->next;
	u32 from = g->offset + (d->next - g->seq);

	if (carried)
		take_carry(g->s, g->c, g->which);
	if (length > WINDOW)
		length = WINDOW;
	/* The verifier wants the bounds on the very registers that are used, and that
	 * of 6.1 learns nothing from "not zero": one is taken off, and added again. */
	length--;
	barrier_var(length);
	if (length >= WINDOW)
		return false;
	length++;
	if (carried > CARRY)
		return false;
	barrier_var(carried);
	carried &= 2 * CARRY - 1;
	if (bpf_skb_load_bytes(g->skb, from, &g->s->buffer[carried], length))
		return false;
	d->carry_length = 0;
	g->base = d->next - carried;
	g->filled = carried + length;
	g->line = 0;
	g->at = carried;
	return true;
}

/* Position of the next line feed from `at` on, looking at most 8 * WORDS bytes far. */
__noinline u32 line_feed(struct scratch *s, u32 at)
{
	u32 i;

	if (!s)
		return at;
#pragma unroll
	for (i = 0; i < WORDS; i++) {
		u64 marks = line_feeds(word(s, at + i * 8));

		if (marks)
			return at + i * 8 + lowest(marks);
	}
	return at + WORDS * 8;
}

static __always_inline long give_up(struct direction *d)
{
	d->phase = PHASE_LOST;
	d->carry_length = d->skip_line = 0;
	if (d->proven) /* else it never was HTTP, and nothing of it is lost */
		lose(HTTP_LOST_GAP);
	return 1;
}

/* The buffer ends inside a line. */
static __always_inline long cut_line(struct segment *g, struct direction *d)
{
	u32 length = g->filled - g->line;
	bool more = (s32)(g->end - (g->base + g->filled)) > 0;

	if (more && g->line && !d->skip_line) {
		/* There is more in this segment: read again from the line's start. */
		d->next = g->base + g->line;
		g->filled = 0;
		return 0;
	}
	d->next = g->base + g->filled;
	if (!d->skip_line && (more || length > CARRY)) {
		/* Longer than is kept. No header that matters is; of a request
		 * line, what is here names its route. */
		if (d->phase == PHASE_FIRST && !line(g->s, g->c, (u64)g->line << 32 | g->filled, g->now, g->which | 2))
			return give_up(d);
		d->skip_line = 1;
	} else if (!d->skip_line) {
		keep_carry(g->s, g->c, g->which, g->line);
		d->carry_length = length;
	}
	g->filled = 0;
	return more ? 0 : 1;
}

/* The line feed that ends the next line to look at, or where its search stopped. */
static __always_inline u32 find_line(struct segment *g, struct direction *d)
{
	u64 found;

	if (d->phase == PHASE_HEADER && g->line == g->at && !d->skip_line) {
		found = header_lines(g->s, g->c, g->which, (u64)g->line << 32 | g->filled);
		g->line = found >> 32;
		g->at = (u32)found;
		d->next = g->base + g->line;
		if (g->line >= g->filled)
			return g->filled;
		if ((u16)word(g->s, g->line) == ('\r' | '\n' << 8))
			return g->line + 1; /* the blank line */
	}
	return line_feed(g->s, g->at);
}

static __always_inline void message_begins(struct connection *c, u32 which, u64 arrived)
{
	if (which)
		c->stages.send.buffered = c->stages.send.unknown = 0;
	else
		c->arriving = arrived;
}

/* One line, or one leap over a body. 1 ends the segment. */
static long step(u32 i, struct segment *g)
{
	struct direction *d = &g->c->dir[g->which & 1];
	u32 feed;

	if (d->phase == PHASE_BODY) {
		if ((s32)(g->end - d->next) < 0)
			return 1; /* the body goes on in later segments */
		if (d->length)
			leap(d);
		else
			message_done(g->c, g->which & 1, g->now);
		return 0;
	}
	if (d->phase == PHASE_LOST || d->phase >= PHASE_CLOSE || (s32)(g->end - d->next) <= 0)
		return 1;
	if (!g->filled || (s32)(d->next - (g->base + g->filled)) >= 0) {
		if (!fill(g, d))
			return give_up(d);
	} else if (g->base + g->at != d->next && g->base + g->line != d->next &&
		   (s32)(d->next - (g->base + g->at)) > 0) {
		g->line = g->at = d->next - g->base; /* behind a leap within the buffer */
	}
	if (d->phase == PHASE_FIRST && g->line == g->at && !d->skip_line) {
		d->message_start = g->now;
		d->message = g->base + g->line;
		message_begins(g->c, g->which, g->s->arrived);
	}
	feed = find_line(g, d);
	if (feed >= g->filled)
		return cut_line(g, d);
	if (byte(g->s, feed) != '\n') {
		g->at = feed; /* a long line: go on looking from here */
		return 0;
	}
	d->next = g->base + feed + 1;
	if (d->skip_line)
		d->skip_line = 0;
	else if (!line(g->s, g->c, (u64)g->line << 32 | feed, g->now, g->which))
		return give_up(d);
	g->line = g->at = feed + 1;
	/* Nothing follows, but a body that ends here has to be told of it. */
	return (s32)(g->end - d->next) < (d->phase == PHASE_BODY ? 0 : 1);
}

/* Whether the first `n` bytes of a word are the beginning of a method and its space. */
static __always_inline bool begins_method(u64 w, u32 n)
{
	u64 few = FIRST(n);

	return !((w ^ LITERAL8('G', 'E', 'T', ' ', 0, 0, 0, 0)) & few & FIRST(4)) ||
	       !((w ^ LITERAL8('P', 'O', 'S', 'T', ' ', 0, 0, 0)) & few & FIRST(5)) ||
	       !((w ^ LITERAL8('H', 'E', 'A', 'D', ' ', 0, 0, 0)) & few & FIRST(5)) ||
	       !((w ^ LITERAL8('P', 'U', 'T', ' ', 0, 0, 0, 0)) & few & FIRST(4)) ||
	       !((w ^ LITERAL8('D', 'E', 'L', 'E', 'T', 'E', ' ', 0)) & few & FIRST(7)) ||
	       !((w ^ LITERAL8('O', 'P', 'T', 'I', 'O', 'N', 'S', ' ')) & few) ||
	       !((w ^ LITERAL8('P', 'A', 'T', 'C', 'H', ' ', 0, 0)) & few & FIRST(6)) ||
	       !((w ^ LITERAL8('T', 'R', 'A', 'C', 'E', ' ', 0, 0)) & few & FIRST(6)) ||
	       !((w ^ LITERAL8('C', 'O', 'N', 'N', 'E', 'C', 'T', ' ')) & few);
}

/*
 * Whether a payload starts like a message of this direction. On a new connection
 * a single byte may be the start (`any`); in the middle of one, that proves nothing.
 */
static __always_inline bool looks_like(struct __sk_buff *skb, u32 offset, u32 length, u32 which, bool any)
{
	u64 w = 0;
	u64 n = length - 1;
	u32 skip;

	if (length >= sizeof(w)) {
		if (bpf_skb_load_bytes(skb, offset, &w, sizeof(w)))
			return false;
		return which ? is_response(w) : method_of(w, &skip) != HTTP_UNKNOWN;
	}
	if (!any)
		return false;
	barrier_var(n);
	if (n > 6)
		return false; /* nothing at all */
	n++;
	if (bpf_skb_load_bytes(skb, offset, &w, n))
		return false;
	if (which)
		return !((w ^ LITERAL8('H', 'T', 'T', 'P', '/', '1', '.', 0)) & FIRST(n));
	return begins_method(w, n);
}

/* Makes sure that d->next lies in this segment or behind it. False: nothing to do here. */
static __always_inline bool in_step(struct segment *g, struct direction *d)
{
	s32 hole = (s32)(g->seq - d->next);

	if (d->phase == PHASE_LOST) {
		if (!looks_like(g->skb, g->offset, g->end - g->seq, g->which, !d->proven))
			return false;
		d->next = g->seq;
		next_message(d);
		d->stalled = 0;
		return true;
	}
	if (hole <= 0) {
		d->stalled = 0;
		return true;
	}
	/* Bytes before this segment are missing: late (they will come) or never
	 * seen. Wait a little; then start again at what looks like a message. */
	if (++d->stalled < 3 || !looks_like(g->skb, g->offset, g->end - g->seq, g->which, !d->proven))
		return false;
	lose(HTTP_LOST_GAP);
	d->carry_length = d->skip_line = 0;
	d->next = g->seq;
	next_message(d);
	d->stalled = 0;
	return true;
}

/* Bytes within a body, or its last ones: nothing of them is looked at. */
static __always_inline bool within_body(struct connection *c, u32 which, u32 seq, u32 end, u64 now)
{
	struct direction *d = &c->dir[which & 1];
	s32 left = (s32)(d->next - end);

	if (d->phase != PHASE_BODY || left < 0 || (s32)(seq - d->next) > 0)
		return false;
	if (!left && d->length)
		return false; /* a body that is more than one leap */
	if (!left)
		message_done(c, which & 1, now);
	d->stalled = 0;
	return true;
}

static __always_inline void parse(struct segment *g)
{
	struct direction *d = &g->c->dir[g->which & 1];

	if (in_step(g, d) && bpf_loop(MAX_STEPS, step, g, 0) >= MAX_STEPS) {
		lose(HTTP_LOST_LONG);
		give_up(d);
	}
}

/* A body that ends with the connection goes on to here, or ends here. */
static __always_inline void close_body(struct connection *c, u32 which, u32 end, bool fin, u64 now)
{
	struct direction *d = &c->dir[which & 1];

	if (d->phase != PHASE_CLOSE)
		return;
	if ((s32)(end - d->next) > 0)
		d->next = end;
	if (fin && which) {
		response_done(c, now);
		next_message(d);
	}
}

#endif
