/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Packet headers, and how to read them where the kernel keeps them. */
#ifndef TAPROOT_WIRE_H
#define TAPROOT_WIRE_H

#define IP_OFFSET 0x1fff
#define IPPROTO_FRAGMENT 44
/*
 * Network namespaces get their inode from here on (PROC_DYNAMIC_FIRST, and the
 * first one's fixed number just below). What is smaller is no namespace.
 */
#define NETNS_INUM_MIN 0xEFFFFF00u

/* Headers as they are on the wire; the kernel knows the same under these names. */
struct iphdr {
	u8 version_length, tos;
	u16 total, id, fragment;
	u8 ttl, protocol;
	u16 check;
	u32 source, destination;
};

struct ipv6hdr {
	u32 version_class_label;
	u16 payload;
	u8 next, hops;
	u32 source[4], destination[4];
};

struct udphdr {
	u16 source, destination, length, check;
};

/* A typed load is cheaper than a copy by helper; kernels from 6.2 on have it. */
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;

/* Makes `header` point to what lies at `at`: there, or copied to `copy`. */
#define look(header, type, at, copy)                                                       \
	({                                                                                 \
		bool ok_ = true;                                                           \
		if (bpf_ksym_exists(bpf_rdonly_cast)) {                                    \
			header = bpf_rdonly_cast(at, bpf_core_type_id_kernel(struct type)); \
		} else {                                                                   \
			ok_ = !bpf_probe_read_kernel(&copy, sizeof(copy), at);             \
			header = &copy;                                                    \
		}                                                                          \
		ok_;                                                                       \
	})

#endif
