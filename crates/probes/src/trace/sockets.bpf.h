/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Hooks that have no packet: sockets, route lookups, neighbours. */
#ifndef TAPROOT_TRACE_SOCKETS_H
#define TAPROOT_TRACE_SOCKETS_H

static __always_inline void fields_of_sock(struct headers *h, const struct sock_common *sk,
					   u8 protocol)
{
	bool v6;

	sk = plain(sk, sock_common);
	v6 = sk->skc_family == AF_INET6;
	__builtin_memset(h, 0, sizeof(*h));
	h->field[TRACE_FIELD_FAMILY] = v6 ? 6 : 4;
	h->field[TRACE_FIELD_PROTOCOL] = protocol;
	h->field[TRACE_FIELD_PORTS] = 1;
	h->field[TRACE_FIELD_SOURCE_PORT] = sk->skc_num;
	h->field[TRACE_FIELD_DESTINATION_PORT] = bpf_ntohs(sk->skc_dport);
	h->field[TRACE_FIELD_NETNS] = inode_of(sk->skc_net.net);
	if (!v6) {
		h->field[TRACE_FIELD_SOURCE] = bpf_ntohl(sk->skc_rcv_saddr);
		h->field[TRACE_FIELD_DESTINATION] = bpf_ntohl(sk->skc_daddr);
		return;
	}
	for (int i = 0; i < 4; i++) {
		h->field[TRACE_FIELD_SOURCE + i] =
			bpf_ntohl(sk->skc_v6_rcv_saddr.in6_u.u6_addr32[i]);
		h->field[TRACE_FIELD_DESTINATION + i] =
			bpf_ntohl(sk->skc_v6_daddr.in6_u.u6_addr32[i]);
	}
}

/* An event of a connection as its socket knows it; NULL: not of interest, or lost. */
static __always_inline struct trace_event *event_of_sock(struct sock_common *sk, u8 protocol,
							 u32 step)
{
	struct trace_event *event;
	struct headers h;

	if (sk->skc_family != AF_INET && sk->skc_family != AF_INET6)
		return NULL;
	fields_of_sock(&h, sk, protocol);
	if (asks_owner && is_full(sk))
		h.field[TRACE_FIELD_OWNED] = is_owned(cgroup_of((const struct sock *)sk));
	if (!evaluate(&h, 0) && !is_leg(&h))
		return NULL;
	event = event_new(step);
	if (!event)
		return NULL;
	event->netns = h.field[TRACE_FIELD_NETNS];
	fill_tuple(&event->tuple, &h);
	return event;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_state, struct sock *sk, int from, int to)
{
	struct trace_event *event;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	event = event_of_sock(&sk->__sk_common, IPPROTO_TCP, TRACE_SOCKET_STATE);
	if (!event)
		return 0;
	event->cookie = bpf_get_socket_cookie(sk);
	event->extra = from;
	event->code = to;
	/* Only a connect surely runs in the process that owns the socket. */
	if (to == TCP_SYN_SENT) {
		event->pid = bpf_get_current_pid_tgid() >> 32;
		bpf_get_current_comm(event->command, sizeof(event->command));
	}
	submit(event);
	return 0;
}

