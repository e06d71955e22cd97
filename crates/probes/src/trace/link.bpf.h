/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The frame around a packet: its header, where there is one, and its tag. */
#ifndef TAPROOT_TRACE_LINK_H
#define TAPROOT_TRACE_LINK_H

/* Set before loading: whether the filter asks for a frame's header or tag. */
const volatile bool asks_link = false;

/* Set before loading: whether the filter asks for bytes of headers. */
const volatile bool asks_bytes = false;

/*
 * A number of an address, which functions that the verifier looks at once take: no
 * pointer to as much memory as there is. What a helper has copied, if only onto itself, the
 * verifier does not know any more.
 */
static __always_inline u64 as_number(const u8 *address)
{
	bpf_probe_read_kernel(&address, sizeof(address), &address);
	return (u64)address;
}

/* The same for the filter, where it asks for bytes. */
static __always_inline u64 number_of(const u8 *address)
{
	return asks_bytes ? as_number(address) : 0;
}

/*
 * Whether there is an Ethernet header right before this one: not on other kinds of
 * devices, and for IP not on the way out before the neighbour's address is known.
 */
static __always_inline bool follows_ethernet(struct sk_buff *skb, const u8 *at)
{
	return skb->mac_header != NO_HEADER &&
	       (u64)at - (u64)skb->head - skb->mac_header == ETH_HLEN;
}

static __always_inline bool is_framed(struct sk_buff *skb, const u8 *ip)
{
	return asks_link && follows_ethernet(skb, ip);
}

/* The tunnels over UDP carry frames. */
static __always_inline bool is_inner_framed(const struct headers *outer)
{
	return outer->field[TRACE_FIELD_PROTOCOL] == IPPROTO_UDP;
}

/* The tag that the kernel keeps beside the frame; 0: none. */
static __always_inline u32 tag_of(struct sk_buff *skb)
{
	struct sk_buff___tag *with = (struct sk_buff___tag *)skb;
	bool is_tagged;

	if (bpf_core_field_exists(with->vlan_present))
		is_tagged = BPF_CORE_READ_BITFIELD_PROBED(with, vlan_present);
	else
		is_tagged = with->vlan_proto;
	return is_tagged ? TRACE_VLAN_TAGGED | with->vlan_tci : 0;
}

/* Set before loading: whether the filter asks for packets that are not IP. */
const volatile bool asks_frames = false;

/* Where ARP's addresses lie, of Ethernet and IPv4. */
#define ARP_SOURCE 14
#define ARP_DESTINATION 24
#define ARP_BYTES 28

/* What there is to ask of a frame, whose header is followed by `length` bytes at `payload`. */
__noinline int fill_frame(struct headers *h, u64 payload, u32 type, u32 length)
{
	u32 source = 0, destination = 0;

	if (!h)
		return 0;
	h->field[TRACE_FIELD_FAMILY] = type << 8;
	h->field[TRACE_FIELD_LENGTH] = length;
	h->framed = true;
	if (type != ETH_P_ARP && type != ETH_P_RARP)
		return 1;
	h->field[TRACE_FIELD_FAMILY] |= 4;
	if (length < ARP_BYTES)
		return 1;
	bpf_probe_read_kernel(&source, sizeof(source), (const void *)(payload + ARP_SOURCE));
	bpf_probe_read_kernel(&destination, sizeof(destination),
			      (const void *)(payload + ARP_DESTINATION));
	h->field[TRACE_FIELD_SOURCE] = bpf_ntohl(source);
	h->field[TRACE_FIELD_DESTINATION] = bpf_ntohl(destination);
	return 1;
}

/* Bytes of a packet from here on that lie in one piece. */
static __always_inline u32 bytes_from(struct sk_buff *skb, const u8 *at)
{
	return (u64)skb->head + ((struct sk_buff___trace *)skb)->tail - (u64)at;
}

#endif
