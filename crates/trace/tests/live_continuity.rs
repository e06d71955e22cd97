//! Every hop of a packet on one path, whatever the kernel does to it on the way, and no
//! hop of another packet.

mod bed;

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::time::Duration;

use bed::way::{Point, holds, told};
use bed::{Bed, NEAR, POD1, POD2, POD3, SERVICE, alone};
use taproot_model::Step;
use taproot_probes::trace::{Options, Tracer};
use taproot_testkit::{need_commands, need_root, skip};
use taproot_trace::filter::Expr;
use taproot_trace::{Path, Trace};

macro_rules! or_skip {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(why) => skip!("{why}"),
        }
    };
}

/// From `pod1` to `pod3` over both nodes.
const THERE: &[Point] = &[
    ("Queued", "pod1", "eth0"),
    ("Received", "near", "p1"),
    ("Received", "near", "br0"),
    ("Routed", "near", "up0"),
    ("Queued", "near", "up0"),
    ("Received", "far", "up0"),
    ("Routed", "far", "br0"),
    ("Queued", "far", "br0"),
    ("Queued", "far", "q1"),
    ("Received", "pod3", "eth0"),
    ("Delivered", "pod3", ""),
];

/// And back.
const BACK: &[Point] = &[
    ("Queued", "pod3", "eth0"),
    ("Received", "far", "q1"),
    ("Received", "far", "br0"),
    ("Queued", "far", "up0"),
    ("Received", "near", "up0"),
    ("Routed", "near", "br0"),
    ("Queued", "near", "br0"),
    ("Queued", "near", "p1"),
    ("Received", "pod1", "eth0"),
    ("Delivered", "pod1", ""),
];

/// Between two pods of one node.
const ACROSS: &[Point] = &[
    ("Queued", "pod1", "eth0"),
    ("Received", "near", "p1"),
    ("Queued", "near", "p2"),
    ("Received", "pod2", "eth0"),
    ("Delivered", "pod2", ""),
];

fn start(filter: &str) -> Tracer {
    let tests = Expr::parse(filter).expect(filter).compile().expect(filter);
    Tracer::start(&Options { tests, ..Options::default() }).expect("root may load it")
}

fn finish(mut tracer: Tracer) -> Trace {
    std::thread::sleep(Duration::from_millis(100));
    let events = tracer.stop().expect("readable");
    let account = tracer.account().expect("readable");
    assert!(account.is_whole(), "{account:?}");
    Trace::assemble(events, account)
}

/// The paths that hold all these points, of one conversation for all of `ways`.
fn continuous(bed: &Bed, trace: &Trace, ways: &[&[Point]]) {
    let found = trace.conversations.values().any(|conversation| {
        ways.iter().all(|points| {
            let mut paths = conversation.paths.iter().map(|at| &trace.paths[*at]);
            paths.any(|path| holds(bed, path, points))
        })
    });
    assert!(found, "no conversation has {ways:#?} among\n{}", told(bed, trace));
}

/// One datagram there, one back.
fn ask(client: &UdpSocket, to: &str, size: usize) {
    client.send_to(&vec![b'x'; size], to).expect("sent");
    assert_eq!(client.recv(&mut vec![0; 65_000]).expect("an answer"), size);
}

/// Answers every datagram with the same, until an empty one.
fn echo(server: &UdpSocket) {
    let mut buffer = vec![0; 65_000];
    loop {
        let (length, from) = server.recv_from(&mut buffer).expect("a request");
        if length == 0 {
            return;
        }
        server.send_to(&buffer[..length], from).expect("answered");
    }
}

/// Runs servers in somebody's namespace while a task is done. Sockets are read where
/// they are: a hop of a reader tells the namespace of its process.
fn served<T>(bed: &Bed, who: &str, servers: &[UdpSocket], task: impl FnOnce() -> T) -> T {
    std::thread::scope(|scope| {
        for server in servers {
            scope.spawn(|| bed.within(who, || echo(server)));
        }
        let done = task();
        bed.within(who, || {
            let end = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            for server in servers {
                let port = server.local_addr().expect("bound").port();
                end.send_to(&[], ("127.0.0.1", port)).expect("sent");
            }
        });
        done
    })
}

