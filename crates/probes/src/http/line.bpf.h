/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What one line of HTTP says. */
#ifndef TAPROOT_HTTP_LINE
#define TAPROOT_HTTP_LINE

#include "count.bpf.h"

#define LITERAL8(a, b, c, d, e, f, g, h)                                                    \
	((u64)(a) | (u64)(b) << 8 | (u64)(c) << 16 | (u64)(d) << 24 | (u64)(e) << 32 |       \
	 (u64)(f) << 40 | (u64)(g) << 48 | (u64)(h) << 56)
#define LOWER 0x2020202020202020ULL
#define FIRST(n) ((1ULL << (8 * (n))) - 1)
#define TRACEPARENT LITERAL8('t', 'r', 'a', 'c', 'e', 'p', 'a', 'r')

static __always_inline u64 word(struct scratch *s, u32 at)
{
	return *(u64 *)&s->buffer[at & (BUFFER - 1)];
}

static __always_inline u8 byte(struct scratch *s, u32 at)
{
	return s->buffer[at & (BUFFER - 1)];
}

/* 0x80 in the lowest byte that is a line feed; bytes above it may be marked wrongly. */
static __always_inline u64 line_feeds(u64 w)
{
	u64 x = w ^ 0x0a0a0a0a0a0a0a0aULL;

	return (x - 0x0101010101010101ULL) & ~x & 0x8080808080808080ULL;
}

/* Index of the lowest byte marked, without a branch: line ends are hard to predict. */
static __always_inline u32 lowest(u64 marks)
{
	return ((((marks & -marks) - 1) & 0x0101010101010101ULL) * 0x0101010101010101ULL >> 56) - 1;
}

static __always_inline u32 method_of(u64 w, u32 *length)
{
	if ((w & FIRST(4)) == LITERAL8('G', 'E', 'T', ' ', 0, 0, 0, 0)) { *length = 4; return HTTP_GET; }
	if ((w & FIRST(5)) == LITERAL8('P', 'O', 'S', 'T', ' ', 0, 0, 0)) { *length = 5; return HTTP_POST; }
	if ((w & FIRST(5)) == LITERAL8('H', 'E', 'A', 'D', ' ', 0, 0, 0)) { *length = 5; return HTTP_HEAD; }
	if ((w & FIRST(4)) == LITERAL8('P', 'U', 'T', ' ', 0, 0, 0, 0)) { *length = 4; return HTTP_PUT; }
	if ((w & FIRST(7)) == LITERAL8('D', 'E', 'L', 'E', 'T', 'E', ' ', 0)) { *length = 7; return HTTP_DELETE; }
	if (w == LITERAL8('O', 'P', 'T', 'I', 'O', 'N', 'S', ' ')) { *length = 8; return HTTP_OPTIONS; }
	if ((w & FIRST(6)) == LITERAL8('P', 'A', 'T', 'C', 'H', ' ', 0, 0)) { *length = 6; return HTTP_PATCH; }
	if ((w & FIRST(6)) == LITERAL8('T', 'R', 'A', 'C', 'E', ' ', 0, 0)) { *length = 6; return HTTP_TRACE; }
	if (w == LITERAL8('C', 'O', 'N', 'N', 'E', 'C', 'T', ' ')) { *length = 8; return HTTP_CONNECT; }
	return HTTP_UNKNOWN;
}

static __always_inline bool is_response(u64 w)
{
	return (w & FIRST(7)) == LITERAL8('H', 'T', 'T', 'P', '/', '1', '.', 0);
}

/* Whether a line ends in "HTTP/1.x" (its end excludes CR and LF). */
static __always_inline bool ends_in_version(struct scratch *s, u32 start, u32 end)
{
	if (end < start + 10)
		return false;
	return is_response(word(s, end - 8));
}

struct path_hash {
	struct scratch *s;
	u64 hash;        /* of the path so far */
	u64 segment;     /* of the current segment */
	u32 at, end;
	u32 length, digits;
};

