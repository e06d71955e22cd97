/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The life of a TCP socket, and sockets that were there before us. */
#ifndef TAPROOT_FLOW_SOCKETS_H
#define TAPROOT_FLOW_SOCKETS_H

/* Position of the error argument of tcp_retransmit_skb; 0 where there is none. */
const volatile u32 retransmit_error_at = 0;

/* The scan's two rounds: first who listens, then who is connected to what. */
u32 scan_round = 0;

static __always_inline u64 fin_received(const struct sock *sk)
{
	return (sk->__sk_common.skc_flags >> SOCK_DONE) & 1;
}

/*
 * Takes what a counter gained since it was last taken. Two takers (a close and
 * the periodic look) may meet: the one that loses the race leaves it be.
 */
static __always_inline void take(u64 *seen, u64 now, u64 *total)
{
	u64 before = *seen;

	if (now != before && __sync_val_compare_and_swap(seen, before, now) == before)
		add(total, now - before);
}

/* Payload sent for the first time, payload received without the FIN's place. */
static __always_inline u64 payload_sent(const struct tcp_sock *tp)
{
	return tp->bytes_sent - tp->bytes_retrans;
}

static __always_inline u64 payload_received(const struct tcp_sock *tp, const struct sock *sk)
{
	u64 received = tp->bytes_received;

	return received ? received - fin_received(sk) : 0;
}

/* Brings the edge up to date with its socket. */
static __always_inline struct flow_edge *settle(struct sock *sk, struct conn *conn)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct flow_edge *edge = edge_get(&conn->key);
	u64 rx, segments;

	if (!tp || !edge)
		return NULL;
	rx = payload_received(tp, sk);
	segments = tp->segs_in;
	if (segments != conn->seen_rx_segments && tp->srtt_us)
		record(edge->rtt, &edge->rtt_sum, (u64)(tp->srtt_us >> 3) * 1000);
	take(&conn->seen_tx_packets, conn->tx_packets, &edge->tx_packets);
	take(&conn->seen_tx_bytes, payload_sent(tp), &edge->tx_bytes);
	take(&conn->seen_rx_bytes, rx, &edge->rx_bytes);
	take(&conn->seen_rx_segments, segments, &edge->rx_segments);
	return edge;
}

/* Names the edge of a socket and remembers it there. */
static __always_inline struct conn *begin(struct sock *sk, u8 role, struct flow_edge **edge)
{
	u32 inum = sock_netns_inum(sk);
	struct conn *conn;

	if (!in_scope(inum))
		return NULL;
	conn = bpf_sk_storage_get(&conns, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!conn) {
		lost(FLOW_LOSS_SOCKET_STORAGE);
		return NULL;
	}
	__builtin_memset(conn, 0, sizeof(*conn));
	key_of_sock(&conn->key, &sk->__sk_common, role);
	*edge = edge_claim(&conn->key, sock_cgroup(sk), inum);
	return conn;
}

static __always_inline void dial(struct sock *sk)
{
	struct flow_edge *edge;
	struct conn *conn = begin(sk, FLOW_CLIENT, &edge);

	if (!conn)
		return;
	conn->started = bpf_ktime_get_ns();
	conn->dialling = 1;
}

static __always_inline void established(struct sock *sk, int from)
{
	struct conn *conn = bpf_sk_storage_get(&conns, sk, 0, 0);
	struct flow_edge *edge = NULL;
	u64 now = bpf_ktime_get_ns();

	if (conn && conn->dialling) {
		edge = edge_get(&conn->key);
		if (edge)
			record(edge->connect, &edge->connect_sum, now - conn->started);
	} else {
		conn = begin(sk, from == TCP_SYN_SENT ? FLOW_CLIENT : FLOW_SERVER, &edge);
	}
	if (!conn || !edge)
		return;
	if (edge->syn_only) {
		edge->syn_only = 0;
		__sync_fetch_and_add(&syn_only, -1);
	}
	conn->dialling = 0;
	conn->open = 1;
	edge->connected = now;
	add(&edge->connects, 1);
	add(&edge->opened, 1);
}

/* 0 stands for: given up by the program before an answer came. */
static __always_inline void failed(struct conn *conn, struct flow_edge *edge, u32 error)
{
	struct flow_failure_key key = { .error = error };
	u64 one = 1, *count;

	add(&edge->failed, 1);
	key.edge = conn->key;
	count = bpf_map_lookup_elem(&failures, &key);
	if (count)
		add(count, 1);
	else if (bpf_map_update_elem(&failures, &key, &one, BPF_NOEXIST))
		lost(FLOW_LOSS_FAILURES_FULL);
}

