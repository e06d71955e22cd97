// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * What connections of the chosen control groups say, for the parsers in user space.
 *
 * The programs sit on cgroup_skb, as those of http do: every TCP segment passes there
 * with its socket, whatever system call made it, and nothing outside the groups is
 * read. A segment becomes a record: its place in the stream (by TCP's sequence
 * numbers), its length, and as much of it as user space wants. Over UDP only what
 * reads like DNS is told.
 *
 * User space decides, connection by connection, what it wants to see. HTTP/1 is
 * recognised here and not copied at all: the http programs count it exactly.
 */
#include "tell.bpf.h"
#include "http1.bpf.h"
#include "dns.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* Payload of the socket that passed before this segment. */
struct before {
	u64 sent, received;
};

/* A segment that is sent for the first time is counted by its socket before it
 * comes here, and moves `snd_nxt` after it did. */
static __always_inline void look_back(struct before *b, struct tcp_sock *tcp, struct packet *p, bool outbound)
{
	b->sent = tcp->bytes_sent - tcp->bytes_retrans;
	b->received = tcp->bytes_received;
	if (outbound && (s32)(p->seq - tcp->snd_nxt) >= 0)
		b->sent -= p->length;
}

/*
 * Which end the socket is. The end that connected counts its SYN among the bytes
 * that were acknowledged (RFC 4898 has it so, and Linux does), the other does not.
 */
static __always_inline u8 role_of(struct tcp_sock *tcp, struct bpf_sock *sk, struct before *b)
{
	u32 acknowledged = tcp->bytes_acked;
	u32 in_flight = tcp->snd_nxt - tcp->snd_una;
	u32 syn = acknowledged - ((u32)b->sent - in_flight);

	if (sk->state != TCP_ESTABLISHED && sk->state != TCP_CLOSE_WAIT)
		return PAYLOAD_ROLE_UNKNOWN; /* our FIN may be counted as well */
	if (syn == 1)
		return PAYLOAD_ROLE_CLIENT;
	return syn ? PAYLOAD_ROLE_UNKNOWN : PAYLOAD_ROLE_SERVER;
}

/* State for a connection that was not seen before. */
static __always_inline struct connection *meet(struct __sk_buff *skb, struct packet *p, bool outbound)
{
	struct bpf_sock *sk = skb->sk;
	struct connection fresh = {};
	struct connection *c;
	struct tcp_sock *tcp;
	struct before b;

	if (!sk)
		return NULL;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return NULL;
	if (sk->state == TCP_LISTEN) {
		lose(PAYLOAD_LOST_HANDSHAKE, p->length);
		return NULL;
	}
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return NULL;
	look_back(&b, tcp, p, outbound);
	fresh.id = bpf_get_socket_cookie(skb);
	fresh.role = role_of(tcp, sk, &b);
	fresh.pristine = !b.sent && !b.received;
	if (fresh.pristine) {
		fresh.dir[0].base = tcp->rcv_nxt;
		fresh.dir[1].base = outbound ? p->seq : tcp->snd_nxt;
		fresh.dir[0].begun = fresh.dir[1].begun = 1;
	}
	c = bpf_sk_storage_get(&connections, sk, &fresh, BPF_SK_STORAGE_GET_F_CREATE);
	if (!c)
		lose(PAYLOAD_LOST_STORAGE, 1);
	return c;
}

/* Tells user space of the connection, if it does not know it yet. */
static __always_inline bool introduce(struct __sk_buff *skb, struct connection *c)
{
	struct bpf_sock *sk = skb->sk;
	struct tcp_sock *tcp;

	if (c->told)
		return true;
	if (!sk)
		return false;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return false;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return false;
	c->told = tell_open(c, sk, tcp);
	return c->told;
}

/* Begins anew with a connection, from the middle. */
static __always_inline void forget(struct connection *c)
{
	c->verdict = PAYLOAD_UNDECIDED;
	c->told = c->pristine = 0;
	c->copied = 0;
}

/* Takes over what user space decided since the last segment. */
static __always_inline void obey(struct connection *c)
{
	u64 id = c->id; /* on the stack: 6.1 takes no map key from elsewhere */
	u32 *verdict = bpf_map_lookup_elem(&verdicts, &id);

	if (!verdict)
		return;
	c->verdict = *verdict;
	bpf_map_delete_elem(&verdicts, &id);
	if (c->verdict == PAYLOAD_AGAIN)
		forget(c);
}

