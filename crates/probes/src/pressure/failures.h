/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What failures.bpf.c and failures.rs share. */
#ifndef TAPROOT_FAILURES_H
#define TAPROOT_FAILURES_H

/* Errors that can be chosen: 1 to 133 on Linux. */
#define ERRNOS 134
/* System calls that are told apart; numbers above are counted as `FAILURE_OTHER`. */
#define SYSCALLS 512
#define FAILURE_OTHER SYSCALLS

/* Sorts of system calls, bits. */
#define CALL_PLAIN 1   /* everything else */
#define CALL_FORK 2    /* makes a process or thread */
#define CALL_CONNECT 4 /* names a peer or an address of its own */
#define CALL_WAIT 8    /* fails with ETIMEDOUT or EAGAIN when all is well */

/* One kind of failure of one cgroup. */
struct failure_key {
	unsigned long long cgroup;
	unsigned int call; /* system call number, or FAILURE_OTHER */
	unsigned int error;
};

struct failure {
	unsigned long long count;
	unsigned long long first; /* monotonic nanoseconds */
	unsigned long long last;  /* monotonic nanoseconds */
	unsigned int pid;         /* thread group that failed last */
	unsigned int unused;
};

enum failure_lost {
	FAILURE_LOST_FULL, /* no room for another kind of failure */
	FAILURE_LOST_REASONS,
};

#endif
