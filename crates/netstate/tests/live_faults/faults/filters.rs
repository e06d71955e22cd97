//! Firewall rules, address translation, programs.

use taproot_model::Category;

use super::faults;
use crate::fault::{Fault, SYN, TCP, UDP};
use crate::programs::{Compiled, GROUP};

/// How kernels say that netfilter dropped a packet.
const NETFILTER: &[(&str, &str)] =
    &[("NETFILTER_DROP", "nf_hook_slow"), ("NETFILTER_DROP", "nft_do_chain")];

faults! {
    iptables_drop => Fault {
        set_up: &[("node", "iptables -A FORWARD -p tcp --dport 443 -j DROP
                            iptables -A FORWARD -p tcp --dport 8080 -j DROP")],
        kernel: NETFILTER,
        category: Category::Firewall,
        object: &["iptables filter FORWARD rule 2"],
        advice: "iptables -t filter -D FORWARD 2",
        ..Fault::FORWARDED
    };
    iptables_legacy_drop => Fault {
        set_up: &[("node", "iptables-legacy -A FORWARD -s 10.7.0.0/16 -j DROP
                            iptables-legacy -A FORWARD -m mark --mark 0 -j DROP")],
        kernel: NETFILTER,
        category: Category::Firewall,
        object: &["iptables filter FORWARD rule 2"],
        advice: "iptables-legacy -t filter -D FORWARD 2",
        ..Fault::FORWARDED
    };
    iptables_reject => Fault {
        set_up: &[("node", "iptables -A FORWARD -d 10.2.0.0/24 -p tcp -j REJECT")],
        kernel: NETFILTER,
        category: Category::Firewall,
        object: &["iptables filter FORWARD rule 1"],
        advice: "iptables -t filter -D FORWARD 1",
        ..Fault::FORWARDED
    };
    nft_drop => Fault {
        set_up: &[("node", "nft add table inet fw
                            nft add chain inet fw forward '{ type filter hook forward priority 0; }'
                            nft add rule inet fw forward tcp dport 443 drop
                            nft add rule inet fw forward ip daddr 10.2.0.0/24 tcp dport '{ 8080, 8443 }' drop")],
        kernel: NETFILTER,
        category: Category::Firewall,
        object: &["nft inet fw forward handle 4"],
        advice: "nft delete rule inet fw forward handle 4",
        ..Fault::FORWARDED
    };
    nft_policy => Fault {
        set_up: &[("node", "nft add table inet fw
                            nft add chain inet fw forward '{ type filter hook forward priority 0; policy drop; }'
                            nft add rule inet fw forward tcp dport 443 accept")],
        kernel: NETFILTER,
        category: Category::Firewall,
        object: &["nft inet fw forward policy drop"],
        advice: "nft add rule inet fw forward",
        ..Fault::FORWARDED
    };
    /// As network policy agents build it: a chain for the pod, exceptions first.
    network_policy => Fault {
        set_up: &[("node", "iptables -N POD-FW
                            iptables -A FORWARD -d 10.2.0.2 -j POD-FW
                            iptables -A POD-FW -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
                            iptables -A POD-FW -s 10.2.0.0/24 -p tcp --dport 8080 -j ACCEPT
                            iptables -A POD-FW -m comment --comment 'default deny' -j DROP")],
        kernel: NETFILTER,
        category: Category::Firewall,
        object: &["iptables filter POD-FW rule 3"],
        advice: "iptables -t filter -D POD-FW 3",
        ..Fault::FORWARDED
    };
    vxlan_port_blocked => Fault {
        set_up: &[
            ("node", "ip link add vx0 type vxlan id 42 local 10.1.0.1 remote 10.1.0.2 dstport 8472
                      ip addr add 10.3.0.1/24 dev vx0; ip link set vx0 up
                      iptables -A INPUT -p udp --dport 8472 -j DROP"),
            ("client", "ip link add vx0 type vxlan id 42 local 10.1.0.2 remote 10.1.0.1 dstport 8472
                        ip addr add 10.3.0.2/24 dev vx0; ip link set vx0 up"),
        ],
        traffic: |bed| {
            bed.send("client", "10.3.0.2:0", "10.3.0.1:9000", 10, 1);
            Box::new(())
        },
        packet: ("10.1.0.2:40000", "10.1.0.1:8472", UDP, 0, 64, 110),
        kernel: NETFILTER,
        category: Category::Firewall,
        object: &["iptables filter INPUT rule 1"],
        advice: "iptables -t filter -D INPUT 1",
        ..Fault::FORWARDED
    };
    dnat_to_a_dead_pod => Fault {
        set_up: &[("node", "iptables -t nat -A PREROUTING -d 10.96.0.10 -p tcp --dport 80 -j DNAT \
                            --to-destination 10.2.0.99:8080")],
        traffic: |bed| {
            bed.connect("client", "10.96.0.10:80");
            Box::new(bed.connect("client", "10.96.0.10:80"))
        },
        at: ("node", "c0", "br0"),
        packet: ("10.1.0.2:40000", "10.2.0.99:8080", TCP, SYN, 63, 60),
        asked: Some("10.96.0.10:80"),
        kernel: &[("NEIGH_FAILED", "neigh_invalidate"), ("NEIGH_FAILED", "arp_error_report")],
        category: Category::Conntrack,
        object: &["iptables nat PREROUTING rule 1"],
        advice: "iptables -t nat -D PREROUTING 1",
        ..Fault::FORWARDED
    };
    hairpin_without_masquerade => Fault {
        set_up: &[("node", "iptables -t nat -A PREROUTING -d 10.96.0.10 -p tcp --dport 80 -j DNAT \
                            --to-destination 10.2.0.3:8080")],
        traffic: |bed| {
            let listener = bed.listen("pod2", "10.2.0.3:8080");
            Box::new((bed.connect("pod1", "10.96.0.10:80"), listener))
        },
        at: ("pod1", "eth0", "eth0"),
        packet: ("10.2.0.3:8080", "10.2.0.2:40000", TCP, 0x12, 64, 60),
        kernel: &[("NO_SOCKET", "tcp_v4_rcv")],
        category: Category::Conntrack,
        object: &["iptables nat PREROUTING rule 1", "without masquerade"],
        advice: "-j MASQUERADE",
        ..Fault::FORWARDED
    };
    tc_drop => Fault {
        set_up: &[("node", "tc qdisc add dev c0 clsact
                            tc filter add dev c0 ingress pref 7 bpf da bytecode '1,6 0 0 2'")],
        kernel: &[("TC_INGRESS", "__netif_receive_skb_core"), ("TC_INGRESS", "sch_handle_ingress")],
        category: Category::Program,
        object: &["tc filter bpf pref 7 dev c0 ingress"],
        advice: "tc filter del dev c0 ingress pref 7",
        ..Fault::FORWARDED
    };
    xdp_drop => Fault {
        set_up: &[],
        traffic: |bed| {
            let object = Compiled::new();
            let file = object.object();
            bed.run("node", &format!("ip link set dev c0 xdpgeneric obj {} sec xdp", file.display()));
            Box::new((bed.connect("client", "10.2.0.2:8080"), object))
        },
        programs: true,
        kernel: &[("XDP", "do_xdp_generic"), ("NOT_SPECIFIED", "do_xdp_generic"), ("XDP", "netif_receive_generic_xdp"),
                  ("XDP", "__netif_receive_skb_core")],
        category: Category::Program,
        object: &["XDP program", "dev c0"],
        advice: "ip link set dev c0 xdp off",
        ..Fault::FORWARDED
    };
    /// In the driver of the device.
    xdp_drop_in_the_driver => Fault {
        set_up: &[],
        traffic: |bed| {
            let object = Compiled::new();
            let file = object.object();
            bed.run("node", &format!("ip link set dev c0 xdpdrv obj {} sec xdp", file.display()));
            Box::new((bed.connect("client", "10.2.0.2:8080"), object))
        },
        programs: true,
        kernel: &[("NOT_SPECIFIED", "veth_xdp_rcv_skb"), ("XDP", "veth_xdp_rcv_skb")],
        category: Category::Program,
        object: &["XDP program", "dev c0"],
        advice: "ip link set dev c0 xdp off",
        ..Fault::FORWARDED
    };
    cgroup_skb_drop => Fault {
        traffic: |bed| Box::new(bed.refused_control_group("client", "10.2.0.2/9000")),
        at: ("client", "", "eth0"),
        packet: ("10.1.0.2:40000", "10.2.0.2:9000", UDP, 0, 64, 30),
        programs: true,
        needs: &["bash"],
        kernel: &[("BPF_CGROUP_EGRESS", "")],
        category: Category::Program,
        group: Some(GROUP),
        object: &["cgroup program refuse_egress", GROUP],
        advice: "bpftool prog show id",
        ..Fault::FORWARDED
    };
}

#[test]
fn conntrack_table_full() {
    // The limit belongs to the machine, which only a guest has for itself.
    taproot_testkit::need!(taproot_testkit::guest_kernel().is_some(), "needs a machine of its own");
    let fault = Fault {
        set_up: &[("node", "iptables -A FORWARD -m conntrack --ctstate NEW -j ACCEPT")],
        traffic: |bed| {
            let limit = "/proc/sys/net/netfilter/nf_conntrack_max";
            let usual = std::fs::read_to_string(limit).expect("connection tracking is there");
            std::fs::write(limit, "3").expect("root may");
            for port in 0..8 {
                bed.send("client", "10.1.0.2:0", &format!("10.2.0.2:{}", 9000 + port), 10, 1);
            }
            Box::new(Restored(limit, usual))
        },
        packet: ("10.1.0.2:40000", "10.2.0.2:9005", UDP, 0, 63, 38),
        kernel: NETFILTER,
        category: Category::Conntrack,
        object: &["net.netfilter.nf_conntrack_max=3"],
        advice: "sysctl -w net.netfilter.nf_conntrack_max=6",
        ..Fault::FORWARDED
    };
    if let Some(why) = fault.obstacle() {
        taproot_testkit::skip!("{why}");
    }
    fault.run();
}

/// A file that gets its content back.
struct Restored(&'static str, String);

impl Drop for Restored {
    fn drop(&mut self) {
        std::fs::write(self.0, &self.1).expect("as before");
    }
}
