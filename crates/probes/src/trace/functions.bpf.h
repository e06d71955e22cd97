/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Hooks on functions, where a kernel allows them: what decides over a packet, and how.
 * A packet that its function has given away is not looked at when it returns: of those
 * the drop's own tracepoint tells.
 */
#ifndef TAPROOT_TRACE_FUNCTIONS_H
#define TAPROOT_TRACE_FUNCTIONS_H

#ifndef __TARGET_ARCH_x86
#include <asm/ptrace.h>
#endif

/* include/uapi/linux/netfilter.h */
#define NF_ACCEPT 1
#define NF_STOLEN 2
#define NF_VERDICT_MASK 0xff
#define NFPROTO_IPV4 2
#define NFPROTO_IPV6 10
/* include/uapi/linux/rtnetlink.h and ipv6_route.h */
#define RTN_UNICAST 1
#define RTN_LOCAL 2
#define RTF_LOCAL 0x80000000
/* The pointer to a route in skb->_skb_refdst; the lowest bit says who holds it. */
#define DST_PTRMASK (~1ul)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct nf_hook_state {
	u8 hook;
	u8 pf;
	struct net_device *in;
	struct net_device *out;
	struct net *net;
};

struct xt_table {
	char name[32];
};

struct nft_table {
	char *name;
};

struct nft_chain {
	struct nft_table *table;
	char *name;
};

struct nft_pktinfo {
	struct sk_buff *skb;
	const struct nf_hook_state *state;
};

struct dst_entry {
	struct net_device *dev;
	short error;
};

struct rtable {
	struct dst_entry dst;
	u16 rt_type;
};

struct rt6_info {
	struct dst_entry dst;
	u32 rt6i_flags;
};

struct sk_buff___dst {
	unsigned long _skb_refdst;
};

#pragma clang attribute pop

#ifdef __TARGET_ARCH_x86
/* As the machine's interface has it, by the names that the kernel has for registers. */
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
	unsigned long orig_ax, ip, cs, flags, sp, ss;
};
#endif

static __always_inline s32 returned(void *ctx)
{
	u64 value = 0;

	bpf_get_func_ret(ctx, &value);
	return value;
}

/* Room for what a function did with the packet looked at. */
static __always_inline struct trace_call_event *call_new(struct look_at *it, u32 function)
{
	u64 now = bpf_ktime_get_ns();
	struct trace_call_event *call = reserve(sizeof(*call), now);

	if (!call)
		return NULL;
	__builtin_memset(call, 0, sizeof(*call));
	call->event.time = now;
	call->event.step = TRACE_CALLED;
	call->event.cpu = bpf_get_smp_processor_id();
	fill_packet(&call->event, it);
	call->call.function = function;
	call->call.family = it->h.field[TRACE_FIELD_FAMILY] == 6 ? NFPROTO_IPV6 : NFPROTO_IPV4;
	return call;
}

/* A place in netfilter: the packet's device may not be set yet, or not any more. */
static __always_inline bool begin_hook(struct look_at *it, struct sk_buff *skb,
				       const struct nf_hook_state *state)
{
	if (state->pf != NFPROTO_IPV4 && state->pf != NFPROTO_IPV6)
		return false;
	begin_look(it, skb, AT_HOOK);
	it->dev = state->out ? state->out : state->in;
	it->netns = inode_of(state->net);
	return true;
}

static __always_inline struct trace_call_event *hooked(struct look_at *it, u32 function,
						       const struct nf_hook_state *state,
						       s32 verdict)
{
	struct trace_call_event *call;

	if (!wanted(it))
		return NULL;
	call = call_new(it, function);
	if (!call)
		return NULL;
	call->call.value = verdict;
	call->call.hook = state->hook + 1;
	return call;
}

/* All of a hook's rules let it go on. */
SEC("fexit/nf_hook_slow")
int BPF_PROG(on_hook, struct sk_buff *skb, struct nf_hook_state *state)
{
	struct trace_call_event *call;
	struct look_at it;

	if (returned(ctx) != NF_ACCEPT || !begin_hook(&it, skb, state))
		return 0;
	call = hooked(&it, TRACE_CALL_HOOK, state, NF_ACCEPT);
	if (call)
		submit(call);
	return 0;
}

/*
 * A table of iptables has decided: its arguments are table, packet and state. They are read
 * again where they are needed, because the stack has no room to keep them.
 */
