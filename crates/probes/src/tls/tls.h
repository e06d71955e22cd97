/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the programs on TLS libraries and their Rust driver share. */
#ifndef TAPROOT_TLS_H
#define TAPROOT_TLS_H

/* A probe's cookie: from when on its process is certainly observed (ns), and in the
 * lowest bits what the function does. */
#define TLS_OPERATION_BITS 3

/* What a function of a library in C does. */
enum tls_operation {
	TLS_READ,     /* (session, buffer, size): gives the bytes read */
	TLS_WRITE,    /* (session, buffer, size): gives the bytes written */
	TLS_READ_EX,  /* (session, buffer, size, *read): gives 1 */
	TLS_WRITE_EX, /* (session, buffer, size, *written): gives 1 */
	TLS_OTHER,    /* (session): uses the connection, carries no plaintext */
	/* Of rustls: */
	TLS_RUST_IO,	     /* (result, connection): is lent a socket */
	TLS_RUST_WRITE,	     /* (connection, bytes, size): gives an error or none, and bytes taken */
	TLS_RUST_WRITE_MANY, /* (connection, slices, count): the same */
};

/* Why plaintext could not be told. Names in Rust: tls::LOSSES. */
enum tls_loss {
	TLS_LOST_RING,	   /* bytes: the ring was full */
	TLS_LOST_LONG,	   /* bytes of one call beyond PAYLOAD_MOST */
	TLS_LOST_COPY,	   /* bytes that the kernel did not hand over */
	TLS_LOST_UNJOINED, /* bytes of sessions whose connection is not known */
	TLS_LOST_CALLS,	   /* calls: no room for their state */
	TLS_LOST_SESSIONS, /* sessions: no room for their state */
	TLS_LOSSES,
};

#endif
