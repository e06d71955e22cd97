/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* DNS over UDP, told by its header. */
#ifndef TAPROOT_PAYLOAD_DNS
#define TAPROOT_PAYLOAD_DNS

#include "tell.bpf.h"

#define DNS_HEADER 12
#define DNS_SHORTEST 17 /* header, empty name, type, class */

/*
 * One question; a query carries nothing else but the options of EDNS and a
 * signature. Of other traffic one datagram in some hundred million reads so.
 */
static __always_inline bool is_dns(u8 *h)
{
	bool answer = h[2] & 0x80, standard = !(h[2] & 0x78) && !(h[3] & 0x40);
	u32 questions = h[4] << 8 | h[5], answers = h[6] << 8 | h[7];
	u32 authorities = h[8] << 8 | h[9], additional = h[10] << 8 | h[11];

	if (!standard || questions != 1)
		return false;
	if (answer)
		return answers < 256 && authorities < 256 && additional < 256;
	return !(h[3] & 0x8f) && !answers && !authorities && additional <= 2;
}

/* Both addresses, from the packet: a server's socket is bound to neither. */
static __always_inline bool read_ends(struct __sk_buff *skb, struct packet *p, bool outbound, struct payload_ends *ends)
{
	u8 *from = outbound ? ends->local : ends->remote, *to = outbound ? ends->remote : ends->local;
	u16 ports[2];
	u8 version;

	if (bpf_skb_load_bytes(skb, 0, &version, 1) ||
	    bpf_skb_load_bytes(skb, p->offset - 8, ports, sizeof(ports)))
		return false;
	ends->local_port = bpf_ntohs(outbound ? ports[0] : ports[1]);
	ends->remote_port = bpf_ntohs(outbound ? ports[1] : ports[0]);
	if (version >> 4 == 4) {
		ends->family = AF_INET;
		return !bpf_skb_load_bytes(skb, 12, from, 4) && !bpf_skb_load_bytes(skb, 16, to, 4);
	}
	ends->family = AF_INET6;
	return !bpf_skb_load_bytes(skb, 8, from, 16) && !bpf_skb_load_bytes(skb, 24, to, 16);
}

#define TELL_DATAGRAM(size)                                                                 \
	do {                                                                                \
		out = bpf_ringbuf_reserve(&records, sizeof(*out) + (size), 0);               \
		if (!out) {                                                                 \
			lose(PAYLOAD_LOST_RING, count);                                     \
			return;                                                             \
		}                                                                           \
		*out = *head;                                                               \
		if (!copy(skb, offset, out + 1, count, size)) {                              \
			lose(PAYLOAD_LOST_COPY, count);                                     \
			out->copied = 0;                                                    \
		}                                                                           \
		bpf_ringbuf_submit(out, BPF_RB_NO_WAKEUP);                                   \
	} while (0)

static __always_inline void tell_datagram(struct __sk_buff *skb, struct payload_datagram *head, u32 offset)
{
	struct payload_datagram *out;
	u32 count = head->copied;

	if (count <= 64)
		TELL_DATAGRAM(64);
	else if (count <= 128)
		TELL_DATAGRAM(128);
	else
		TELL_DATAGRAM(PAYLOAD_DATAGRAM_MOST);
}

static __noinline int datagram(struct __sk_buff *skb, struct packet *p, bool outbound)
{
	struct payload_datagram head = {};
	struct bpf_sock *sk = skb->sk;
	u8 header[DNS_HEADER];

	if (p->length < DNS_SHORTEST || !sk ||
	    bpf_skb_load_bytes(skb, p->offset, header, sizeof(header)) || !is_dns(header))
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk || !read_ends(skb, p, outbound, &head.ends))
		return 1;
	head.kind = PAYLOAD_DATAGRAM;
	head.length = p->length;
	head.id = bpf_get_socket_cookie(skb);
	head.time = bpf_ktime_get_ns();
	head.copied = p->length < PAYLOAD_DATAGRAM_MOST ? p->length : PAYLOAD_DATAGRAM_MOST;
	head.outbound = outbound;
	head.ends.cgroup = bpf_sk_cgroup_id(sk);
	tell_datagram(skb, &head, p->offset);
	return 1;
}

#endif