static __always_inline int table_done(unsigned long long *ctx)
{
	struct trace_call_event *call;
	struct xt_table *table;
	struct look_at it;

	if ((returned(ctx) & NF_VERDICT_MASK) > NF_ACCEPT ||
	    !begin_hook(&it, (struct sk_buff *)ctx[1], (struct nf_hook_state *)ctx[2]))
		return 0;
	call = hooked(&it, TRACE_CALL_TABLE, (struct nf_hook_state *)ctx[2],
		      returned(ctx) & NF_VERDICT_MASK);
	if (!call)
		return 0;
	table = (struct xt_table *)ctx[0];
	bpf_probe_read_kernel_str(call->call.table, sizeof(call->call.table), table->name);
	submit(call);
	return 0;
}

SEC("fexit/ipt_do_table")
int on_table(unsigned long long *ctx)
{
	return table_done(ctx);
}

SEC("fexit/ip6t_do_table")
int on_table6(unsigned long long *ctx)
{
	return table_done(ctx);
}

static __always_inline void fill_chain(struct trace_call *call, const struct nft_chain *chain)
{
	struct nft_table *table = BPF_CORE_READ(chain, table);

	bpf_probe_read_kernel_str(call->chain, sizeof(call->chain), BPF_CORE_READ(chain, name));
	bpf_probe_read_kernel_str(call->table, sizeof(call->table), BPF_CORE_READ(table, name));
}

/*
 * Newer kernels free the packet in the chain that drops it: what it was, its drop has
 * told this CPU. The decision came before.
 */
static __always_inline int freed_by(const struct nft_chain *chain, u64 skb,
				    const struct nf_hook_state *state)
{
	struct of_cpu *cpu = of_cpu();
	struct trace_call_event *call;

	if (!cpu || !skb || cpu->dropped.skb != skb)
		return 0;
	call = reserve(sizeof(*call), bpf_ktime_get_ns());
	if (!call)
		return 0;
	__builtin_memset(call, 0, sizeof(*call));
	call->event = cpu->dropped;
	cpu->dropped.skb = 0;
	call->event.time--;
	call->event.step = TRACE_CALLED;
	call->event.flags &= ~TRACE_FLAG_STACK;
	call->call.function = TRACE_CALL_CHAIN;
	call->call.hook = state->hook + 1;
	call->call.family = call->event.tuple.family == 6 ? NFPROTO_IPV6 : NFPROTO_IPV4;
	fill_chain(&call->call, chain);
	submit(call);
	return 0;
}

/* A base chain of nftables has decided. */
SEC("fexit/nft_do_chain")
int BPF_PROG(on_chain, struct nft_pktinfo *packet, void *chain)
{
	const struct nf_hook_state *state = packet->state;
	s32 verdict = returned(ctx) & NF_VERDICT_MASK;
	struct trace_call_event *call;
	struct look_at it;

	/* With an error it was dropped, else others have it now. */
	if (verdict == NF_STOLEN && returned(ctx) >> 16)
		return freed_by(chain, (u64)packet->skb, state);
	if (verdict > NF_ACCEPT || !begin_hook(&it, packet->skb, state))
		return 0;
	call = hooked(&it, TRACE_CALL_CHAIN, state, verdict);
	if (!call)
		return 0;
	fill_chain(&call->call, chain);
	submit(call);
	return 0;
}

/* Addresses are written over; `kind` 0: the source, else the destination. */
SEC("fexit/nf_nat_manip_pkt")
int BPF_PROG(on_translation, struct sk_buff *skb, void *ct, u32 kind)
{
	struct trace_call_event *call;
	struct look_at it;

	if ((returned(ctx) & NF_VERDICT_MASK) != NF_ACCEPT)
		return 0;
	begin_look(&it, skb, AT_DROP);
	if (!wanted(&it))
		return 0;
	call = call_new(&it, TRACE_CALL_TRANSLATION);
	if (!call)
		return 0;
	call->call.value = kind;
	submit(call);
	return 0;
}

static __always_inline u16 kind_of_route(const struct rtable *route, bool is_v6)
{
	if (!is_v6)
		return BPF_CORE_READ(route, rt_type);
	if (BPF_CORE_READ((const struct rt6_info *)route, rt6i_flags) & RTF_LOCAL)
		return RTN_LOCAL;
	return RTN_UNICAST;
}

