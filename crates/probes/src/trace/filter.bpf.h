/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The filter: a small decision diagram over a packet's fields. */
#ifndef TAPROOT_TRACE_FILTER_H
#define TAPROOT_TRACE_FILTER_H

/* Set before loading. Without tests every IP packet matches. */
const volatile struct trace_test tests[TRACE_MAX_TESTS] = {};
const volatile u32 tests_used = 0;

/*
 * Asks from the first test on. Global, as are others that packets' hooks share: the
 * verifier looks at such a function once, not at each of its calls.
 * The verifier follows it test by test, because it
 * knows what frozen read-only data holds; targets lie behind their test, so that
 * it ends.
 */
__noinline int evaluate(const struct headers *h)
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

		if (field >= TRACE_FIELDS)
			return 0;
		value = h->field[field] & test->mask;
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