/// A filter, what is set up, where is asked, the ways to be seen.
fn datagrams(filter: &str, near: &str, far: &str, to: &str, size: usize, ways: &[&[Point]]) {
    let _alone = alone();
    let bed = or_skip!(Bed::new());
    or_skip!(bed.run("near", near));
    or_skip!(bed.run("far", far));
    let (server, client) = (bed.udp("pod3", "0.0.0.0:5500"), bed.udp("pod1", "0.0.0.0:0"));
    let asked = || bed.within("pod1", || ask(&client, to, size));
    let trace = served(&bed, "pod3", &[server], || {
        // Tables of connections and neighbours are filled before.
        asked();
        let tracer = start(filter);
        asked();
        finish(tracer)
    });
    continuous(&bed, &trace, ways);
}

#[test]
fn live_a_datagram_and_its_answer_over_bridges_and_cables() {
    need_root!();
    need_commands!("ip", "sysctl");
    datagrams("udp port 5500", "true", "true", "10.80.2.2:5500", 100, &[THERE, BACK]);
}

/// The filter names the service, which the pod behind it never hears of.
#[test]
fn live_a_translated_destination() {
    need_root!();
    need_commands!("ip", "sysctl", "iptables");
    let dnat = format!(
        "iptables -t nat -A PREROUTING -d {SERVICE} -p udp --dport 53 -j DNAT --to-destination {POD3}:5500"
    );
    let (filter, to) = (format!("host {SERVICE}"), format!("{SERVICE}:53"));
    datagrams(&filter, &dnat, "true", &to, 100, &[THERE, BACK]);
}

/// The filter names the pod, whose address the other end never sees.
#[test]
fn live_a_translated_source() {
    need_root!();
    need_commands!("ip", "sysctl", "iptables");
    let snat =
        format!("iptables -t nat -A POSTROUTING -o up0 -s {POD1} -j SNAT --to-source {NEAR}");
    datagrams(&format!("host {POD1}"), &snat, "true", "10.80.2.2:5500", 100, &[THERE, BACK]);
}

/// Cut on the way out of the pod; the nodes track connections, and so put the pieces
/// together and cut them again.
#[test]
fn live_a_datagram_in_pieces() {
    need_root!();
    need_commands!("ip", "sysctl", "iptables");
    let track = "iptables -A FORWARD -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT";
    datagrams("udp port 5500", track, "true", "10.80.2.2:5500", 4000, &[THERE, BACK]);
}

fn tunnel(kind: &str, device: &str) {
    const INSIDE: &[Point] = &[
        ("Queued", "pod1", "eth0"),
        ("Received", "near", "p1"),
        ("Queued", "near", "up0"),
        ("Received", "far", "up0"),
        ("Queued", "far", "q1"),
        ("Received", "pod3", "eth0"),
        ("Delivered", "pod3", ""),
    ];
    let device: &'static str = if device == "vx0" { "vx0" } else { "ipip0" };
    let ends = |own: u8, other: u8, net: u8| {
        format!(
            "ip link add {device} type {kind} local 10.80.0.{own} remote 10.80.0.{other}
             ip link set {device} up; ip addr add 10.81.0.{own}/24 dev {device}
             ip route replace 10.80.{net}.0/24 via 10.81.0.{other} dev {device} onlink"
        )
    };
    let through = [
        &INSIDE[..2],
        &[("Queued", "near", device)],
        &INSIDE[2..4],
        &[("Received", "far", device)],
        &INSIDE[4..],
    ];
    let through: Vec<Point> = through.concat();
    let (near, far) = (ends(1, 2, 2), ends(2, 1, 1));
    datagrams("udp port 5500", &near, &far, "10.80.2.2:5500", 100, &[&through, &BACK[..2]]);
}