/* The route that a received packet has now. */
static __always_inline int decided(struct sk_buff *skb, s32 value)
{
	struct sk_buff___dst *with = (struct sk_buff___dst *)skb;
	struct trace_call_event *call;
	struct net_device *dev;
	struct look_at it;
	struct rtable *route;

	begin_look(&it, skb, AT_DEVICE);
	if (!wanted(&it))
		return 0;
	call = call_new(&it, TRACE_CALL_DECISION);
	if (!call)
		return 0;
	call->call.value = value;
	route = (struct rtable *)(with->_skb_refdst & DST_PTRMASK);
	if (!value && route) {
		/* IPv4 keeps errors as positive numbers, IPv6 as negative ones. */
		value = BPF_CORE_READ(route, dst.error);
		call->call.value = value > 0 ? -value : value;
		call->call.kind = kind_of_route(route, call->call.family == NFPROTO_IPV6);
		dev = BPF_CORE_READ(route, dst.dev);
		if (dev)
			bpf_probe_read_kernel_str(call->call.table, sizeof(call->event.device),
						  dev->name);
	}
	submit(call);
	return 0;
}

SEC("fexit/ip_route_input_noref")
int BPF_PROG(on_decision, struct sk_buff *skb)
{
	return decided(skb, returned(ctx));
}

SEC("fexit/ip6_route_input")
int BPF_PROG(on_decision6, struct sk_buff *skb)
{
	return decided(skb, 0);
}

/* A socket gets it; at its beginning, because afterwards the packet is the socket's. */
static __always_inline int reached(struct sock *sk, struct sk_buff *skb, u32 function)
{
	struct trace_call_event *call;
	struct look_at it;

	begin_look(&it, skb, AT_SOCKET);
	it.sk = sk;
	if (!wanted(&it))
		return 0;
	call = call_new(&it, function);
	if (!call)
		return 0;
	call->event.cookie = bpf_get_socket_cookie(sk);
	call->call.value = sk->__sk_common.skc_state;
	submit(call);
	return 0;
}

SEC("fentry/tcp_v4_do_rcv")
int BPF_PROG(on_segment, struct sock *sk, struct sk_buff *skb)
{
	return reached(sk, skb, TRACE_CALL_SEGMENT);
}

SEC("fentry/tcp_v6_do_rcv")
int BPF_PROG(on_segment6, struct sock *sk, struct sk_buff *skb)
{
	return reached(sk, skb, TRACE_CALL_SEGMENT);
}

SEC("fentry/__udp_enqueue_schedule_skb")
int BPF_PROG(on_datagram, struct sock *sk, struct sk_buff *skb)
{
	return reached(sk, skb, TRACE_CALL_DATAGRAM);
}

/* A program of a control group refuses it. */
SEC("fexit/__cgroup_bpf_run_filter_skb")
int BPF_PROG(on_group, struct sock *sk, struct sk_buff *skb)
{
	s32 value = returned(ctx);
	struct trace_call_event *call;
	struct look_at it;

	if (value >= 0)
		return 0;
	begin_look(&it, skb, AT_SOCKET);
	it.sk = sk;
	if (!wanted(&it))
		return 0;
	call = call_new(&it, TRACE_CALL_GROUP);
	if (!call)
		return 0;
	call->call.value = value;
	submit(call);
	return 0;
}

/* All are read at once: a register chosen first would be read by a computed address. */
static __always_inline u64 argument_of(struct pt_regs *ctx, u64 number)
{
	u64 first = PT_REGS_PARM1(ctx), second = PT_REGS_PARM2(ctx), third = PT_REGS_PARM3(ctx);
	u64 fourth = PT_REGS_PARM4(ctx), fifth = PT_REGS_PARM5(ctx);

	barrier_var(first);
	barrier_var(second);
	barrier_var(third);
	barrier_var(fourth);
	barrier_var(fifth);
	return number == 0 ? first : number == 1 ? second : number == 2 ? third :
	       number == 3 ? fourth : fifth;
}

/*
 * Any function that is given a packet; the cookie says which argument that is. It may be
 * a packet in the making or one that is being freed: what looks like the filter's own is
 * shown. Needs typed loads through a cast, because a probe's arguments have no types.
 */
SEC("kprobe.multi")
int on_any(struct pt_regs *ctx)
{
	u64 argument = bpf_get_attach_cookie(ctx), address;
	struct trace_call_event *call;
	struct look_at it;

	if (!bpf_ksym_exists(bpf_rdonly_cast))
		return 0;
	address = argument_of(ctx, argument);
	/* A pointer of the kernel's, not NULL and not an error. */
	if (!is_of_kernel(address) || address >= -4095ul)
		return 0;
	begin_look(&it, bpf_rdonly_cast((void *)address, bpf_core_type_id_kernel(struct sk_buff)),
		   AT_DROP);
	if (!wanted(&it))
		return 0;
	call = call_new(&it, TRACE_CALL_ANY);
	if (!call)
		return 0;
	call->event.location = bpf_get_func_ip(ctx);
	submit(call);
	return 0;
}

#endif
