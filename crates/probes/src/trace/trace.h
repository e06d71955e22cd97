/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the trace programs and their reader share. The Rust types are made from this. */
#ifndef TAPROOT_TRACE_H
#define TAPROOT_TRACE_H

/* What happened; says which of the event's `detail` is filled. */
enum trace_step {
	TRACE_RECEIVED = 1,
	TRACE_QUEUED,	      /* extra: thread, where its socket sends it */
	TRACE_TRANSMITTED,
	TRACE_DROPPED,	      /* code: reason; location; stack follows the event */
	TRACE_ROUTED,	      /* code: error; route; extra: thread, where no packet asks yet */
	TRACE_NEIGHBOUR,      /* code: state; route.gateway: the address asked for */
	TRACE_DELIVERED,
	TRACE_RETRANSMITTED,
	TRACE_RESET_SENT,
	TRACE_RESET_RECEIVED,
	TRACE_ICMP_SENT,      /* code: type, extra: code */
	TRACE_SOCKET_STATE,   /* extra: state before, code: state after */
	TRACE_SOCKET_ERROR,   /* code: errno */
	TRACE_SOCKET_FULL,
	TRACE_CALLED,	      /* a trace_call follows the event */
};

/* What kind of function was called, and what its trace_call says. */
enum trace_function {
	TRACE_CALL_HOOK = 1,	/* netfilter's hook let it go on; hook */
	TRACE_CALL_TABLE,	/* iptables; value: verdict, hook, table */
	TRACE_CALL_CHAIN,	/* nftables; value: verdict, hook, table, chain */
	TRACE_CALL_TRANSLATION, /* value: 0 the source, 1 the destination was written over */
	TRACE_CALL_DECISION,	/* value: error or reason, kind: of route, table: its device */
	TRACE_CALL_SEGMENT,	/* value: the TCP socket's state */
	TRACE_CALL_DATAGRAM,
	TRACE_CALL_GROUP,	/* value: error */
	TRACE_CALL_ANY,		/* the event's location is the function */
};

/* What a filter can ask for. All are 32 bits wide, in host order; addresses in words. */
enum trace_field {
	TRACE_FIELD_FAMILY,   /* 4, 6; of what is not IP: its ether type, and in the low byte
			       * 4 where the two ends are IPv4's (ARP) */
	TRACE_FIELD_PROTOCOL,
	TRACE_FIELD_SOURCE,   /* four words; IPv4 in the first */
	TRACE_FIELD_DESTINATION = TRACE_FIELD_SOURCE + 4,
	TRACE_FIELD_PORTS = TRACE_FIELD_DESTINATION + 4, /* 1: there are ports */
	TRACE_FIELD_SOURCE_PORT,
	TRACE_FIELD_DESTINATION_PORT,
	TRACE_FIELD_TCP_FLAGS,
	TRACE_FIELD_ICMP,     /* type and code, a byte each */
	TRACE_FIELD_LENGTH,   /* of the IP packet */
	TRACE_FIELD_TTL,
	TRACE_FIELD_OWNED,    /* 1: a socket or process of an owner that is asked for sends it */
	TRACE_FIELD_NETNS,    /* inode */
	TRACE_FIELD_IFINDEX,
	TRACE_FIELD_MARK,
	TRACE_FIELD_REASON,   /* of a drop; 0 at every other hop */
	TRACE_FIELD_VLAN,     /* TRACE_VLAN_TAGGED and the tag; 0: none */
	TRACE_FIELDS,
	/* From here on no field: bytes of the packet, from the beginning of a header. */
	TRACE_BYTES_LINK = TRACE_FIELDS,
	TRACE_BYTES_NETWORK,
	TRACE_BYTES_TRANSPORT,
	TRACE_CALCULATED, /* a number that operations make of such bytes */
};

#define TRACE_VLAN_TAGGED 0x10000

enum trace_compare {
	TRACE_EQUAL,
	TRACE_AT_LEAST,
	TRACE_AT_MOST,
	TRACE_ANY_BIT,
};

/* Ends of a filter, beside the numbers of its tests. */
#define TRACE_ACCEPT 254
#define TRACE_REJECT 255
#define TRACE_MAX_TESTS 64

#define TRACE_MAX_OPERATIONS 64
#define TRACE_REGISTERS 4

/* What an operation does with its register and its operand; numbers have 32 bits, no sign. */
enum trace_operator {
	TRACE_OP_SET,
	TRACE_OP_ADD,
	TRACE_OP_SUBTRACT,
	TRACE_OP_MULTIPLY,
	TRACE_OP_DIVIDE, /* by zero: the packet does not match */
	TRACE_OP_MODULO,
	TRACE_OP_AND,
	TRACE_OP_OR,
	TRACE_OP_XOR,
	TRACE_OP_SHIFT_LEFT, /* by 32 or more: 0 */
	TRACE_OP_SHIFT_RIGHT,
	TRACE_OP_EQUAL, /* these: 1 or 0 */
	TRACE_OP_GREATER,
	TRACE_OP_AT_LEAST,
	TRACE_OP_LENGTH, /* of the IP packet */
	TRACE_OP_LINK,	 /* bytes, the operand being their offset */
	TRACE_OP_NETWORK,
	TRACE_OP_TRANSPORT,
};

/* One step of a calculation, whose result is in the first register. */
struct trace_operation {
	__u32 value;   /* the operand, where it is TRACE_VALUE */
	__u8 operator; /* enum trace_operator */
	__u8 to;       /* register */
	__u8 from;     /* register, or TRACE_VALUE: the operand */
	__u8 size;     /* of bytes: 1, 2 or 4 */
};