SEC("tp_btf/inet_sk_error_report")
int BPF_PROG(on_error, struct sock *sk)
{
	struct trace_event *event;

	event = event_of_sock(&sk->__sk_common, sk->sk_protocol, TRACE_SOCKET_ERROR);
	if (!event)
		return 0;
	event->cookie = bpf_get_socket_cookie(sk);
	event->code = sk->sk_err;
	submit(event);
	return 0;
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(on_receive_reset, struct sock *sk)
{
	struct trace_event *event;

	event = event_of_sock(&sk->__sk_common, IPPROTO_TCP, TRACE_RESET_RECEIVED);
	if (!event)
		return 0;
	event->cookie = bpf_get_socket_cookie(sk);
	submit(event);
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(on_retransmit, struct sock *sk, struct sk_buff *skb)
{
	struct sk_buff___trace *more = (struct sk_buff___trace *)skb;
	struct trace_event *event;

	event = event_of_sock(&sk->__sk_common, IPPROTO_TCP, TRACE_RETRANSMITTED);
	if (!event)
		return 0;
	/* tcp_skb_cb begins with the sequence number. */
	bpf_probe_read_kernel(&event->sequence, sizeof(event->sequence), &more->cb);
	event->skb = (u64)skb;
	event->cookie = bpf_get_socket_cookie(sk);
	submit(event);
	return 0;
}

SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(on_retransmit_synack, struct sock *sk, struct request_sock *request)
{
	struct trace_event *event;

	event = event_of_sock(&request->__req_common, IPPROTO_TCP, TRACE_RETRANSMITTED);
	if (!event)
		return 0;
	event->tuple.tcp_flags = 0x12;
	submit(event);
	return 0;
}

static __always_inline void fill_hop(struct trace_event *event, struct fib_nh_common *hop)
{
	struct net_device *dev;
	u8 family;

	if (!hop)
		return;
	dev = BPF_CORE_READ(hop, nhc_dev);
	family = BPF_CORE_READ(hop, nhc_gw_family);
	if (family == AF_INET) {
		event->route.gateway_family = 4;
		event->route.gateway[0] = BPF_CORE_READ(hop, nhc_gw.ipv4);
	} else if (family == AF_INET6) {
		event->route.gateway_family = 6;
		BPF_CORE_READ_INTO(&event->route.gateway, hop, nhc_gw.ipv6);
	}
	if (!dev)
		return;
	event->route.ifindex = BPF_CORE_READ(dev, ifindex);
	bpf_probe_read_kernel(event->route.device, sizeof(event->route.device), &dev->name);
	event->netns = BPF_CORE_READ(dev, nd_net.net, ns.inum);
}

static __always_inline void fields_of_flow(struct headers *h, const struct flowi4 *flow)
{
	__builtin_memset(h, 0, sizeof(*h));
	h->field[TRACE_FIELD_FAMILY] = 4;
	h->field[TRACE_FIELD_PROTOCOL] = flow->__fl_common.flowic_proto;
	h->field[TRACE_FIELD_SOURCE] = bpf_ntohl(flow->saddr);
	h->field[TRACE_FIELD_DESTINATION] = bpf_ntohl(flow->daddr);
	h->field[TRACE_FIELD_PORTS] = 1;
	h->field[TRACE_FIELD_SOURCE_PORT] = bpf_ntohs(flow->uli.ports.sport);
	h->field[TRACE_FIELD_DESTINATION_PORT] = bpf_ntohs(flow->uli.ports.dport);
}

/*
 * Whether what is looked up may be the kernel's own answer to the packet that the CPU is
 * busy with: a process that connects to the same host asks the same, but for the ports.
 */
static __always_inline bool may_answer(const struct current *current, const struct flowi4 *flow)
{
	return !has_ports(flow->__fl_common.flowic_proto) ||
	       (bpf_ntohs(flow->uli.ports.sport) == current->tuple.destination_port &&
		bpf_ntohs(flow->uli.ports.dport) == current->tuple.source_port);
}

SEC("tp_btf/fib_table_lookup")
int BPF_PROG(on_route, u32 table, struct flowi4 *flow, struct fib_nh_common *hop, int error)
{
	u32 source = flow->saddr, destination = flow->daddr;
	int came_in = flow->__fl_common.flowic_iif;
	struct of_cpu *cpu = of_cpu();
	struct trace_event *event;
	struct current *current;
	struct headers h;
	bool received, own;

	if (!cpu || (!asks_owner && is_for_refused(cpu, source, destination, came_in)))
		return 0;
	current = &cpu->current;
	received = is_of_received(came_in, flow->__fl_common.flowic_proto);
	own = (received || may_answer(current, flow)) &&
	      is_for_current(current, bpf_ntohl(source), bpf_ntohl(destination),
			     received ? BUSY_NS : CURRENT_NS);
	fields_of_flow(&h, flow);
	if (asks_owner)
		h.field[TRACE_FIELD_OWNED] = is_owned_task();
	if (!own && !evaluate(&h, 0) && !is_leg(&h))
		return 0;
	event = event_new(TRACE_ROUTED);
	if (!event)
		return 0;
	fill_tuple(&event->tuple, &h);
	event->code = error;
	event->route.table = table;
	if (own) {
		event->skb = current->skb;
		event->netns = current->netns;
		event->ip_id = current->ip_id;
		event->sequence = current->sequence;
		event->acknowledgement = current->acknowledgement;
	} else {
		/* No packet yet: a system call looks up its way. */
		event->netns = netns_of_task();
		event->extra = (u32)bpf_get_current_pid_tgid();
	}
	fill_hop(event, error ? NULL : hop);
	submit(event);
	return 0;
}

/* A UDP socket has taken the packet that this CPU is busy with. */
SEC("tp_btf/sk_data_ready")
int BPF_PROG(on_ready, struct sock *sk)
{
	struct of_cpu *cpu = of_cpu();
	struct trace_event *event;
	struct current *current;

	if (!cpu || !cpu->current.time || sk->sk_protocol != IPPROTO_UDP)
		return 0;
	current = &cpu->current;
	if (current->tuple.protocol != IPPROTO_UDP ||
	    current->tuple.destination_port != sk->__sk_common.skc_num ||
	    current->netns != netns_of_sock(sk) || !is_fresh(current, BUSY_NS))
		return 0;
	event = event_new(TRACE_DELIVERED);
	if (!event)
		return 0;
	event->skb = current->skb;
	event->ip_id = current->ip_id;
	event->tuple = current->tuple;
	event->netns = current->netns;
	event->cookie = bpf_get_socket_cookie(sk);
	submit(event);
	return 0;
}

/* Only for the packet that this CPU is busy with: a neighbour serves many. */
SEC("tp_btf/neigh_event_send_done")
int BPF_PROG(on_neighbour, struct neighbour *neigh)
{
	struct of_cpu *cpu = of_cpu();
	struct trace_event *event;
	struct current *current;
	int family;

	if (!cpu || !is_fresh(&cpu->current, CURRENT_NS))
		return 0;
	current = &cpu->current;
	/* Frames that are not IP need no neighbour: it is asked for again, by a timer. */
	if (!current->tuple.protocol)
		return 0;
	event = event_new(TRACE_NEIGHBOUR);
	if (!event)
		return 0;
	event->skb = current->skb;
	event->netns = current->netns;
	event->tuple = current->tuple;
	event->code = neigh->nud_state;
	family = BPF_CORE_READ(neigh, tbl, family);
	event->route.gateway_family = family == AF_INET ? 4 : family == AF_INET6 ? 6 : 0;
	bpf_probe_read_kernel(event->route.gateway, family == AF_INET ? 4 : 16,
			      &neigh->primary_key);
	event->ifindex = BPF_CORE_READ(neigh, dev, ifindex);
	bpf_probe_read_kernel(event->device, sizeof(event->device),
			      &BPF_CORE_READ(neigh, dev)->name);
	submit(event);
	return 0;
}

#endif
