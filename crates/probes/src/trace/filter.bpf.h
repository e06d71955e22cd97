/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The filter: a small decision diagram over a packet's fields. */
#ifndef TAPROOT_TRACE_FILTER_H
#define TAPROOT_TRACE_FILTER_H

/* Set before loading. Without tests every IP packet matches. */
const volatile struct trace_test tests[TRACE_MAX_TESTS] = {};
const volatile u32 tests_used = 0;

/* Why bytes could not be had. */
enum unread {
	READ,
	NO_HEADER_THERE, /* then the test does not hold */
	BEHIND_THE_END,	 /* then the packet does not match, as with libpcap */
};

/* The bytes that a test asks for, as a number. */
static __always_inline enum unread read_bytes(u32 *value, const volatile struct trace_test *test,
					      const struct headers *h, u64 ip)
{
	u32 end = h->field[TRACE_FIELD_LENGTH], at = test->offset, size = test->size;
	u32 bytes = 0;
	u64 begin = ip;

	if (test->field == TRACE_BYTES_TRANSPORT) {
		if (!h->l4)
			return NO_HEADER_THERE;
		at += h->l4;
	} else if (test->field == TRACE_BYTES_LINK) {
		if (!h->framed)
			return NO_HEADER_THERE;
		end += ETH_HLEN;
		begin -= ETH_HLEN;
	}
	if (size > sizeof(bytes) || at + size > end ||
	    bpf_probe_read_kernel(&bytes, size, (const void *)(begin + at)))
		return BEHIND_THE_END;
	*value = bpf_ntohl(bytes) >> (8 * (sizeof(bytes) - size));
	return READ;
}

/*
 * Asks from the first test on. `ip` is the address of the IP header, for tests on bytes. Global, as are others that packets' hooks share: the
 * verifier looks at such a function once, not at each of its calls.
 * The verifier follows it test by test, because it knows what frozen read-only data holds;
 * targets lie behind their test, so that it ends.
 */
__noinline int evaluate(const struct headers *h, u64 ip)
{
	u32 at = 0;

	if (!h)
		return 0;
	if (!tests_used)
		return 1;
	while (at < TRACE_MAX_TESTS) {
		const volatile struct trace_test *test = &tests[at];
		u32 field = test->field, value = 0;
		bool yes;

		if (field < TRACE_FIELDS) {
			value = h->field[field];
		} else {
			enum unread why = read_bytes(&value, test, h, ip);

			if (why == BEHIND_THE_END)
				return 0;
			if (why == NO_HEADER_THERE) {
				at = test->no;
				continue;
			}
		}
		value &= test->mask;
		switch (test->compare) {
		case TRACE_EQUAL:
			yes = value == test->value;
			break;
		case TRACE_AT_LEAST:
			yes = value >= test->value;
			break;
		case TRACE_AT_MOST:
			yes = value <= test->value;
			break;
		default:
			yes = value & test->value;
		}
		at = yes ? test->yes : test->no;
	}
	return at == TRACE_ACCEPT;
}

#endif
