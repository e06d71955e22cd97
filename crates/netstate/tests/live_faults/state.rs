//! What is read of a namespace is what was made there.

use std::net::SocketAddr;

use taproot_netstate::NetState;
use taproot_netstate::firewall::{Condition, Maker, Verdict};
use taproot_netstate::state::{MAIN_TABLE, Reach, RouteKind};
use taproot_testkit::{need_commands, need_root};

use crate::bed::{Bed, alone};

#[test]
fn a_namespace_is_read_whole() {
    need_root!();
    need_commands!("ip", "tc", "nft", "iptables", "sysctl");
    let _alone = alone();
    let bed = Bed::make();
    bed.run(
        "node",
        "ip route add blackhole 10.9.0.0/16
         ip route add 10.8.0.0/16 via 10.2.0.2 metric 7 table 100
         ip rule add from 10.1.0.0/24 fwmark 0x10/0xf0 lookup 100 priority 50
         ip neigh replace 10.2.0.2 lladdr 02:00:00:00:00:99 dev br0 nud permanent
         ip link add vx0 type vxlan id 42 local 10.1.0.1 remote 10.1.0.2 dstport 8472
         bridge link set dev p1 isolated on hairpin on
         tc qdisc add dev c0 clsact
         tc filter add dev c0 ingress pref 5 bpf da bytecode '1,6 0 0 4294967295'
         tc qdisc add dev p2 root tbf rate 8mbit burst 16000 limit 3000
         iptables -A FORWARD -p tcp --dport 81 -j DROP
         nft add table inet fw
         nft add chain inet fw forward '{ type filter hook forward priority 5; policy drop; }'
         nft add rule inet fw forward counter accept",
    );
    let _listener = bed.listen("node", "10.2.0.1:8080");
    let _socket = bed.udp("node", "10.2.0.1:9000");
    bed.send("client", "10.1.0.2:0", "10.2.0.1:9000", 100, 3);
    let state = bed.state("node");

    let port = state.link_named("p1").expect("p1");
    let bridge = state.link_named("br0").expect("br0");
    assert_eq!(port.master, Some(bridge.index));
    assert!(port.up && port.carrier && port.kind == "veth" && port.address.len() == 6);
    let flags = port.port.expect("a port of a bridge");
    assert!(flags.isolated && flags.hairpin && flags.forwarding);
    let vxlan = state.link_named("vx0").and_then(|link| link.vxlan).expect("a VXLAN");
    assert_eq!((vxlan.vni, vxlan.port, vxlan.external), (42, 8472, false));
    assert!(state.owns("10.2.0.1".parse().expect("an address")));

    let blackhole = state.routes.iter().find(|route| route.kind == RouteKind::Blackhole);
    let blackhole = blackhole.expect("the blackhole");
    assert_eq!((blackhole.to.to_string().as_str(), blackhole.table), ("10.9.0.0/16", MAIN_TABLE));
    let via = state.routes.iter().find(|route| route.table == 100).expect("table 100");
    assert_eq!((via.to_string().as_str(), via.metric), ("10.8.0.0/16 via 10.2.0.2", 7));
    assert_eq!(via.out, Some(bridge.index));
    let rule = state.rules.iter().find(|rule| rule.priority == 50).expect("the rule");
    assert_eq!((rule.table, rule.mark), (100, Some((0x10, 0xf0))));
    let neighbour = state.neighbour("10.2.0.2".parse().expect("an address")).expect("known");
    assert_eq!(neighbour.reach, Reach::Permanent);
    assert_eq!(neighbour.hardware_text(), "02:00:00:00:00:99");

    assert_eq!(state.sysctls.number("ipv4/ip_forward"), Some(1));
    assert!(state.sysctls.forwards("c0", false));
    assert!(state.queues.iter().any(|queue| queue.kind == "tbf"));
    let filter = state.filters.first().expect("the filter");
    assert_eq!((filter.kind.as_str(), filter.preference, filter.ingress), ("bpf", 5, true));

    let to = |text: &str| text.parse::<SocketAddr>().expect("an address");
    assert_eq!(state.sockets_at(true, to("10.2.0.1:8080")).len(), 1);
    assert!(state.sockets_at(false, to("10.2.0.1:8080")).is_empty());
    let udp = state.sockets_at(false, to("10.2.0.1:9000"));
    assert!(udp.len() == 1 && udp[0].waiting > 0 && udp[0].limit > 0, "{udp:?}");

    let chains = &state.firewall.chains;
    let iptables = chains
        .iter()
        .find(|chain| {
            chain.maker == Maker::Iptables && chain.base.is_some() && chain.name == "FORWARD"
        })
        .expect("FORWARD");
    assert_eq!(iptables.rules[0].verdict, Verdict::Drop);
    let nft: Vec<_> = chains.iter().filter(|chain| chain.maker == Maker::Nft).collect();
    assert_eq!(nft.len(), 1, "iptables' own tables are there once: {nft:?}");
    assert!(nft[0].base.as_ref().is_some_and(|base| base.policy_drops && base.priority == 5));
    assert_eq!(nft[0].rules[0].packets, Some(0));
    assert_eq!(state.firewall.unread, Vec::<String>::new());
}

