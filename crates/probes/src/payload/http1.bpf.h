/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* HTTP/1 told by the beginning of a segment, so that it need not be copied. */
#ifndef TAPROOT_PAYLOAD_HTTP1
#define TAPROOT_PAYLOAD_HTTP1

#include "taproot.h"

#define HTTP1_BEGINNING 12 /* "HTTP/1.1 200"; the longest method and what follows its space */

/* The first `n` bytes of a word, and words out of letters. */
#define HEAD(word, n) ((word) & ((1ULL << (8 * (n))) - 1))
#define LETTERS4(a, b, c, d) ((u64)(a) | (u64)(b) << 8 | (u64)(c) << 16 | (u64)(d) << 24)
#define LETTERS(a, b, c, d, e, f, g) \
	(LETTERS4(a, b, c, d) | (u64)(e) << 32 | (u64)(f) << 40 | (u64)(g) << 48)

/* A path, the whole of a URL, or all of the server. */
static __always_inline bool is_target(u8 first)
{
	return first == '/' || first == 'h' || first == '*';
}

/* CONNECT is left out: what its tunnel carries is for the parsers. */
static __always_inline bool is_http1_request(const u8 *b)
{
	u64 w = *(const u64 *)b;

	if (HEAD(w, 4) == LETTERS4('G', 'E', 'T', ' ') || HEAD(w, 4) == LETTERS4('P', 'U', 'T', ' '))
		return is_target(b[4]);
	if (HEAD(w, 5) == LETTERS('P', 'O', 'S', 'T', ' ', 0, 0) ||
	    HEAD(w, 5) == LETTERS('H', 'E', 'A', 'D', ' ', 0, 0))
		return is_target(b[5]);
	if (HEAD(w, 6) == LETTERS('P', 'A', 'T', 'C', 'H', ' ', 0) ||
	    HEAD(w, 6) == LETTERS('T', 'R', 'A', 'C', 'E', ' ', 0))
		return is_target(b[6]);
	if (HEAD(w, 7) == LETTERS('D', 'E', 'L', 'E', 'T', 'E', ' '))
		return is_target(b[7]);
	if (HEAD(w, 7) == LETTERS('O', 'P', 'T', 'I', 'O', 'N', 'S'))
		return b[7] == ' ' && is_target(b[8]);
	return false;
}

static __always_inline bool is_http1_response(const u8 *b)
{
	u64 w = *(const u64 *)b;

	return HEAD(w, 7) == LETTERS('H', 'T', 'T', 'P', '/', '1', '.') && b[8] == ' ';
}

/* "101 Switching Protocols": what follows is no longer HTTP/1. */
static __always_inline bool leaves_http1(const u8 *b)
{
	return is_http1_response(b) && b[9] == '1' && b[10] == '0' && b[11] == '1';
}

#endif
