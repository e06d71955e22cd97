/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The one definition of an event; event.rs reads it. */
#ifndef TAPROOT_LIFECYCLE_H
#define TAPROOT_LIFECYCLE_H

enum event_kind {
	EVENT_EXEC = 1,
	EVENT_EXIT,
	EVENT_OOM_KILL,
	EVENT_SIGNAL,
	EVENT_CGROUP_MADE,
	EVENT_CGROUP_REMOVED,
	EVENT_CGROUP_JOINED,
};

/* Longest text that follows an event: the path of a program or a cgroup. */
#define EVENT_TEXT 512

/*
 * Fixed part of every event; `text_length` bytes of text follow it. Fields that
 * a kind does not name are zero.
 */
struct event {
	unsigned long long at;		  /* monotonic nanoseconds */
	unsigned long long cgroup;	  /* of the process; the cgroup itself for EVENT_CGROUP_ */
	unsigned long long sender_cgroup; /* SIGNAL: of the sender */
	unsigned long long started;	  /* when the process began, monotonic nanoseconds */
	enum event_kind kind;
	unsigned int pid;     /* thread group */
	unsigned int ns_pid;  /* the same in its own pid namespace */
	unsigned int parent;  /* EXEC: thread group of the parent; SIGNAL: of the sender, 0 = kernel */
	unsigned int status;  /* EXIT: as wait(2) gives it; SIGNAL, OOM: signal number */
	int code;	      /* SIGNAL: si_code */
	unsigned int level;   /* depth of its pid namespace, 0 = the node's own */
	unsigned int others;  /* EXIT: whether more tasks share its cgroups */
	unsigned int text_length;
	unsigned int unused;
	char comm[16];
	char sender_comm[16]; /* SIGNAL */
};

/* Why events are missing; index of the counters. */
enum event_lost {
	EVENT_LOST_RING, /* the ring was full */
	EVENT_LOST_REASONS,
};

#endif
