/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The filter: a small decision diagram over a packet's fields. */
#ifndef TAPROOT_TRACE_FILTER_H
#define TAPROOT_TRACE_FILTER_H

/* Set before loading. Without tests every IP packet matches. */
const volatile struct trace_test tests[TRACE_MAX_TESTS] = {};
const volatile u32 tests_used = 0;

/* What its tests calculate with. */
const volatile struct trace_operation operations[TRACE_MAX_OPERATIONS] = {};

/* Why a number could not be had. */
enum unread {
	READ,
	NO_HEADER_THERE, /* then the test does not hold */
	NO_MATCH,	 /* behind the end, or divided by zero: no packet passes then, as with libpcap */
};

/* Bytes of the packet, from a header on, as a number. */
static __always_inline enum unread read_bytes(u32 *value, u32 layer, u64 at, u32 size,
					      const struct headers *h, u64 ip)
{
	u32 end = h->field[TRACE_FIELD_LENGTH];

	if (layer == TRACE_BYTES_TRANSPORT) {
		if (!h->l4)
			return NO_HEADER_THERE;
		at += h->l4;
	} else if (layer == TRACE_BYTES_LINK) {
		if (!h->framed)
			return NO_HEADER_THERE;
		end += ETH_HLEN;
		ip -= ETH_HLEN;
	}
	*value = 0;
	if (size > sizeof(*value) || at + size > end ||
	    bpf_probe_read_kernel(value, size, (const void *)(ip + at)))
		return NO_MATCH;
	*value = bpf_ntohl(*value) >> (8 * (sizeof(*value) - size));
	return READ;
}

/* One operation that needs no packet. */
static __always_inline enum unread operate(u32 *to, u32 operator, u32 by)
{
	switch (operator) {
	case TRACE_OP_SET:
		*to = by;
		break;
	case TRACE_OP_ADD:
		*to += by;
		break;
	case TRACE_OP_SUBTRACT:
		*to -= by;
		break;
	case TRACE_OP_MULTIPLY:
		*to *= by;
		break;
	case TRACE_OP_DIVIDE:
		if (!by)
			return NO_MATCH;
		*to /= by;
		break;
	case TRACE_OP_MODULO:
		if (!by)
			return NO_MATCH;
		*to %= by;
		break;
	case TRACE_OP_AND:
		*to &= by;
		break;
	case TRACE_OP_OR:
		*to |= by;
		break;
	case TRACE_OP_XOR:
		*to ^= by;
		break;
	case TRACE_OP_SHIFT_LEFT:
		*to = by < 32 ? *to << by : 0;
		break;
	case TRACE_OP_SHIFT_RIGHT:
		*to = by < 32 ? *to >> by : 0;
		break;
	case TRACE_OP_EQUAL:
		*to = *to == by;
		break;
	case TRACE_OP_GREATER:
		*to = *to > by;
		break;
	default:
		*to = *to >= by;
	}
	return READ;
}

/* Leaves the number that a test's operations make in the first register. */
static __always_inline enum unread calculate(u32 *registers, const volatile struct trace_test *test,
					     const struct headers *h, u64 ip)
{
	u32 at = test->offset, left = test->size;
	enum unread why = READ;

	for (; left && at < TRACE_MAX_OPERATIONS && why == READ; left--, at++) {
		const volatile struct trace_operation *step = &operations[at];
		u32 to = step->to, from = step->from, operator = step->operator;
		u32 by = from < TRACE_REGISTERS ? registers[from] : step->value;

		if (to >= TRACE_REGISTERS)
			return NO_MATCH;
		if (operator == TRACE_OP_LENGTH)
			registers[to] = h->field[TRACE_FIELD_LENGTH];
		else if (operator > TRACE_OP_LENGTH)
			why = read_bytes(&registers[to], TRACE_BYTES_LINK + operator - TRACE_OP_LINK,
					 by, step->size, h, ip);
		else
			why = operate(&registers[to], operator, by);
	}
	return why;
}

/*
 * Asks from the first test on. `ip` is the address of the IP header, for tests on bytes.
 * Global, as are others that packets' hooks share: the verifier looks at such a function
 * once, not at each of its calls.
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
		u32 field = test->field, value;
		bool yes;

		if (field < TRACE_FIELDS) {
			value = h->field[field];
		} else {
			u32 registers[TRACE_REGISTERS] = {};
			enum unread why = field == TRACE_CALCULATED ?
						  calculate(registers, test, h, ip) :
						  read_bytes(registers, field, test->offset,
							     test->size, h, ip);

			if (why == NO_MATCH)
				return 0;
			if (why == NO_HEADER_THERE) {
				at = test->no;
				continue;
			}
			value = registers[0];
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