/* Of what is encrypted only the amount is told. */
static __always_inline void weigh(struct connection *c, struct packet *p)
{
	u64 now = bpf_ktime_get_ns();

	__sync_fetch_and_add(&c->passed, p->length);
	if (now - c->glanced < WEIGH_EVERY)
		return;
	c->glanced = now;
	tell_passed(c, now);
	obey(c);
}

/* Keeps HTTP/1 from being copied, and notices when a connection leaves it. */
static __always_inline void watch_http1(struct __sk_buff *skb, struct connection *c, struct packet *p)
{
	u8 beginning[HTTP1_BEGINNING] __attribute__((aligned(8)));

	if (p->length < sizeof(beginning) || bpf_skb_load_bytes(skb, p->offset, beginning, sizeof(beginning)))
		return;
	if (leaves_http1(beginning)) {
		forget(c);
	} else if (is_http1_request(beginning) || is_http1_response(beginning)) {
		c->verdict = PAYLOAD_HTTP1;
	}
}

/* How much of a segment is copied; less than nothing: it is not even told. */
static __always_inline s32 wanted(struct connection *c, struct packet *p)
{
	u32 most = p->length < PAYLOAD_MOST ? p->length : PAYLOAD_MOST;
	u64 now;

	switch (c->verdict) {
	case PAYLOAD_ALL:
		break;
	case PAYLOAD_UNDECIDED:
		if (c->copied + most > undecided_budget) {
			lose(PAYLOAD_LOST_UNDECIDED, most);
			return 0;
		}
		c->copied += most;
		break;
	case PAYLOAD_GLANCE:
		now = bpf_ktime_get_ns();
		if (now - c->glanced < GLANCE_EVERY && p->length)
			return -1;
		c->glanced = now;
		return p->length < GLANCE_BYTES ? p->length : GLANCE_BYTES;
	default:
		return -1;
	}
	if (p->length > most)
		lose(PAYLOAD_LOST_LONG, p->length - most);
	return most;
}

static __always_inline int segment(struct __sk_buff *skb, bool outbound)
{
	struct bpf_sock *sk = skb->sk;
	struct payload_piece piece = {};
	struct connection *c;
	struct direction *d;
	struct packet p;
	s32 count;

	if (!sk || !dissect(skb, &p))
		return 1;
	if (p.protocol == IPPROTO_UDP)
		return datagram(skb, &p, outbound);
	if (!p.length && !(p.flags & FIN))
		return 1;
	c = bpf_sk_storage_get(&connections, sk, NULL, 0);
	if (!c && p.length)
		c = meet(skb, &p, outbound);
	if (!c || c->verdict == PAYLOAD_NOTHING)
		return 1;
	if (c->verdict == PAYLOAD_SEALED) {
		weigh(c, &p);
		return 1;
	}
	if (c->verdict != PAYLOAD_HTTP1) /* of which user space knows nothing to say */
		obey(c);
	if (c->verdict == PAYLOAD_UNDECIDED || c->verdict == PAYLOAD_HTTP1)
		watch_http1(skb, c, &p);
	d = &c->dir[outbound];
	if (!d->begun && p.length) {
		d->base = p.seq;
		d->begun = 1;
	}
	count = wanted(c, &p);
	if (count < 0 || !d->begun)
		return 1;
	piece.offset = p.seq - d->base;
	piece.id = c->id;
	piece.time = bpf_ktime_get_ns();
	piece.length = p.length;
	piece.copied = count;
	piece.outbound = outbound;
	piece.fin = p.flags & FIN;
	piece.lost = d->lost;
	if (introduce(skb, c) && tell_piece(skb, &piece, p.offset)) {
		d->lost = 0;
	} else {
		d->lost += p.length;
		lose(PAYLOAD_LOST_RING, p.length);
	}
	return 1;
}

SEC("cgroup_skb/egress")
int payload_egress(struct __sk_buff *skb)
{
	return segment(skb, true);
}

SEC("cgroup_skb/ingress")
int payload_ingress(struct __sk_buff *skb)
{
	return segment(skb, false);
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(payload_destroy, struct sock *sk)
{
	struct connection *c = bpf_sk_storage_get(&connections, sk, NULL, 0);
	u64 id;

	if (!c || !c->told)
		return 0;
	id = c->id;
	bpf_map_delete_elem(&verdicts, &id);
	if (c->passed)
		tell_passed(c, bpf_ktime_get_ns());
	tell_close(id);
	return 0;
}
