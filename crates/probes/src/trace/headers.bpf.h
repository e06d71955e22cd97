/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* From a packet's bytes to the fields that a filter asks for. */
#ifndef TAPROOT_TRACE_HEADERS_H
#define TAPROOT_TRACE_HEADERS_H

/* Ports that tunnels over UDP use: VXLAN as IANA has it and as Linux had it, Geneve. */
#define PORT_VXLAN 4789
#define PORT_VXLAN_LINUX 8472
#define PORT_GENEVE 6081

/* Set before loading: whether the filter asks for TCP's flags. */
const volatile bool asks_flags = false;

/* One packet's headers, read once for each hop. */
struct headers {
	u32 field[TRACE_FIELDS];
	u16 l4;		/* bytes before the transport's header; 0: not known */
	bool framed;	/* Ethernet's header lies before it; set where the filter asks */
	u8 pad;
	u16 ip_id;
	u16 fragment;	/* host order, with the flags */
};

/* What an IPv4 packet begins with. As words it takes three loads, not a dozen. */
union start {
	u64 word[3];
	struct {
		struct iphdr ip;
		u16 ports[2]; /* where the header has no options */
	};
};

/* The same of IPv6, up to the ports. */
struct start_v6 {
	struct ipv6hdr ip;
	u16 ports[2];
};

static __always_inline bool read_start(union start *to, const u8 *ip)
{
	if (bpf_ksym_exists(bpf_rdonly_cast)) {
		/* Any of the kernel's types that begins with three numbers would do. */
		const struct itimerspec64 *from =
			bpf_rdonly_cast(ip, bpf_core_type_id_kernel(struct itimerspec64));

		to->word[0] = from->it_interval.tv_sec;
		to->word[1] = from->it_interval.tv_nsec;
		to->word[2] = from->it_value.tv_sec;
		return true;
	}
	return !bpf_probe_read_kernel(to, sizeof(*to), ip);
}

static __always_inline bool has_ports(u32 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

/* The first four bytes of the transport's header. */
static __always_inline void fill_transport(struct headers *h, u16 first, u16 second)
{
	u32 protocol = h->field[TRACE_FIELD_PROTOCOL];

	if (has_ports(protocol)) {
		h->field[TRACE_FIELD_PORTS] = 1;
		h->field[TRACE_FIELD_SOURCE_PORT] = bpf_ntohs(first);
		h->field[TRACE_FIELD_DESTINATION_PORT] = bpf_ntohs(second);
	} else if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6) {
		h->field[TRACE_FIELD_ICMP] = bpf_ntohs(first);
	}
}

/* The flags of TCP are the low byte of the word at 12. */
static __always_inline void read_flags(struct headers *h, const u8 *ip)
{
	const struct udphdr *header;
	struct udphdr copy;

	if (h->l4 && h->field[TRACE_FIELD_PROTOCOL] == IPPROTO_TCP &&
	    look(header, udphdr, ip + h->l4 + 12, copy))
		h->field[TRACE_FIELD_TCP_FLAGS] = bpf_ntohs(header->source) & 0xff;
}

/* 0 where it is no IPv4; transport headers behind options are not looked at. */
__noinline int fill_v4(struct headers *h, const union start *start)
{
	const struct iphdr *ip = &start->ip;

	if (!h || !start || (ip->version_length >> 4) != 4)
		return 0;
	h->field[TRACE_FIELD_FAMILY] = 4;
	h->field[TRACE_FIELD_PROTOCOL] = ip->protocol;
	h->field[TRACE_FIELD_SOURCE] = bpf_ntohl(ip->source);
	h->field[TRACE_FIELD_DESTINATION] = bpf_ntohl(ip->destination);
	h->field[TRACE_FIELD_LENGTH] = bpf_ntohs(ip->total);
	h->field[TRACE_FIELD_TTL] = ip->ttl;
	h->ip_id = bpf_ntohs(ip->id);
	h->fragment = bpf_ntohs(ip->fragment);
	if (h->fragment & IP_OFFSET)
		return 1;
	h->l4 = (ip->version_length & 15) * 4;
	if (h->l4 == sizeof(*ip))
		fill_transport(h, start->ports[0], start->ports[1]);
	return 1;
}

