/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Constants, the state of a connection, and the maps. */
#ifndef TAPROOT_HTTP_STATE
#define TAPROOT_HTTP_STATE

#include "waits.bpf.h"
#include "http.h"

/* Nanoseconds from which a request is sampled as slow, and one in how many is
 * sampled anyway (0: none). Set before loading. */
const volatile u64 slow_ns = 500000000;
const volatile u32 sample_every = 0;

/* Whether the scheduler's program writes `threads`. Set before loading. */
const volatile bool waits_known = false;

/* Never read: no map holds a sample, and what none holds is not in the Rust types. */
const volatile struct http_sample sample_layout = {};
const volatile struct http_departure departure_layout = {};

#define WINDOW 768
#define CARRY 128
#define BUFFER 1024 /* power of two over CARRY + WINDOW, so that a mask bounds an index */
#define PENDING 16
#define SLOTS 4
#define MAX_STEPS 4096
#define WORDS 16 /* 8-byte words of one line scanned per step */
#define PASS 96 /* pairs of words of header lines looked at per step */

enum phase {
	PHASE_LOST,    /* looking for the start of a message */
	PHASE_FIRST,   /* request or status line */
	PHASE_HEADER,  /* header lines */
	PHASE_BODY,    /* body of known length */
	PHASE_CHUNK,   /* size line of a chunk */
	PHASE_TRAILER, /* lines after the last chunk */
	PHASE_CLOSE,   /* body until the connection ends */
	PHASE_DONE,    /* no longer HTTP: upgraded or tunnelled */
};

/* One cache line. */
struct pending {
	u64 start;
	u64 route;
	union {
		u64 read;  /* at a server: when it was read, ns; 0: it was not, as far as we saw */
		u64 cause; /* at a client: the request that its sender served; 0: not known */
	};
	u64 queued;    /* of the time until then, as in struct http_stage */
	u64 throttled;
	u64 unknown;
	u32 request_bytes;
	u32 seq;       /* of its first byte */
	u32 reader;    /* the thread that read it */
	u8 method;
	u8 has_path;   /* and what else is kept of one request: its traceparent */
	u16 served;    /* whether its reader's record in `serving` has it */
};

struct direction {
	u32 next;        /* sequence number of the next byte to look at */
	u32 message;     /* sequence number of the first byte of this message */
	u32 busy;
	u8 phase;
	u8 skip_line;    /* the rest of this line is of no interest */
	u8 chunked;
	u8 has_length;
	u8 proven;       /* a whole head was read: this is HTTP */
	u64 length;
	u64 message_start; /* ns */
	u16 status;
	u16 carry_length; /* bytes in the connection's `carry` of this direction */
	u32 stalled;     /* segments seen while `next` did not arrive */
};

/* What every segment needs comes first, what few need last: fewer cache lines. */
struct connection {
	struct direction dir[2]; /* 0: requests, 1: responses */
	struct http_key key;
	u16 peer_port;
	u16 path_length;
	u32 tick; /* for one-in-n samples */
	/* Requests without an answer yet: written by the request direction only,
	 * taken by the response direction only. */
	u32 head, tail;
	u32 read;     /* of them, those before this one were read; by the reader only */
	u32 unqueued; /* beyond the ring: counted, without latency */
	u32 current_valid;
	u32 staged;   /* `stages` is that of `current` */
	struct pending current; /* the one being answered */
	struct http_stages stages;
	u64 first_byte;
	u64 serving; /* what the thread serves that sends this segment of requests */
	u32 writer;  /* at a server: the thread that sent the last answer; 0: not known */
	u32 context_length;
	u64 sent_at; /* at a server: when the last segment of answers left */
	u64 arriving; /* when the device had the message that begins; 0: not known */
	u64 device;  /* from the device to the socket, of the request whose path is kept; 0: not known */
	u64 sampled; /* the request that ended last, where it was sampled; else 0 */
	struct http_outside qdisc; /* of answers that left, until it is counted */
	u8 unsent;   /* bytes were written that could not go with that segment */
	u8 ended;    /* an answer ended in this segment */
	u8 pad[6];
	u8 path[HTTP_PATH];
	u8 context[HTTP_CONTEXT];
	struct pending pending[PENDING];
	u8 carry[2][CARRY]; /* the beginning of a line that a segment cut */
};

/* With what a socket's storage puts before it, it has to fit into 2 KiB: the next size
 * that the kernel hands out is 4. */
_Static_assert(sizeof(struct connection) <= 2048 - 72, "a connection takes 4 KiB");

struct scratch {
	u32 busy;
	u32 pad;
	u64 arrived; /* when the device had this segment; 0: not known */
	struct connection fresh; /* what a new connection starts from; only its key and port change */
	u8 buffer[BUFFER + 16];
};

struct slots {
	struct scratch slot[SLOTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct connection);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct http_key);
	__type(value, struct http_value);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} samples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct slots);
} scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HTTP_LOSSES);
	__type(key, u32);
	__type(value, u64);
} losses SEC(".maps");

/* Samples that may still be sent in this interval; user space fills it up. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, s64);
} budget SEC(".maps");

/* All zero: what a new count starts from. Too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct http_value);
} zero SEC(".maps");

/* All zero: the record of a thread that is new. Too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct thread);
} no_waits SEC(".maps");

/* Requests that a thread has read and not yet answered. */
struct serving {
	u64 request; /* the only one; 0 where there were several */
	u32 open;
	u32 mixed;   /* the thread is not one that serves one after the other */
};

/* By thread id; whoever read for the first time long ago goes first. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, u32);
	__type(value, struct serving);
} serving SEC(".maps");

static __always_inline void lose(u32 reason)
{
	u64 *n = bpf_map_lookup_elem(&losses, &reason);

	if (n)
		*n += 1;
}

#endif
