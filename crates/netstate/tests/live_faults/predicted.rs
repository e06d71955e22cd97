//! What is predicted is what the kernel does.

use std::net::IpAddr;

use taproot_model::Tuple;
use taproot_netstate::predict::{Decided, End, Packet, predict};
use taproot_netstate::route::{ask, decide};
use taproot_netstate::state::Lookup;
use taproot_testkit::{need_commands, need_root};

use crate::bed::{Bed, alone};

/// Routes of every kind, several tables, and rules by source and mark.
const ROUTES: &str = "
    ip route add 10.5.0.0/16 via 10.2.0.2
    ip route add 10.5.7.0/24 via 10.2.0.3
    ip route add blackhole 10.9.0.0/16
    ip route add prohibit 10.10.0.0/16
    ip route add unreachable 10.11.0.0/16
    ip route add 10.12.0.0/16 via 10.2.0.2 metric 20
    ip route add 10.12.0.0/16 via 10.2.0.3 metric 10
    ip route add throw 10.13.0.0/16 table 100
    ip route add 10.13.0.0/16 via 10.2.0.3
    ip route add default via 10.2.0.3 table 100
    ip route add 10.5.0.0/16 via 10.1.0.2 table 101
    ip rule add from 172.16.0.0/12 lookup 100 priority 10
    ip rule add fwmark 0x5 lookup 101 priority 11
    ip rule add to 10.14.0.0/16 prohibit priority 12
    ip rule add lookup 100 suppress_prefixlength 0 priority 13";

#[test]
fn the_kernel_takes_the_same_routes() {
    need_root!();
    need_commands!("ip", "sysctl");
    let _alone = alone();
    let bed = Bed::make();
    bed.run("node", ROUTES);
    let state = bed.state("node");
    let came_in = state.link_named("c0").expect("c0").index;
    let mut asked = 0;
    for to in [
        "10.5.1.1",
        "10.5.7.1",
        "10.9.1.1",
        "10.10.1.1",
        "10.11.1.1",
        "10.12.1.1",
        "10.13.1.1",
        "10.14.1.1",
        "10.77.0.1",
        "10.2.0.9",
        "10.1.0.2",
        "10.2.0.1",
    ] {
        for (from, mark) in [("10.1.0.2", 0), ("172.16.3.4", 0), ("10.1.0.2", 5)] {
            let address = |text: &str| text.parse::<IpAddr>().expect("an address");
            let (to, from) = (address(to), Some(address(from)));
            let lookup = Lookup { to, from, iif: Some(came_in), mark };
            let own = decide(&state, &lookup).route.filter(|route| !route.kind.discards());
            let kernel = ask(&bed.path("node"), &lookup).expect("the kernel answers");
            assert_eq!(own, kernel.as_ref(), "{lookup:?}");
            asked += 1;
        }
    }
    assert_eq!(asked, 36);
}

fn syn(to: &str) -> Tuple {
    Tuple {
        source: "10.1.0.2:40000".parse().expect("an address"),
        destination: to.parse().expect("an address"),
        protocol: 6,
        tcp_flags: 2,
        icmp: None,
        ttl: 64,
        length: 60,
    }
}

#[test]
fn a_way_through_two_namespaces_is_the_one_taken() {
    need_root!();
    need_commands!("ip", "iptables", "sysctl");
    let _alone = alone();
    let bed = Bed::make();
    bed.run(
        "node",
        "iptables -t nat -A PREROUTING -d 10.96.0.10 -p tcp --dport 80 -j DNAT --to-destination 10.2.0.2:8080
         iptables -P FORWARD DROP
         iptables -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
         iptables -A FORWARD -d 10.2.0.2 -p tcp --dport 8080 -j ACCEPT",
    );
    let _listener = bed.listen("pod1", "10.2.0.2:8080");
    assert!(bed.connect("client", "10.96.0.10:80").is_some(), "the way is open");

    let node = bed.state("node");
    let came_in = node.link_named("c0").map(|link| link.index);
    let tuple = syn("10.96.0.10:80");
    let packet = Packet { tuple: &tuple, came_in, mark: 0, whole: true };
    let way = predict(&node, &packet);
    let next: IpAddr = "10.2.0.2".parse().expect("an address");
    assert_eq!(way.end, End::Leaves { device: "br0".to_owned(), next });
    let translated = Decided::Translated {
        from: "10.96.0.10:80".parse().expect("an address"),
        to: "10.2.0.2:8080".parse().expect("an address"),
    };
    assert_eq!(way.decided.first(), Some(&translated));
    assert_eq!(way.doubts, Vec::<String>::new());

    let pod = bed.state("pod1");
    let came_in = pod.link_named("eth0").map(|link| link.index);
    let tuple = syn("10.2.0.2:8080");
    let packet = Packet { tuple: &tuple, came_in, mark: 0, whole: true };
    let socket = "10.2.0.2:8080".parse().expect("an address");
    assert_eq!(predict(&pod, &packet).end, End::Delivered(socket));

    let closed = syn("10.2.0.2:8081");
    let packet = Packet { tuple: &closed, came_in, mark: 0, whole: true };
    assert!(matches!(predict(&pod, &packet).end, End::Stopped(_)));
    assert!(bed.connect("client", "10.2.0.2:8081").is_none());
}