__noinline int fill_v6(struct headers *h, const struct start_v6 *start)
{
	const struct ipv6hdr *ip = &start->ip;

	if (!h || !start)
		return 0;
	h->field[TRACE_FIELD_FAMILY] = 6;
	h->field[TRACE_FIELD_PROTOCOL] = ip->next;
	for (int i = 0; i < 4; i++) {
		h->field[TRACE_FIELD_SOURCE + i] = bpf_ntohl(ip->source[i]);
		h->field[TRACE_FIELD_DESTINATION + i] = bpf_ntohl(ip->destination[i]);
	}
	h->field[TRACE_FIELD_LENGTH] = bpf_ntohs(ip->payload) + sizeof(*ip);
	h->field[TRACE_FIELD_TTL] = ip->hops;
	h->l4 = sizeof(*ip);
	fill_transport(h, start->ports[0], start->ports[1]);
	return 1;
}

/* What the packet's beginning does not hold. */
static __always_inline void read_rest(struct headers *h, const u8 *ip)
{
	u16 ports[2];

	if (h->field[TRACE_FIELD_FAMILY] == 4 && h->l4 > sizeof(struct iphdr) &&
	    !bpf_probe_read_kernel(ports, sizeof(ports), ip + h->l4))
		fill_transport(h, ports[0], ports[1]);
	if (asks_flags)
		read_flags(h, ip);
}

/*
 * Fills in what the headers at this address say; 0 where they are no IP. Global for the
 * sake of the stack: what it reads is not kept beside what its caller has read.
 */
__noinline int read_headers(struct headers *h, u64 address, u32 protocol)
{
	const u8 *ip = (const u8 *)address;
	union {
		union start v4;
		struct start_v6 v6;
	} start;

	if (!h)
		return 0;
	if (protocol == bpf_htons(ETH_P_IPV6)) {
		if (bpf_probe_read_kernel(&start.v6, sizeof(start.v6), ip) ||
		    !fill_v6(h, &start.v6))
			return 0;
	} else if (protocol == bpf_htons(ETH_P_IP)) {
		if (!read_start(&start.v4, ip) || !fill_v4(h, &start.v4))
			return 0;
	} else {
		return 0;
	}
	read_rest(h, ip);
	return 1;
}

static __always_inline bool is_vxlan(u32 port)
{
	return port == PORT_VXLAN || port == PORT_VXLAN_LINUX;
}

/* The packet inside the tunnel's at `ip`; NULL where this is no tunnel that is known. */
static __always_inline const u8 *inside(const struct headers *h, const u8 *ip, u16 *protocol)
{
	u32 outer = h->field[TRACE_FIELD_PROTOCOL];
	u32 port = h->field[TRACE_FIELD_DESTINATION_PORT];
	const u8 *l4 = ip + h->l4;
	u32 options = 0;
	u16 type = 0;

	if (!h->l4)
		return NULL;
	if (outer == IPPROTO_IPIP || outer == IPPROTO_IPV6) {
		*protocol = bpf_htons(outer == IPPROTO_IPIP ? ETH_P_IP : ETH_P_IPV6);
		return l4;
	}
	if (outer != IPPROTO_UDP || (!is_vxlan(port) && port != PORT_GENEVE))
		return NULL;
	if (port == PORT_GENEVE) {
		u8 length = 0;

		bpf_probe_read_kernel(&length, 1, l4 + sizeof(struct udphdr));
		options = (length & 0x3f) * 4;
	}
	/* UDP, eight bytes of the tunnel, its options, and an Ethernet header. */
	if (bpf_probe_read_kernel(&type, 2, l4 + 16 + options + 12))
		return NULL;
	*protocol = type;
	return l4 + 16 + options + 14;
}

#endif