static __always_inline void end_segment(struct path_hash *p)
{
	/* Numbers and long tokens with digits are identifiers; "v1" is not.
	 * http::route::is_identifier in Rust is the same rule. */
	bool identifier = p->length && (p->digits == p->length || (p->length >= 8 && p->digits >= 2));

	p->hash = (p->hash ^ (identifier ? 0x23 : p->segment)) * 0x100000001b3ULL;
	p->hash ^= p->hash >> 29;
	p->segment = 0xcbf29ce484222325ULL;
	p->length = p->digits = 0;
}

static long hash_byte(u32 i, struct path_hash *p)
{
	u8 b;

	if (p->at >= p->end)
		return 1;
	b = byte(p->s, p->at);
	if (b == '?' || b == ' ' || b == '#')
		return 1;
	/* The mask changes nothing, but lets the verifier see that all rounds are alike:
	 * with "one more each time" it goes through every one of them. */
	p->at = (p->at + 1) & (2 * BUFFER - 1);
	if (b == '/') {
		end_segment(p);
		return 0;
	}
	p->segment = (p->segment ^ b) * 0x100000001b3ULL;
	p->length++;
	p->digits += (u8)(b - '0') < 10;
	return 0;
}

__noinline int request_line(struct scratch *s, struct connection *c, u32 start, u32 end, u32 cut)
{
	struct pending p = {};
	struct path_hash h = {};
	u32 skip = 0, i;

	if (!s || !c)
		return 0;
	p.method = method_of(word(s, start), &skip);
	if (!cut && !ends_in_version(s, start, end))
		return 0;
	if (p.method == HTTP_UNKNOWN) {
		/* A word we do not know, but the line is HTTP's: some extension method. */
		if (cut)
			return 0;
		p.method = HTTP_OTHER;
		for (i = 0; i < 24; i++)
			if (byte(s, start + i) == ' ')
				break;
		skip = i + 1;
	}
	h.s = s;
	h.segment = h.hash = 0xcbf29ce484222325ULL;
	h.at = start + skip;
	h.end = end;
	bpf_loop(WINDOW, hash_byte, &h, 0);
	end_segment(&h);
	p.route = h.hash ? h.hash : 1;
	p.start = c->dir[0].message_start;
	p.seq = c->dir[0].message;
	if (c->key.role == HTTP_ROLE_CLIENT)
		p.cause = c->serving;
	if (c->head == c->tail && !c->current_valid) {
		/* No other is unanswered: its path is kept for a sample. */
		u32 length = h.at - (start + skip);

		p.has_path = 1;
		if (length > HTTP_PATH)
			length = HTTP_PATH;
		c->path_length = length;
		c->context_length = 0;
		c->device = c->arriving ? p.start - c->arriving : 0;
		for (i = 0; i < HTTP_PATH / 8 && i * 8 < length; i++)
			*(u64 *)&c->path[i * 8] = word(s, start + skip + i * 8);
	}
	push(c, &p);
	return 1;
}

static __always_inline u32 status_of(struct scratch *s, u32 start)
{
	u32 a = byte(s, start + 9) - '0', b = byte(s, start + 10) - '0', c = byte(s, start + 11) - '0';

	if (a > 9 || b > 9 || c > 9)
		return 0;
	return a * 100 + b * 10 + c;
}

/* A traceparent, of the request whose path is kept. */
static __always_inline void keep_context(struct scratch *s, struct connection *c, u32 start, u32 end)
{
	u32 from = start + sizeof("traceparent:") - 1, i;

	if (c->head == c->tail || !c->pending[(c->head - 1) & (PENDING - 1)].has_path || end <= from)
		return;
	c->context_length = end - from < HTTP_CONTEXT ? end - from : HTTP_CONTEXT;
	for (i = 0; i < HTTP_CONTEXT / 8; i++)
		*(u64 *)&c->context[i * 8] = word(s, from + i * 8);
}

