/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The periodic look: live sockets brought up to date, then the edges that changed. */
#ifndef TAPROOT_FLOW_REPORT_H
#define TAPROOT_FLOW_REPORT_H

/* Long connections move, too. */
SEC("iter/bpf_sk_storage_map")
int settle_all(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock *sk = ctx->sk;
	struct conn *conn;

	if (!sk)
		return 0;
	conn = bpf_sk_storage_get(&conns, sk, 0, 0);
	if (!conn)
		return 0;
	if (conn->listener)
		listener_look(sk, conn);
	else
		settle(sk, conn);
	return 0;
}

/* Counters only grow, so an equal sum means that none moved. */
static __always_inline u64 sum_of(const struct flow_edge *edge, const struct flow_packets *counts)
{
	u64 sum = edge->tx_bytes + edge->rx_bytes + edge->tx_packets + edge->rx_segments +
		  edge->retransmits + edge->connects + edge->failed + edge->resets_sent +
		  edge->resets_received + edge->opened + edge->closed;

	if (counts)
		sum += counts->tx_bytes + counts->rx_bytes + counts->tx_packets + counts->rx_packets;
	return sum;
}

SEC("iter/bpf_map_elem")
int report_edges(struct bpf_iter__bpf_map_elem *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct flow_edge *edge = ctx->value;
	struct flow_key *key = ctx->key;
	struct flow_packet_key small;
	struct flow_packets *counts;
	u64 sum;

	if (!key || !edge)
		return 0;
	/* 6.1 takes a key from the stack only. */
	small = edge->packets;
	counts = bpf_map_lookup_elem(&packets, &small);
	sum = sum_of(edge, counts);
	if (sum == edge->told && edge->opened == edge->closed)
		return 0;
	/* Where the buffer is full, the kernel calls again for the same edge. */
	if (bpf_seq_write(seq, key, sizeof(*key)) || bpf_seq_write(seq, edge, sizeof(*edge)) ||
	    bpf_seq_write(seq, counts ?: (void *)&empty_packets, sizeof(empty_packets)))
		return 0;
	edge->told = sum;
	return 0;
}

SEC("iter/bpf_map_elem")
int report_drops(struct bpf_iter__bpf_map_elem *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct flow_drop *drop = ctx->value;
	struct flow_drop_key *key = ctx->key;
	u64 count;

	if (!key || !drop)
		return 0;
	count = drop->count;
	if (count == drop->told)
		return 0;
	if (bpf_seq_write(seq, key, sizeof(*key)) || bpf_seq_write(seq, drop, sizeof(*drop)))
		return 0;
	drop->told = count;
	return 0;
}

#endif