#[test]
fn reading_changes_nothing() {
    need_root!();
    need_commands!("ip", "nft", "iptables-legacy");
    let _alone = alone();
    let bed = Bed::make();
    let first = bed.state("pod1");
    // The legacy tools create the tables that they are asked for.
    bed.run("pod1", "test ! -s /proc/self/net/ip_tables_names");
    assert_eq!(first.firewall.chains, []);
    assert_eq!(first.links, bed.state("pod1").links);
}

/// Names the namespace to a test that another one runs.
const NETNS: &str = "TAPROOT_TEST_NETNS";

#[test]
fn rules_of_iptables_are_read_where_its_programs_are_not() {
    need_root!();
    need_commands!("ip", "nft", "iptables");
    let _alone = alone();
    let bed = Bed::make();
    bed.run(
        "node",
        "iptables -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
         iptables -A FORWARD -p tcp -m multiport --dports 80,8000:8999 -j REJECT
         iptables -t nat -A PREROUTING -d 10.96.0.10 -p tcp --dport 80 -j DNAT --to-destination 10.2.0.2:8080",
    );
    let programs = tempfile::tempdir().expect("a folder");
    let nft = std::env::var_os("PATH")
        .and_then(|path| {
            std::env::split_paths(&path).map(|dir| dir.join("nft")).find(|f| f.exists())
        })
        .expect("nft is installed");
    std::os::unix::fs::symlink(nft, programs.path().join("nft")).expect("linked");
    let output = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "--ignored", "state::by_nft_alone"])
        .env("PATH", programs.path())
        .env(NETNS, bed.path("node"))
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

#[test]
#[ignore = "run by the test above, which says where, with a PATH of its own"]
fn by_nft_alone() {
    let netns = std::env::var_os(NETNS).expect("a namespace is named");
    let state = NetState::read(std::path::Path::new(&netns)).expect("the state is read");
    let chain = |table: &str, name: &str| {
        let mut chains = state.firewall.chains.iter();
        let found =
            chains.find(|chain| (chain.table.as_str(), chain.name.as_str()) == (table, name));
        found.expect("the chain")
    };
    let forward = chain("filter", "FORWARD");
    assert_eq!(forward.maker, Maker::Iptables);
    let established = Condition::State(vec!["established".to_owned()]);
    assert_eq!(forward.rules[0].conditions, [(established, false)]);
    let ports = Condition::DestinationPort(vec![(80, 80), (8000, 8999)]);
    assert!(forward.rules[1].conditions.contains(&(ports, false)));
    assert_eq!(forward.rules[1].verdict, Verdict::Reject);
    assert_eq!(forward.title_of(&forward.rules[1]), "iptables filter FORWARD rule 2");
    let to = Verdict::Dnat("10.2.0.2:8080".to_owned());
    assert_eq!(chain("nat", "PREROUTING").rules[0].verdict, to);
    assert_eq!(state.firewall.unread, Vec::<String>::new());
}