__noinline int header_line(struct scratch *s, struct connection *c, u32 which, u32 start, u32 end)
{
	struct direction *d;
	u64 w, w2;

	if (!s || !c)
		return 0;
	d = &c->dir[which & 1];
	w = word(s, start) | LOWER;
	if (w == LITERAL8('c', 'o', 'n', 't', 'e', 'n', 't', '-')) {
		u64 value = 0;
		u32 i;

		w2 = word(s, start + 8) | LOWER;
		if ((w2 & FIRST(7)) != (LITERAL8('l', 'e', 'n', 'g', 't', 'h', ':', 0) & FIRST(7)))
			return 0;
		for (i = 0; i < 24; i++) {
			u8 b = byte(s, start + 15 + i);

			if (start + 15 + i >= end)
				break;
			if (b == ' ' || b == '\t')
				continue;
			if ((u8)(b - '0') > 9)
				break;
			value = value * 10 + (b - '0');
		}
		d->length = value;
		d->has_length = 1;
	} else if (w == LITERAL8('t', 'r', 'a', 'n', 's', 'f', 'e', 'r')) {
		w2 = word(s, start + 8) | LOWER;
		if (w2 != (LITERAL8('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n') | LOWER))
			return 0;
		/* "chunked" is the last coding when it is there at all. */
		if (end >= start + 7 &&
		    ((word(s, end - 7) | LOWER) & FIRST(7)) == LITERAL8('c', 'h', 'u', 'n', 'k', 'e', 'd', 0))
			d->chunked = 1;
	} else if (w == TRACEPARENT && !which) {
		w2 = word(s, start + 8) | LOWER;
		if ((w2 & FIRST(4)) == LITERAL8('e', 'n', 't', ':', 0, 0, 0, 0))
			keep_context(s, c, start, end);
	}
	return 0;
}

/* Whether a header line starting with these two words may be one that is read. */
static __always_inline bool matters(u64 w, u64 w2)
{
	w |= LOWER;
	if (w == LITERAL8('c', 'o', 'n', 't', 'e', 'n', 't', '-'))
		return (u8)(w2 | 0x20) == 'l';
	return w == LITERAL8('t', 'r', 'a', 'n', 's', 'f', 'e', 'r') || w == TRACEPARENT;
}

/*
 * Goes over header lines up to the blank one, or to where the buffer cuts one.
 * `span` is the start of a line and the end of the buffer; returned is the start of
 * the line where it stopped, and how far that line was searched.
 */
__noinline u64 header_lines(struct scratch *s, struct connection *c, u32 which, u64 span)
{
	u64 line = span >> 32, at, filled = (u32)span, next, w, w2, marks;
	bool wanted = false;
	u32 i;

	if (!s || !c)
		return 0;
	at = line &= BUFFER - 1;
	for (i = 0; i < PASS; i++) {
		w = word(s, at);
		w2 = word(s, at + 8);
		if (at == line) {
			if ((u8)w == '\r' || (u8)w == '\n')
				break;
			wanted = matters(w, w2);
		}
		marks = line_feeds(w);
		next = at + 1;
		if (!marks) {
			marks = line_feeds(w2);
			next += 8;
			at = (at + 16) & (BUFFER - 1);
		}
		if (!marks) {
			if (at >= filled)
				break;
			continue;
		}
		next += lowest(marks);
		if (next > filled)
			break;
		if (wanted)
			header_line(s, c, which, line, next - (byte(s, next - 2) == '\r' ? 2 : 1));
		line = at = next & (BUFFER - 1);
	}
	return line << 32 | at;
}

__noinline u64 chunk_size(struct scratch *s, u32 start, u32 end)
{
	u64 size = 0;
	u32 i;

	if (!s)
		return 0;
	for (i = 0; i < 16; i++) {
		u8 b = byte(s, start + i);

		if (start + i >= end)
			break;
		if ((u8)(b - '0') < 10)
			size = size << 4 | (b - '0');
		else if ((u8)((b | 0x20) - 'a') < 6)
			size = size << 4 | ((b | 0x20) - 'a' + 10);
		else
			break;
	}
	return size;
}

#endif
