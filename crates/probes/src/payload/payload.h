/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the payload programs and their Rust driver share. The Rust types are generated from this. */
#ifndef TAPROOT_PAYLOAD_H
#define TAPROOT_PAYLOAD_H

/* Most bytes of one segment that are copied. On the loopback device a segment may be longer than 64 KiB. */
#define PAYLOAD_MOST 262144
/* Most bytes of a datagram that are copied: header, longest name, type and class. */
#define PAYLOAD_DATAGRAM_MOST 512

/* First word of every record. */
enum payload_kind {
	PAYLOAD_OPEN,
	PAYLOAD_PIECE,
	PAYLOAD_CLOSE,
	PAYLOAD_DATAGRAM,
	PAYLOAD_PLAIN,
	PAYLOAD_PASSED,
};

/* What user space wants of a connection. */
enum payload_verdict {
	PAYLOAD_UNDECIDED, /* everything, up to a budget */
	PAYLOAD_ALL,	   /* everything */
	PAYLOAD_GLANCE,	   /* the beginning of a segment, now and then */
	PAYLOAD_HTTP1,	   /* nothing until HTTP/1 is left: the http programs count it */
	PAYLOAD_NOTHING,   /* nothing any more */
	PAYLOAD_SEALED,	   /* how much, now and then: it is encrypted */
	PAYLOAD_AGAIN,	   /* tell the connection again: user space forgot it */
};

enum payload_role {
	PAYLOAD_ROLE_UNKNOWN,
	PAYLOAD_ROLE_CLIENT,
	PAYLOAD_ROLE_SERVER,
};

/* Why something could not be seen. Names in Rust: payload::LOSSES. */
enum payload_loss {
	PAYLOAD_LOST_RING,	/* bytes: the ring was full */
	PAYLOAD_LOST_LONG,	/* bytes of segments beyond PAYLOAD_MOST */
	PAYLOAD_LOST_UNDECIDED, /* bytes: no verdict came before the budget was used up */
	PAYLOAD_LOST_STORAGE,	/* connections: no memory for their state */
	PAYLOAD_LOST_HANDSHAKE, /* bytes that came with the end of the handshake, before there is a socket */
	PAYLOAD_LOST_CLOSE,	/* ends of connections: the ring was full */
	PAYLOAD_LOST_COPY,	/* bytes that the kernel did not hand over */
	PAYLOAD_LOSSES,
};

struct payload_ends {
	__u64 netns;	 /* cookie; 0 where not known (UDP) */
	__u64 cgroup;
	__u8 local[16];	 /* IPv4 in the first four bytes */
	__u8 remote[16];
	__u16 local_port;
	__u16 remote_port;
	__u8 family;
	__u8 pad[3];
};

/* A connection was met. */
struct payload_open {
	__u32 kind;
	__u8 role;	 /* enum payload_role */
	__u8 pristine;	 /* no payload passed before */
	__u16 pad;
	__u64 id;	 /* socket cookie */
	__u64 time;	 /* CLOCK_MONOTONIC, ns */
	struct payload_ends ends;
};

/* A segment; `copied` bytes of it follow. */
struct payload_piece {
	__u32 kind;
	__u32 offset;	 /* of its first byte, from the direction's beginning, modulo 2^32 */
	__u64 id;
	__u64 time;
	__u32 length;
	__u32 copied;
	__u8 outbound;
	__u8 fin;	 /* its writer closed */
	__u8 pad[2];
	__u32 lost;	 /* bytes of its direction before it that the full ring had no room for */
};

/* Plaintext that a TLS library passed (see ../tls); `copied` bytes of it follow. */
struct payload_plain {
	__u32 kind;
	__u32 offset;	 /* of its first byte in its direction, modulo 2^32 */
	__u64 id;	 /* socket cookie */
	__u64 time;	 /* when it was written, or had been read; CLOCK_MONOTONIC, ns */
	__u64 since;	 /* when the session was met; another one is another session */
	__u64 watched;	 /* from when on its process is certainly observed */
	__u32 length;
	__u32 copied;
	__u8 outbound;
	__u8 settled;	 /* no read of it can have begun unseen */
	__u8 pad[2];
	__u32 lost;	 /* bytes before it that the full ring had no room for */
};

/* What an encrypted connection has carried since this was last told, both ways. */
struct payload_passed {
	__u32 kind;
	__u32 pad;
	__u64 id;
	__u64 time;
	__u64 bytes;
};

/* A connection is gone. */
struct payload_close {
	__u32 kind;
	__u32 pad;
	__u64 id;
	__u64 time;
};

/* A UDP datagram that reads like DNS; `copied` bytes of it follow. */
struct payload_datagram {
	__u32 kind;
	__u32 length;
	__u64 id;
	__u64 time;
	__u32 copied;
	__u8 outbound;
	__u8 pad[3];
	struct payload_ends ends;
};

#endif
