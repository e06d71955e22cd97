// SPDX-License-Identifier: Apache-2.0
// Programs that refuse every packet, for the fault bed.

__attribute__((section("xdp"), used)) int refuse_xdp(void *context)
{
	return 1; /* XDP_DROP */
}

__attribute__((section("cgroup_skb/egress"), used)) int refuse_egress(void *context)
{
	return 0;
}

char LICENSE[] __attribute__((section("license"), used)) = "Apache-2.0";
