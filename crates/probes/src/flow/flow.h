/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the flow programs and their reader share. The Rust types are made from this. */
#ifndef TAPROOT_FLOW_H
#define TAPROOT_FLOW_H

/* Which end of an edge the local socket is. */
enum flow_role {
	FLOW_UNKNOWN,
	FLOW_CLIENT,
	FLOW_SERVER,
};

/* Why something was not accounted; index of `losses`. */
enum flow_loss {
	FLOW_LOSS_EDGES_FULL,	  /* no room for an edge */
	FLOW_LOSS_SOCKET_STORAGE, /* no memory for a socket's record: its edge is unseen */
	FLOW_LOSS_FRAGMENT,	  /* IP fragment without ports */
	FLOW_LOSS_HEADER,	  /* VLAN tag or IPv6 extension header before TCP or UDP */
	FLOW_LOSS_DROPS_FULL,	  /* no room to tell a drop by its edge */
	FLOW_LOSS_LISTENERS_FULL, /* no room for a listening port */
	FLOW_LOSS_FAILURES_FULL,  /* no room to tell failed connects by errno */
	FLOW_LOSS_SHARED,	  /* packet of an edge that several cgroups share */
	FLOW_LOSS_SYN_ONLY,	  /* first SYN of a new peer not kept, too many such */
	FLOW_LOSSES,
};

/* Latency buckets kept: octaves 10 (1 us) to 33 (17 s), eight each. */
#define FLOW_BUCKET_FIRST 80
#define FLOW_BUCKETS 192

/*
 * One edge as one end sees it. The client's ephemeral port is left out, so that
 * a connection per request costs no entry per connection. IPv4 is mapped into
 * IPv6. `cgroup` is 0 but where a second cgroup of the same network namespace
 * uses the same edge: a packet alone does not tell the two apart.
 */
struct flow_key {
	__u64 netns;  /* cookie */
	__u64 cgroup;
	__u8 local[16];
	__u8 remote[16];
	__u16 port;   /* of the server */
	__u8 proto;   /* IPPROTO_TCP, IPPROTO_UDP */
	__u8 role;    /* enum flow_role */
	__u32 pad;
};

/*
 * The same edge as a packet finds it: small, because every packet hashes it.
 * Namespace cookies are counted up, so their lower half tells them apart. IPv6
 * addresses are folded. An edge says which entry is its own.
 */
struct flow_packet_key {
	__u32 netns;
	__u32 local;
	__u32 remote;
	__u16 port;
	__u8 proto;
	__u8 role; /* FLOW_PACKET_V6 added where addresses are folded */
};

#define FLOW_PACKET_V6 0x80

/* What packets alone tell of an edge: all of UDP; TCP's that have no full socket. */
struct flow_packets {
	__u64 owner; /* as in the edge */
	__u64 tx_bytes;
	__u64 rx_bytes;
	__u64 tx_packets;
	__u64 rx_packets;
	__u32 shared; /* as in the edge */
	__u32 pad;
};

/* Totals of one edge since it was made; those of its packets are to be added. */
struct flow_edge {
	struct flow_packet_key packets; /* zero where the packets are another cgroup's */
	__u64 owner;	 /* cgroup id of the socket */
	__u32 netns_inum;
	__u16 shared;	 /* a second cgroup has an entry of its own */
	__u16 syn_only;	 /* a peer's first packet made it, no connection so far */
	__u64 tx_bytes;
	__u64 rx_bytes;
	__u64 tx_packets;
	__u64 rx_segments; /* as the sockets count them, for edges whose packets are translated */
	__u64 retransmits;
	__u64 syn_retransmits;
	__u64 connects;
	__u64 failed;
	__u64 resets_sent;
	__u64 resets_received;
	__u64 opened;	 /* connections, also those that were open at start */
	__u64 closed;
	__u64 connected; /* when the last connection was established, monotonic */
	__u64 told;	 /* sum of the counters when it was last reported */
	__u64 rtt_sum;	 /* nanoseconds */
	__u64 connect_sum;
	__u32 rtt[FLOW_BUCKETS];
	__u32 connect[FLOW_BUCKETS];
};

/* One edge as the periodic report gives it; only those that changed or are open. */
struct flow_report {
	struct flow_key key;
	struct flow_edge edge;
	struct flow_packets packets;
};

/* Failed connects of an edge by errno. */
struct flow_failure_key {
	struct flow_key edge;
	__u32 error;
	__u32 pad;
};

/*
 * Dropped packets. Addresses are zero where the headers could not be read. Which
 * end is the server is told by a listening port of this machine, else by the
 * lower port.
 */
struct flow_drop_key {
	__u64 netns; /* where it died; 0 where unknown */
	__u8 client[16];
	__u8 server[16];
	__u16 port;
	__u8 proto;
	__u8 to_server; /* 1: it went to the server */
	__u32 reason;
};

struct flow_drop {
	__u64 count;
	__u64 location; /* kernel address of the last one */
	__u64 told;	/* count when it was last reported */
	__u32 netns_inum;
	__u32 pad;
};

/* Drops as the periodic report gives them; only those that were added to. */
struct flow_drop_report {
	struct flow_drop_key key;
	struct flow_drop drop;
};

/* A listening TCP port or a bound UDP port. netns 0 stands for "anywhere". */
struct flow_listener_key {
	__u64 netns;
	__u16 port;
	__u8 proto;
	__u8 pad[5];
};

struct flow_listener {
	__u64 owner;
	__u64 drops;	     /* connections the listener dropped (overflow), exact */
	__u32 sockets;
	__u32 backlog;	     /* connections waiting for accept, at the last look */
	__u32 backlog_limit;
	__u32 netns_inum;
};

#endif