#[test]
fn live_a_tunnel_of_ethernet_over_udp() {
    need_root!();
    need_commands!("ip", "sysctl");
    tunnel("vxlan id 42 dstport 4789", "vx0");
}

#[test]
fn live_a_tunnel_of_ip_over_ip() {
    need_root!();
    need_commands!("ip", "sysctl");
    tunnel("ipip", "ipip0");
}

/// A pod asks a service that leads to its neighbour on the same bridge.
#[test]
fn live_a_hairpin() {
    need_root!();
    need_commands!("ip", "sysctl", "iptables");
    let _alone = alone();
    let bed = or_skip!(Bed::new());
    let nat = format!(
        "iptables -t nat -A PREROUTING -d {SERVICE} -p udp --dport 53 -j DNAT --to-destination {POD2}:5500
         iptables -t nat -A POSTROUTING -s {POD1} -d {POD2} -j MASQUERADE"
    );
    or_skip!(bed.run("near", &nat));
    let (server, client) = (bed.udp("pod2", "0.0.0.0:5500"), bed.udp("pod1", "0.0.0.0:0"));
    let to = format!("{SERVICE}:53");
    let asked = || bed.within("pod1", || ask(&client, &to, 100));
    let trace = served(&bed, "pod2", &[server], || {
        asked();
        let tracer = start(&format!("host {SERVICE}"));
        asked();
        finish(tracer)
    });
    let there = [
        ("Queued", "pod1", "eth0"),
        ("Received", "near", "p1"),
        ("Received", "near", "br0"),
        ("Queued", "near", "br0"),
        ("Queued", "near", "p2"),
        ("Received", "pod2", "eth0"),
        ("Delivered", "pod2", ""),
    ];
    let back = [
        ("Queued", "pod2", "eth0"),
        ("Received", "near", "p2"),
        ("Received", "near", "br0"),
        ("Queued", "near", "br0"),
        ("Queued", "near", "p1"),
        ("Received", "pod1", "eth0"),
        ("Delivered", "pod1", ""),
    ];
    continuous(&bed, &trace, &[&there, &back]);
}

/// Segments that the receiving device puts together go on as one packet: the first.
#[test]
fn live_segments_that_are_put_together() {
    need_root!();
    need_commands!("ip", "sysctl", "ethtool");
    let _alone = alone();
    let bed = or_skip!(Bed::new());
    or_skip!(bed.run("pod1", "ethtool -K eth0 tso off gso off"));
    or_skip!(bed.run("near", "ethtool -K p1 gro on"));
    let listener = bed.listen("pod2", "0.0.0.0:5501");
    let tracer = start("tcp dst port 5501");
    let mut stream = bed.connect("pod1", &format!("{POD2}:5501"));
    let (mut other, _) = listener.accept().expect("connected");
    stream.write_all(&vec![b'x'; 20_000]).expect("sent");
    bed.within("pod2", || other.read_exact(&mut vec![0; 20_000])).expect("received");
    let trace = finish(tracer);
    continuous(&bed, &trace, &[ACROSS]);
    // The sender's device splits what TCP hands it, the receiver's joins that again.
    let length = |path: &Path, step: &Step, who| {
        let place = Some(bed.inode(who));
        let mut hops = path.hops.iter().map(|event| &event.hop);
        hops.find(|hop| hop.step == *step && hop.place.netns == place).map(|hop| hop.tuple.length)
    };
    let joined = trace.paths.iter().any(|path| {
        let cut = length(path, &Step::Transmitted, "pod1");
        let whole = length(path, &Step::Received, "near");
        cut.is_some_and(|cut| cut > 1000) && whole > cut && holds(&bed, path, ACROSS)
    });
    assert!(joined, "{}", told(&bed, &trace));
}

