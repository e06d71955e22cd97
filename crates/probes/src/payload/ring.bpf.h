/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* How records go into the ring, for all programs that write into it. */
#ifndef TAPROOT_PAYLOAD_RING
#define TAPROOT_PAYLOAD_RING

/* Room for the bytes of a record: a reservation's size must be a constant. Steps of a
 * half and a third, so that little of the ring is air. The last is PAYLOAD_MOST. */
#define PAYLOAD_SIZES(EACH)                                                                 \
	EACH(64) EACH(96) EACH(128) EACH(192) EACH(256) EACH(384) EACH(512) EACH(768)       \
	EACH(1024) EACH(1536) EACH(2048) EACH(3072) EACH(4096) EACH(6144) EACH(8192)        \
	EACH(12288) EACH(16384) EACH(24576) EACH(32768) EACH(49152) EACH(65536) EACH(98304) \
	EACH(131072) EACH(196608) EACH(PAYLOAD_MOST)

/* Bytes of records for which user space is woken once. A power of two. */
#define WAKE_EVERY (256 << 10)
#define RECORD_HEADER 8 /* of the ring's own */

/* How a record of that size is handed over: whoever goes over the line rings. */
static __always_inline u64 bell(u64 size)
{
	u64 written = bpf_ringbuf_query(&records, BPF_RB_PROD_POS);

	return (written & (WAKE_EVERY - 1)) < size + RECORD_HEADER ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

#endif
