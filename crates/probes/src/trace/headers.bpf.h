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
	const u8 *l4;	/* where the transport's header begins; NULL: not known */
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
		h->field[TRACE_FIELD_ICMP_TYPE] = bpf_ntohs(first) >> 8;
		h->field[TRACE_FIELD_ICMP_CODE] = bpf_ntohs(first) & 0xff;
	}
}

static __always_inline void read_transport(struct headers *h, const u8 *l4)
{
	const struct udphdr *header;
	struct udphdr copy;

	h->l4 = l4;
	if (look(header, udphdr, l4, copy))
		fill_transport(h, header->source, header->destination);
}

/* The flags of TCP are the low byte of the word at 12. */
static __always_inline void read_flags(struct headers *h)
{
	const struct udphdr *header;
	struct udphdr copy;

	if (h->l4 && h->field[TRACE_FIELD_PROTOCOL] == IPPROTO_TCP &&
	    look(header, udphdr, h->l4 + 12, copy))
		h->field[TRACE_FIELD_TCP_FLAGS] = bpf_ntohs(header->source) & 0xff;
}

static __always_inline bool fill_v4(struct headers *h, const u8 *at, const union start *start)
{
	const struct iphdr *ip = &start->ip;

	if ((ip->version_length >> 4) != 4)
		return false;
	h->field[TRACE_FIELD_ETHERTYPE] = ETH_P_IP;
	h->field[TRACE_FIELD_FAMILY] = 4;
	h->field[TRACE_FIELD_PROTOCOL] = ip->protocol;
	h->field[TRACE_FIELD_SOURCE] = bpf_ntohl(ip->source);
	h->field[TRACE_FIELD_DESTINATION] = bpf_ntohl(ip->destination);
	h->field[TRACE_FIELD_LENGTH] = bpf_ntohs(ip->total);
	h->field[TRACE_FIELD_TTL] = ip->ttl;
	h->ip_id = bpf_ntohs(ip->id);
	h->fragment = bpf_ntohs(ip->fragment);
	if (h->fragment & IP_OFFSET)
		return true;
	if (ip->version_length == 0x45) {
		h->l4 = at + sizeof(*ip);
		fill_transport(h, start->ports[0], start->ports[1]);
	} else {
		read_transport(h, at + (ip->version_length & 15) * 4);
	}
	if (asks_flags)
		read_flags(h);
	return true;
}

static __always_inline bool read_v6(struct headers *h, const u8 *ip)
{
	const struct ipv6hdr *header;
	struct ipv6hdr copy;

	if (!look(header, ipv6hdr, ip, copy))
		return false;
	h->field[TRACE_FIELD_ETHERTYPE] = ETH_P_IPV6;
	h->field[TRACE_FIELD_FAMILY] = 6;
	h->field[TRACE_FIELD_PROTOCOL] = header->next;
	for (int i = 0; i < 4; i++) {
		h->field[TRACE_FIELD_SOURCE + i] = bpf_ntohl(header->source[i]);
		h->field[TRACE_FIELD_DESTINATION + i] = bpf_ntohl(header->destination[i]);
	}
	h->field[TRACE_FIELD_LENGTH] = bpf_ntohs(header->payload) + sizeof(*header);
	h->field[TRACE_FIELD_TTL] = header->hops;
	read_transport(h, ip + sizeof(*header));
	if (asks_flags)
		read_flags(h);
	return true;
}

/* Fills in what the headers say. False where they are no IP. */
static __always_inline bool read_headers(struct headers *h, const u8 *ip, u16 protocol)
{
	union start start;

	if (protocol == bpf_htons(ETH_P_IP))
		return read_start(&start, ip) && fill_v4(h, ip, &start);
	if (protocol == bpf_htons(ETH_P_IPV6))
		return read_v6(h, ip);
	return false;
}

static __always_inline bool is_vxlan(u32 port)
{
	return port == PORT_VXLAN || port == PORT_VXLAN_LINUX;
}

/* The packet inside a tunnel's; NULL where this is no tunnel that is known. */
static __always_inline const u8 *inside(const struct headers *h, u16 *protocol)
{
	u32 outer = h->field[TRACE_FIELD_PROTOCOL];
	u32 port = h->field[TRACE_FIELD_DESTINATION_PORT];
	u32 options = 0;
	u16 type = 0;

	if (!h->l4)
		return NULL;
	if (outer == IPPROTO_IPIP || outer == IPPROTO_IPV6) {
		*protocol = bpf_htons(outer == IPPROTO_IPIP ? ETH_P_IP : ETH_P_IPV6);
		return h->l4;
	}
	if (outer != IPPROTO_UDP || (!is_vxlan(port) && port != PORT_GENEVE))
		return NULL;
	if (port == PORT_GENEVE) {
		u8 length = 0;

		bpf_probe_read_kernel(&length, 1, h->l4 + sizeof(struct udphdr));
		options = (length & 0x3f) * 4;
	}
	/* UDP, eight bytes of the tunnel, its options, and an Ethernet header. */
	if (bpf_probe_read_kernel(&type, 2, h->l4 + 16 + options + 12))
		return NULL;
	*protocol = type;
	return h->l4 + 16 + options + 14;
}

#endif
