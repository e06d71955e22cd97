/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the HTTP programs and their Rust driver share. The Rust types are generated from this. */
#ifndef TAPROOT_HTTP_H
#define TAPROOT_HTTP_H

/* Histogram slots: octaves 10 (1 us) to 34 (34 s), eight each; outside is clamped. */
#define HTTP_FIRST_BUCKET 80
#define HTTP_BUCKETS 200
/* Bytes of a path kept for a sample. */
#define HTTP_PATH 96
/* Bytes of a traceparent kept for a sample: one of version 00, and one more. */
#define HTTP_CONTEXT 56

enum http_method {
	HTTP_UNKNOWN,
	HTTP_GET,
	HTTP_HEAD,
	HTTP_POST,
	HTTP_PUT,
	HTTP_DELETE,
	HTTP_OPTIONS,
	HTTP_PATCH,
	HTTP_TRACE,
	HTTP_CONNECT,
	HTTP_OTHER,
};

enum http_role {
	HTTP_ROLE_UNKNOWN,
	HTTP_ROLE_CLIENT,
	HTTP_ROLE_SERVER,
};

/* Why something could not be seen. Names in Rust: http::LOSSES. */
enum http_loss {
	HTTP_LOST_RING,      /* samples: the ring was full */
	HTTP_LOST_MAP,       /* requests: not even the catch-all key had room */
	HTTP_LOST_GAP,       /* connections resynchronised: bytes between were not parsed */
	HTTP_LOST_ORPHAN,    /* responses whose request was not seen (attached in mid-request) */
	HTTP_LOST_SCRATCH,   /* segments: no work space free on this CPU */
	HTTP_LOST_STORAGE,   /* connections: no memory for their state */
	HTTP_LOST_BUSY,      /* segments: the connection was being parsed on another CPU */
	HTTP_LOST_LONG,      /* segments with more lines than are looked at */
	HTTP_MERGED_ROUTES,  /* not lost: requests counted under the catch-all route */
	HTTP_UNSAMPLED,      /* not lost: samples over the budget of this interval */
	HTTP_LOSSES,
};

struct http_key {
	__u64 netns;
	__u64 cgroup;
	__u64 route;         /* hash of the normalised path; 0 is the catch-all */
	__u8 local[16];      /* IPv4 in the first four bytes */
	__u8 remote[16];
	__u16 port;          /* of the server, host order */
	__u16 status;        /* 0: unanswered */
	__u8 method;
	__u8 role;
	__u8 family;
	__u8 pad;
};

/* A part of a request's time, ns, and why the thread that read the request did not run
 * during it. What is in none of the three is its work, and its waiting for others. */
struct http_stage {
	__u64 total;
	__u64 queued;        /* it waited for a CPU */
	__u64 throttled;     /* its quota of CPU time was used up */
	__u64 unknown;       /* not known whether it waited */
};

/* From the first byte of an answer to its last, ns. What is in neither `buffered` nor
 * `unknown` is the program that was still writing. */
struct http_send {
	__u64 total;
	__u64 buffered;      /* written, but the socket could not send yet */
	__u64 unknown;       /* not known when it was written */
};

/* Time before a request reaches its socket, or after its answer left it: no part of the
 * latency. Not seen of every request. */
struct http_outside {
	__u64 total;         /* ns */
	__u64 seen;          /* requests */
};

/*
 * At a server: from the first byte's arrival at the socket to its being read, from
 * there to the first byte of the answer, from there to its last. A client's `service`
 * is its network and peer, from the first byte sent to the first received.
 */
struct http_stages {
	struct http_stage receive;
	struct http_stage service;
	struct http_send send;
	struct http_outside device; /* at a server: from the device to the socket */
	struct http_outside qdisc;  /* at a server: from the socket to the device, the last byte */
};

struct http_value {
	__u64 count;
	__u64 request_bytes;
	__u64 response_bytes;
	__u64 latency_sum;
	__u64 staged;        /* requests whose stages were seen: those in `stages` */
	struct http_stages stages;
	__u32 named;         /* a sample that names this route has reached the ring */
	__u32 pad;
	__u32 buckets[HTTP_BUCKETS];
};

struct http_sample {
	__u64 start;         /* CLOCK_MONOTONIC, ns */
	__u64 first_byte;    /* ns after start */
	__u64 duration;      /* ns */
	struct http_key key;
	struct http_stages stages;
	__u32 request_bytes;
	__u32 response_bytes;
	__u16 path_length;   /* bytes of path that are valid */
	__u16 peer_port;     /* the ephemeral end's port */
	__u32 staged;        /* whether `stages` was seen */
	__u64 request;       /* what tells it, the same at both ends */
	__u64 cause;         /* that of the request its sender served; 0: not known */
	__u64 context_length; /* bytes of context that are valid */
	__u8 context[HTTP_CONTEXT]; /* value of its traceparent */
	__u8 path[HTTP_PATH];
};

/* A sampled answer's last packet was handed to its device. Comes after the sample. */
struct http_departure {
	__u64 request;       /* as in the sample */
	__u64 qdisc;         /* ns since the packet left its socket */
};

#endif
