// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * HTTP/1 at the socket's edge.
 *
 * The programs sit on cgroup_skb, where every TCP segment of the chosen control
 * groups passes with its socket, whatever system call (write, sendfile, splice,
 * io_uring) made it. Nothing outside these groups is touched, and no system call
 * gets slower. Each direction of a connection is a byte stream with positions:
 * TCP's own sequence numbers. A retransmission is bytes already parsed; the body
 * of a message is skipped by arithmetic, never read.
 *
 * Requests are counted here, exactly; the ring only carries samples.
 */
#include "stream.bpf.h"
#include "segment.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* State for a connection on which HTTP was recognised. */
static __always_inline struct connection *adopt(struct scratch *s, struct bpf_sock *sk, bool client)
{
	struct connection *c = &s->fresh;
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	struct http_key *key = &c->key;
	u32 near, far;

	/* All else in it was never written, and is zero. */
	__builtin_memset(key, 0, sizeof(*key));
	if (tcp)
		key->netns = tcp->inet_conn.icsk_inet.sk.__sk_common.skc_net.net->net_cookie;
	key->cgroup = bpf_sk_cgroup_id(sk);
	key->family = sk->family;
	key->role = client ? HTTP_ROLE_CLIENT : HTTP_ROLE_SERVER;
	READ(near, sk->src_port);
	READ(far, sk->dst_port);
	key->port = client ? bpf_ntohs(far) : near;
	c->peer_port = client ? near : bpf_ntohs(far);
	read_addresses(sk, key->local, key->remote);
	c = bpf_sk_storage_get(&connections, sk, c, BPF_SK_STORAGE_GET_F_CREATE);
	if (!c)
		lose(HTTP_LOST_STORAGE);
	return c;
}

/* How often to try for a connection that another CPU is at: some ten microseconds, more
 * than a parse takes. */
#define ENTER_TRIES 2048

/* One direction of a connection is parsed by one CPU at a time. */
static __always_inline bool enter(struct direction *d)
{
	u32 i;

	for (i = 0; i < ENTER_TRIES; i++)
		if (__sync_val_compare_and_swap(&d->busy, 0, 1) == 0)
			return true;
	lose(HTTP_LOST_BUSY);
	return false;
}

/* Not known: does it speak HTTP? A request tells who is who; so does a response
 * when we came late. */
static __always_inline struct connection *meet(struct __sk_buff *skb, struct packet *p, bool egress)
{
	bool request = looks_like(skb, p->offset, p->length, 0, true);
	struct connection *c = NULL;
	struct bpf_sock *sk;
	struct scratch *s;

	if (!request && !looks_like(skb, p->offset, p->length, 1, true))
		return NULL;
	sk = skb->sk;
	if (!sk)
		return NULL;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return NULL;
	s = take();
	if (!s)
		return NULL;
	c = adopt(s, sk, request == egress);
	give_back(s);
	return c;
}

static __always_inline void advance(struct __sk_buff *skb, struct connection *c, u32 which,
				    struct packet *p, u64 now, bool egress)
{
	struct segment g = { .skb = skb, .c = c, .which = which, .now = now };

	g.s = take();
	if (!g.s)
		return;
	g.s->arrived = egress || which ? 0 : arrived_at(skb);
	g.seq = p->seq;
	g.end = p->seq + p->length;
	g.offset = p->offset;
	parse(&g);
	give_back(g.s);
}

static __always_inline int segment(struct __sk_buff *skb, bool egress)
{
	struct bpf_sock *sk = skb->sk;
	struct connection *c;
	struct direction *d;
	struct packet p;
	u32 which, end, pid = 0;
	u64 now;

	if (!sk || !dissect(skb, &p) || p.protocol != IPPROTO_TCP || (!p.length && !(p.flags & FIN)))
		return 1;
	c = bpf_sk_storage_get(&connections, sk, NULL, 0);
	if (!c && p.length)
		c = meet(skb, &p, egress);
	if (!c)
		return 1;
	which = (c->key.role == HTTP_ROLE_CLIENT) != egress;
	d = &c->dir[which];
	if (d->phase == PHASE_DONE || (!p.length && d->phase != PHASE_CLOSE) || !enter(d))
		return 1;
	end = p.seq + p.length;
	now = bpf_ktime_get_ns();
	if (egress) {
		struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);

		pid = sender(tcp);
		if (which && tcp)
			note_sent(c, tcp, p.seq, end, now, pid);
	}
	if (p.length && d->phase < PHASE_CLOSE && !within_body(c, which, p.seq, end, now)) {
		if (egress)
			note_sender(c, which, pid);
		advance(skb, c, which, &p, now, egress);
	}
	close_body(c, which, end, p.flags & FIN, now);
	if (c->ended && egress && which)
		departs(skb, c, p.seq, now);
	__sync_lock_test_and_set(&d->busy, 0);
	return 1;
}

SEC("cgroup_skb/egress")
int http_egress(struct __sk_buff *skb)
{
	return segment(skb, true);
}

SEC("cgroup_skb/ingress")
int http_ingress(struct __sk_buff *skb)
{
	return segment(skb, false);
}

/* ---- the application's end of the socket -------------------------------- */

/*
 * Called after bytes were copied to whoever reads, in that thread. It is told of every
 * TCP socket of the machine; those without a connection of ours cost one look-up.
 * Readers and senders hold the socket's lock, so that nobody answers meanwhile.
 */
SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(http_read, struct sock *sk)
{
	struct connection *c = bpf_sk_storage_get(&connections, sk, NULL, 0);
	struct task_struct *task;
	struct tcp_sock *tcp;

	if (!c || c->key.role != HTTP_ROLE_SERVER || c->read == c->head)
		return 0;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return 0;
	task = bpf_get_current_task_btf();
	requests_read(c, tcp->copied_seq, task->pid, waited_for(sk, task));
	return 0;
}

/* ---- the end of a connection ------------------------------------------ */

/* What was asked and never answered is "unanswered", not some invented status. */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(http_destroy, struct sock *sk)
{
	struct connection *c = bpf_sk_storage_get(&connections, sk, NULL, 0);
	u64 now;
	u32 i;

	if (!c)
		return 0;
	now = bpf_ktime_get_ns();
	if (c->current_valid)
		response_done(c, now); /* its status was seen, its end was not */
	for (i = 0; i < PENDING + 1 && pop(c); i++) {
		c->first_byte = 0;
		finish(c, 0, 0, now);
	}
	last_departures(c);
	return 0;
}