/// What TCP sends again is another packet of the same conversation.
#[test]
fn live_what_is_sent_again() {
    need_root!();
    need_commands!("ip", "sysctl", "nft");
    let _alone = alone();
    let bed = or_skip!(Bed::new());
    or_skip!(bed.run(
        "near",
        "nft add table ip fw
         nft add chain ip fw forward \"{ type filter hook forward priority 0 ; }\"
         nft add rule ip fw forward tcp dport 5502 limit rate over 1/hour burst 1 packets accept
         nft add rule ip fw forward tcp dport 5502 drop"
    ));
    let _listener = bed.listen("pod3", "0.0.0.0:5502");
    let tracer = start("tcp port 5502");
    let _stream = bed.connect("pod1", "10.80.2.2:5502");
    let trace = finish(tracer);
    let [conversation] = &trace.conversations.values().collect::<Vec<_>>()[..] else {
        panic!("one conversation:\n{}", told(&bed, &trace))
    };
    let paths: Vec<&Path> = conversation.paths.iter().map(|at| &trace.paths[*at]).collect();
    assert!(paths[0].dropped().is_some(), "{}", told(&bed, &trace));
    let whole = &THERE[..THERE.len() - 1];
    assert!(!holds(&bed, paths[0], whole) && holds(&bed, paths[1], whole));
    assert!(paths[1].dropped().is_none(), "{}", told(&bed, &trace));
}

/// Ten thousand packets of others beside the ones that are followed.
#[test]
fn live_no_packet_of_others_among_ten_thousand() {
    need_root!();
    need_commands!("ip", "sysctl", "iptables");
    let _alone = alone();
    let bed = or_skip!(Bed::new());
    let dnat = format!(
        "iptables -t nat -A PREROUTING -d {SERVICE} -p udp -j DNAT --to-destination {POD3}"
    );
    or_skip!(bed.run("near", &dnat));
    let client = bed.udp("pod1", "0.0.0.0:0");
    let servers: Vec<UdpSocket> =
        (5500..5505).map(|port| bed.udp("pod3", &format!("0.0.0.0:{port}"))).collect();
    let others: Vec<UdpSocket> = (0..4).map(|_| bed.udp("pod1", "0.0.0.0:0")).collect();
    let rounds = 250;
    let asked = || {
        for round in 0..rounds {
            ask(&client, &format!("{SERVICE}:5500"), 100);
            for (other, port) in others.iter().zip(5501..) {
                // The same hosts; half of them by the same service.
                let host = if round % 2 == 0 { SERVICE } else { POD3 };
                (0..5).for_each(|_| ask(other, &format!("{host}:{port}"), 100));
            }
        }
    };
    let trace = served(&bed, "pod3", &servers, || {
        let tracer = start(&format!("udp and host {SERVICE} and port 5500"));
        bed.within("pod1", asked);
        finish(tracer)
    });
    let own = client.local_addr().expect("bound").port();
    for event in trace.paths.iter().flat_map(|path| &path.hops) {
        // Lookups for what is received know no ports.
        if matches!(event.hop.step, Step::Routed(_) | Step::Neighbour(_)) {
            continue;
        }
        let tuple = &event.hop.tuple;
        let ports = [tuple.source.port(), tuple.destination.port()];
        assert!(ports.contains(&own) && ports.contains(&5500), "a foreign packet: {event:#?}");
    }
    assert_eq!(trace.conversations.len(), 1, "{}", told(&bed, &trace));
    let of = |points: &[Point]| trace.paths.iter().filter(|p| holds(&bed, p, points)).count();
    assert_eq!((of(THERE), of(BACK)), (rounds, rounds), "every packet whole");
    assert_eq!(trace.paths.len(), 2 * rounds, "and no other path");
    for path in &trace.paths {
        let id = path.hops.iter().find(|e| e.own_socket).map(|event| event.hop.id.ip_id);
        let packets = path.hops.iter().filter(|event| event.hop.id.head != 0);
        assert!(packets.clone().all(|event| Some(event.hop.id.ip_id) == id), "{path:#?}");
    }
}