#define TRACE_VALUE 255

/* Whose sockets a filter asks for. */
enum trace_owner_kind {
	TRACE_OWNER_PROCESS = 1, /* id: of the process */
	TRACE_OWNER_CGROUP,	 /* id: of the control group, v2 */
};

struct trace_owner {
	__u64 id;
	__u32 kind;
	__u32 pad;
};

/* Both ends of a conversation, the lower address first; IPv6 addresses are folded. */
struct trace_leg {
	__u32 low_address, high_address;
	__u16 low_port, high_port;
	__u32 protocol;
};

/* One question of a filter; goes on at test `yes` or `no`, always a later one. */
struct trace_test {
	__u32 value;
	__u32 mask;
	__u8 field;   /* enum trace_field */
	__u8 compare; /* enum trace_compare */
	__u8 yes;
	__u8 no;
	__u16 offset; /* of bytes; of a calculation: its first operation */
	__u16 size;   /* of bytes: 1, 2 or 4; of a calculation: its operations */
};

/* Addresses in network order, IPv4 in the first word. */
struct trace_tuple {
	__u32 source[4];
	__u32 destination[4];
	__u16 source_port;
	__u16 destination_port;
	__u8 family;   /* 4, 6; 0 where there is none */
	__u8 protocol;
	__u8 tcp_flags;
	__u8 ttl;
	__u8 icmp_type;
	__u8 icmp_code;
	__u16 length;
};

struct trace_route {
	__u32 table;
	__u32 ifindex;
	__u32 gateway[4];
	__u8 gateway_family; /* 0: none */
	__u8 pad[7];
	char device[16];
};

#define TRACE_FLAG_FOLLOWED 1 /* not the filter's own tuple: a translated leg or a reply of it */
#define TRACE_FLAG_INNER 2    /* `tuple` is that of the packet inside a tunnel's, `outer` the tunnel's */
#define TRACE_FLAG_OWN_SOCKET 4 /* a socket of this very namespace sends it */
#define TRACE_FLAG_STACK 8    /* a trace_stack follows */
#define TRACE_FLAG_OWNED 16   /* an owner that is asked for sends it */
#define TRACE_FLAG_FRAME 32   /* it is not IP, and `frame` is filled */

#define TRACE_TRACKED 1
#define TRACE_TRACKED_TRANSLATED 2
#define TRACE_TRACKED_REPLY 4 /* it goes from the answering end to the asking one */

/* As much as is kept of a packet that is not IP: its header, and ARP with padding. */
#define TRACE_FRAME_BYTES 64

/* One hop of one packet. */
struct trace_event {
	__u64 time;  /* CLOCK_MONOTONIC, ns */
	__u64 skb;
	__u64 head;
	__u64 location; /* of the code that dropped it */
	__u64 cookie;	/* of the socket */
	__u32 step;	/* enum trace_step */
	__u32 flags;
	__u32 cpu;
	__u32 netns;	/* inode; 0 where not known */
	__u32 ifindex;
	__u32 came_in;
	__u32 mark;
	__s32 code;
	__s32 extra;
	__u32 pid;
	__u32 sequence;
	__u32 acknowledgement;
	__u16 ip_id;
	__u16 fragment; /* offset in units of 8 bytes, and IP_MF */
	__u32 tracked; /* TRACE_TRACKED...; 0: conntrack does not know it */
	char device[16];
	char command[16];
	struct trace_tuple tuple;
	struct trace_tuple outer;
	struct trace_tuple original; /* conntrack's, where translated */
	struct trace_tuple reply;
	struct trace_route route;
	__u16 ether_type;   /* host order; below 1536 as the kernel numbers such frames */
	__u16 frame_length; /* of the whole */
	__u32 frame_copied;
	__u8 frame[TRACE_FRAME_BYTES]; /* from its Ethernet header on */
};

/* The first few frames are the tracing's own. */
#define TRACE_STACK_DEPTH 16

/* Follows an event with TRACE_FLAG_STACK. */
struct trace_stack {
	__u64 frames[TRACE_STACK_DEPTH];
};

struct trace_drop_event {
	struct trace_event event;
	struct trace_stack stack;
};

/* Follows an event of TRACE_CALLED. */
struct trace_call {
	__u32 function; /* enum trace_function */
	__s32 value;
	__u8 hook;	/* one more than netfilter's number; 0: none */
	__u8 family;	/* NFPROTO_IPV4 or NFPROTO_IPV6 */
	__u16 kind;	/* RTN_*; 0: not known */
	char table[32];
	char chain[32];
};

struct trace_call_event {
	struct trace_event event;
	struct trace_call call;
};

/* Why an event was not delivered; index of trace_counts.lost. */
enum trace_loss {
	TRACE_LOSS_RING,   /* the ring was full */
	TRACE_LOSS_BUDGET, /* more events than the budget allows in this second */
	TRACE_LOSSES,
};

/* Of one CPU: produced = delivered + lost, exactly. */
struct trace_counts {
	__u64 produced;
	__u64 lost[TRACE_LOSSES];
	__u64 legs_full; /* translated tuples that could not be remembered */
	__u64 window;	 /* the second that `used` is about */
	__u64 used;
	__u64 over_first; /* CLOCK_MONOTONIC, ns: when the budget was first kept, and last */
	__u64 over_last;
};

#endif
