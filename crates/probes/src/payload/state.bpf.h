/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The state of a connection, the maps, and losses. */
#ifndef TAPROOT_PAYLOAD_STATE
#define TAPROOT_PAYLOAD_STATE

#include "segment.bpf.h"
#include "payload.h"

/* Bytes copied of a connection before a verdict. Set before loading. */
const volatile u32 undecided_budget = 4 << 20;

/* Never read: no map holds a record, and what none holds is not in the Rust types. */
const volatile struct payload_open open_layout = {};
const volatile struct payload_piece piece_layout = {};
const volatile struct payload_close close_layout = {};
const volatile struct payload_datagram datagram_layout = {};
const volatile struct payload_plain plain_layout = {};
const volatile struct payload_passed passed_layout = {};

#define GLANCE_BYTES 256
#define GLANCE_EVERY 100000000 /* ns */
#define WEIGH_EVERY 1000000000 /* ns */

struct direction {
	u32 base; /* sequence number of its first byte */
	u32 begun;
	u32 lost; /* bytes since the last record that the ring had no room for */
};

struct connection {
	u64 id;
	u64 glanced; /* ns */
	u64 passed;  /* bytes, while sealed, not told yet */
	u32 copied;  /* bytes, while undecided */
	u8 verdict;
	u8 told;     /* user space knows of it */
	u8 role;
	u8 pristine;
	struct direction dir[2]; /* 0: received, 1: sent */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct connection);
} connections SEC(".maps");

/* What user space decided, by socket cookie; taken over into the connection. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, u64);
	__type(value, u32);
} verdicts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PAYLOAD_LOSSES);
	__type(key, u32);
	__type(value, u64);
} losses SEC(".maps");

static __always_inline void lose(u32 reason, u64 amount)
{
	u64 *n = bpf_map_lookup_elem(&losses, &reason);

	if (n)
		*n += amount;
}

#endif