static __always_inline void listener_look(struct sock *sk, struct conn *conn)
{
	struct flow_listener *listener = listener_of(conn->key.netns, conn->key.port, IPPROTO_TCP);

	if (!listener)
		return;
	take(&conn->seen_drops, (u32)sk->sk_drops.counter, &listener->drops);
	listener->backlog = sk->sk_ack_backlog;
	listener->backlog_limit = sk->sk_max_ack_backlog;
}

static __always_inline void listening(struct sock *sk)
{
	u32 inum = sock_netns_inum(sk);
	struct conn *conn;

	if (!in_scope(inum))
		return;
	conn = bpf_sk_storage_get(&conns, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!conn) {
		lost(FLOW_LOSS_SOCKET_STORAGE);
		return;
	}
	__builtin_memset(conn, 0, sizeof(*conn));
	conn->listener = 1;
	conn->seen_drops = (u32)sk->sk_drops.counter;
	conn->key.netns = sk->__sk_common.skc_net.net->net_cookie;
	conn->key.port = sk->__sk_common.skc_num;
	listener_count(conn->key.netns, conn->key.port, IPPROTO_TCP, sock_cgroup(sk), inum, 1);
}

static __always_inline void closed(struct sock *sk)
{
	struct conn *conn = bpf_sk_storage_get(&conns, sk, 0, 0);
	struct flow_edge *edge;

	if (!conn)
		return;
	if (conn->listener) {
		listener_look(sk, conn);
		listener_count(conn->key.netns, conn->key.port, IPPROTO_TCP, sock_cgroup(sk),
			       sock_netns_inum(sk), -1);
		conn->listener = 0;
		return;
	}
	edge = settle(sk, conn);
	if (!edge)
		return;
	if (conn->open)
		add(&edge->closed, 1);
	else if (conn->dialling)
		failed(conn, edge, sk->sk_err);
	conn->open = 0;
	conn->dialling = 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_state, struct sock *sk, int from, int to)
{
	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (to == TCP_SYN_SENT)
		dial(sk);
	else if (to == TCP_ESTABLISHED && (from == TCP_SYN_SENT || from == TCP_SYN_RECV))
		established(sk, from);
	else if (to == TCP_LISTEN)
		listening(sk);
	else if (to == TCP_CLOSE)
		closed(sk);
	return 0;
}

/* After the close only a reset can still have been sent. */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(on_destroy, struct sock *sk)
{
	struct conn *conn = bpf_sk_storage_get(&conns, sk, 0, 0);
	struct flow_edge *edge;

	if (!conn || conn->listener || conn->tx_packets == conn->seen_tx_packets)
		return 0;
	edge = bpf_map_lookup_elem(&edges, &conn->key);
	if (edge)
		take(&conn->seen_tx_packets, conn->tx_packets, &edge->tx_packets);
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int on_retransmit(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct conn *conn = bpf_sk_storage_get(&conns, sk, 0, 0);
	struct flow_edge *edge;

	/* Newer kernels also report the segments they could not send. */
	if (retransmit_error_at == 2 && (int)ctx[2])
		return 0;
	if (!conn)
		return 0;
	edge = bpf_map_lookup_elem(&edges, &conn->key);
	if (!edge)
		return 0;
	add(&edge->retransmits, 1);
	if (conn->dialling)
		add(&edge->syn_retransmits, 1);
	return 0;
}

SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(on_retransmit_synack, struct sock *sk, struct request_sock *request)
{
	struct flow_edge *edge;
	struct flow_key key;

	key_of_sock(&key, &request->__req_common, FLOW_SERVER);
	edge = bpf_map_lookup_elem(&edges, &key);
	if (!edge)
		return 0;
	add(&edge->retransmits, 1);
	add(&edge->syn_retransmits, 1);
	return 0;
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(on_receive_reset, struct sock *sk)
{
	struct conn *conn = bpf_sk_storage_get(&conns, sk, 0, 0);
	struct flow_edge *edge;

	if (!conn)
		return 0;
	edge = bpf_map_lookup_elem(&edges, &conn->key);
	if (edge)
		add(&edge->resets_received, 1);
	return 0;
}

SEC("tp_btf/tcp_send_reset")
int BPF_PROG(on_send_reset, struct sock *sk, struct sk_buff *skb)
{
	struct flow_edge *edge = NULL;
	struct conn *conn = NULL;

	if (sk)
		conn = bpf_sk_storage_get(&conns, sk, 0, 0);
	if (conn && !conn->listener)
		edge = bpf_map_lookup_elem(&edges, &conn->key);
	else if (skb)
		edge = edge_of_received(skb);
	if (edge)
		add(&edge->resets_sent, 1);
	return 0;
}

static __always_inline void scan_listener(struct sock *sk, u8 proto)
{
	u32 inum = sock_netns_inum(sk);
	u64 netns = sk->__sk_common.skc_net.net->net_cookie;
	u16 port = sk->__sk_common.skc_num;

	if (proto == IPPROTO_TCP) {
		if (!bpf_sk_storage_get(&conns, sk, 0, 0))
			listening(sk);
		return;
	}
	if (in_scope(inum) && !listener_of(netns, port, IPPROTO_UDP))
		listener_count(netns, port, IPPROTO_UDP, sock_cgroup(sk), inum, 1);
}

/* A connection from before: what it moved so far is not ours to count. */
static __always_inline void scan_connection(struct sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	u64 netns = sk->__sk_common.skc_net.net->net_cookie;
	u16 port = sk->__sk_common.skc_num;
	struct flow_edge *edge = NULL;
	struct conn *conn;
	u8 role = FLOW_CLIENT;

	if (!tp || bpf_sk_storage_get(&conns, sk, 0, 0))
		return;
	if (listener_of(netns, port, IPPROTO_TCP))
		role = FLOW_SERVER;
	else if (port < bpf_ntohs(sk->__sk_common.skc_dport))
		role = FLOW_UNKNOWN;
	conn = begin(sk, role, &edge);
	if (!conn)
		return;
	conn->seen_tx_bytes = payload_sent(tp);
	conn->seen_rx_bytes = payload_received(tp, sk);
	conn->seen_rx_segments = tp->segs_in;
	conn->open = 1;
	if (edge)
		add(&edge->opened, 1);
}

static __always_inline void scan_sock(struct sock *sk)
{
	u8 state = sk->__sk_common.skc_state;
	u16 family = sk->__sk_common.skc_family;

	if (family != AF_INET && family != AF_INET6)
		return;
	if (sk->sk_protocol == IPPROTO_UDP) {
		if (scan_round == 0 && !sk->__sk_common.skc_dport &&
		    (BPF_CORE_READ_BITFIELD(sk, sk_userlocks) & SOCK_BINDPORT_LOCK))
			scan_listener(sk, IPPROTO_UDP);
		return;
	}
	if (sk->sk_protocol != IPPROTO_TCP)
		return;
	if (state == TCP_LISTEN && scan_round == 0)
		scan_listener(sk, IPPROTO_TCP);
	else if (scan_round == 1 && state != TCP_LISTEN && state != TCP_CLOSE &&
		 state != TCP_SYN_SENT && state != TCP_SYN_RECV)
		scan_connection(sk);
}

/* Every socket that some process holds open, in all network namespaces. */
SEC("iter/task_file")
int scan_files(struct bpf_iter__task_file *ctx)
{
	struct file *file = ctx->file;
	struct socket *socket;
	struct sock *sk;

	if (!file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (sk)
		scan_sock(sk);
	return 0;
}

/* Ports from here on are given out to those who ask for none (the kernel's default). */
#define EPHEMERAL_MIN 32768

/* A UDP server appears: its first datagram shall find its port known. */
static __always_inline int bound(struct bpf_sock *ctx)
{
	u16 port = ctx->src_port;
	u64 netns;

	if (ctx->protocol != IPPROTO_UDP || !port || port >= EPHEMERAL_MIN)
		return 1;
	netns = bpf_get_netns_cookie(ctx);
	if (!listener_of(netns, port, IPPROTO_UDP))
		listener_count(netns, port, IPPROTO_UDP, bpf_get_current_cgroup_id(), 0, 1);
	return 1;
}

SEC("cgroup/post_bind4")
int on_bind4(struct bpf_sock *ctx)
{
	return bound(ctx);
}

SEC("cgroup/post_bind6")
int on_bind6(struct bpf_sock *ctx)
{
	return bound(ctx);
}

#endif
