//! The flow collector against real sockets in network namespaces of our own.

mod groups;
mod veth;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use groups::Group;
use rustix::net::{AddressFamily, SocketType, sockopt};
use taproot_model::{Name, Role, Transport};
use taproot_probes::flow::{Batch, DropDelta, EdgeDelta, FlowCollector, Options, Scope};
use taproot_testkit::{need_commands, need_root, skip};
use veth::{A, B, B6, Bridged, Netns, Pair};

macro_rules! or_skip {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(why) => skip!("{why}"),
        }
    };
}

/// The kernel is done with the last packets of closed connections.
const SETTLE: Duration = Duration::from_millis(400);

fn start(pair: &Pair) -> FlowCollector {
    start_in(pair.inodes())
}

/// A collector that does not start where root asks for it is a failure, no reason to skip.
fn start_in(inodes: Vec<u32>) -> FlowCollector {
    let cgroup_root = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .into_iter()
        .map(PathBuf::from)
        .find(|mount| mount.join("cgroup.controllers").exists());
    let options = Options { scope: Scope::Netns(inodes), cgroup_root, ..Options::default() };
    let collector = FlowCollector::start(options).expect("root may load it");
    assert_eq!(collector.off(), [], "all hooks are there on kernels from 6.1 on");
    collector
}

fn settle(collector: &mut FlowCollector) -> Batch {
    sleep(SETTLE);
    let batch = collector.poll().expect("readable");
    assert_eq!(collector.losses().expect("readable"), []);
    batch
}

/// The one edge of a port, from one end.
fn edge(batch: &Batch, port: u16, role: Role) -> EdgeDelta {
    let mut found = batch.edges.iter().filter(|e| e.key.port == port && e.key.role == role);
    let edge = found.next().unwrap_or_else(|| panic!("no {role:?} of {port} in {batch:#?}"));
    assert_eq!(found.next(), None, "two edges where there is one");
    edge.clone()
}

fn drops<'a>(batch: &'a Batch, reason: &str) -> Vec<&'a DropDelta> {
    batch.drops.iter().filter(|d| d.reason.as_str() == reason && d.ends.is_some()).collect()
}

/// A server that takes `connections` one after the other: reads `request` bytes,
/// answers `response` bytes, and waits for the client to close.
fn serve(listener: &TcpListener, connections: usize, request: usize, response: usize) {
    let mut buffer = vec![0; request.max(1)];
    for _ in 0..connections {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.read_exact(&mut buffer[..request]).expect("a whole request");
        stream.write_all(&vec![b'r'; response]).expect("writable");
        assert_eq!(stream.read(&mut buffer).expect("an end"), 0, "the client closes");
    }
}

fn call(to: SocketAddr, request: usize, response: usize) {
    let mut stream = TcpStream::connect(to).expect("the server listens");
    stream.write_all(&vec![b'q'; request]).expect("writable");
    let mut answer = vec![0; response];
    stream.read_exact(&mut answer).expect("a whole response");
}

fn listen(pair: &Pair, address: &str, port: u16) -> TcpListener {
    listen_in(&pair.b, address, port)
}

fn listen_in(netns: &Netns, address: &str, port: u16) -> TcpListener {
    let address: IpAddr = address.parse().expect("an address");
    netns.inside(|| TcpListener::bind((address, port))).expect("the port is free")
}

/// Connections, bytes and packets of a connection per request are exact, against
/// what was sent and what the devices counted.
fn connection_per_request(address: &str, port: u16, connections: usize) {
    let pair = or_skip!(Pair::new());
    let mut collector = start(&pair);
    let (before_a, before_b) = pair.packets();
    let listener = listen(&pair, address, port);
    let to = listener.local_addr().expect("bound");
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&listener, connections, 120, 3000));
        pair.a.inside(|| (0..connections).for_each(|_| call(to, 120, 3000)));
    });
    let batch = settle(&mut collector);
    let (after_a, after_b) = pair.packets();

    let n = connections as u64;
    let client = edge(&batch, port, Role::Client);
    let server = edge(&batch, port, Role::Server);
    for (end, netns) in [(&client, &pair.a), (&server, &pair.b)] {
        assert_eq!((end.connects, end.open), (n, 0), "{end:?}");
        // A slow guest sends again now and then; one event may be several segments.
        let again = netns.counter("Tcp:", "RetransSegs");
        assert!(end.retransmits <= again && (end.retransmits > 0) == (again > 0), "{end:?}");
        assert!(end.rtt.count() >= n && end.failed_connects.is_empty(), "{end:?}");
        assert_eq!(end.key.transport, Transport::Tcp);
    }
    assert_eq!((client.tx_bytes, client.rx_bytes), (n * 120, n * 3000));
    assert_eq!((server.rx_bytes, server.tx_bytes), (n * 120, n * 3000));
    assert_eq!((client.connect_time.count(), server.connect_time.count()), (n, 0));
    assert_eq!(client.tx_packets, after_a.tx - before_a.tx, "against the client's device");
    assert_eq!(client.rx_packets, after_a.rx - before_a.rx, "against the client's device");
    assert_eq!(server.tx_packets, after_b.tx - before_b.tx, "against the server's device");
    assert_eq!(server.rx_packets, after_b.rx - before_b.rx, "against the server's device");
    assert_eq!(client.netns_inode, pair.a.inode);
    assert_eq!(server.netns_inode, pair.b.inode);
    assert_eq!(client.key.remote, to.ip());
    assert_eq!(server.key.local, to.ip());
}

#[test]
fn a_connection_per_request_is_counted_exactly() {
    need_root!();
    need_commands!("ip", "sysctl");
    connection_per_request(B, 7001, 5000);
}

#[test]
fn ipv6_is_counted_as_exactly() {
    need_root!();
    need_commands!("ip", "sysctl");
    connection_per_request(B6, 7002, 200);
}

/// What was there before us has its role, and only what it does from now on counts,
/// while it stays open.
#[test]
fn an_open_connection_is_seen_at_start() {
    need_root!();
    need_commands!("ip", "sysctl");
    let pair = or_skip!(Pair::new());
    let listener = listen(&pair, B, 7003);
    let mut client = pair.a.inside(|| TcpStream::connect((B, 7003))).expect("it listens");
    let (mut server, _) = listener.accept().expect("it connected");
    client.write_all(&[1; 5000]).expect("writable");
    server.read_exact(&mut [0; 5000]).expect("readable");

    let mut collector = start(&pair);
    let quiet = settle(&mut collector);
    for role in [Role::Client, Role::Server] {
        let end = edge(&quiet, 7003, role);
        assert_eq!((end.open, end.connects, end.tx_bytes + end.rx_bytes), (1, 0, 0), "{end:?}");
    }
    for _ in 0..10 {
        client.write_all(&[2; 100]).expect("writable");
        server.read_exact(&mut [0; 100]).expect("readable");
    }
    let busy = settle(&mut collector);
    let (from, to) = (edge(&busy, 7003, Role::Client), edge(&busy, 7003, Role::Server));
    assert_eq!((from.tx_bytes, from.rx_bytes, from.open), (1000, 0, 1));
    assert_eq!((to.rx_bytes, to.tx_bytes, to.open), (1000, 0, 1));
    assert!(from.tx_packets >= 10 && to.rx_packets == from.tx_packets, "{from:?} {to:?}");
    assert!(from.rtt.count() > 0);
    drop((client, server));
    assert_eq!(edge(&settle(&mut collector), 7003, Role::Client).open, 0);
}

#[test]
fn a_refused_connect_is_told_by_its_errno() {
    need_root!();
    need_commands!("ip", "sysctl");
    let pair = or_skip!(Pair::new());
    let mut collector = start(&pair);
    for _ in 0..5 {
        pair.a.inside(|| TcpStream::connect((B, 7004))).expect_err("nobody listens");
    }
    let batch = settle(&mut collector);
    let client = edge(&batch, 7004, Role::Client);
    assert_eq!(client.failed_connects, BTreeMap::from([(Name::from("ECONNREFUSED"), 5)]));
    assert_eq!((client.connects, client.resets_received), (0, 5));
    let dead = drops(&batch, "NO_SOCKET");
    assert_eq!(dead.iter().map(|d| d.count).sum::<u64>(), 5, "{dead:?}");
    assert_eq!(dead[0].netns_inode, pair.b.inode);
    let ends = dead[0].ends.expect("filtered");
    assert_eq!((ends.server.to_string(), ends.port, ends.to_server), (B.to_owned(), 7004, true));
}

#[test]
fn a_connect_given_up_is_no_errno_of_the_network() {
    need_root!();
    need_commands!("ip", "sysctl", "iptables");
    let pair = or_skip!(Pair::new());
    or_skip!(pair.b.run("iptables -A INPUT -p tcp --dport 7005 -j DROP"));
    let mut collector = start(&pair);
    let to: SocketAddr = format!("{B}:7005").parse().expect("an address");
    let gave_up = pair.a.inside(|| TcpStream::connect_timeout(&to, Duration::from_millis(1500)));
    gave_up.expect_err("the firewall swallows it");
    let batch = settle(&mut collector);
    let client = edge(&batch, 7005, Role::Client);
    assert_eq!(client.failed_connects, BTreeMap::from([(Name::from("ECANCELED"), 1)]));
    assert!(client.syn_retransmits >= 1, "the second SYN goes after one second: {client:?}");
    assert_eq!(client.tx_packets, 1 + client.syn_retransmits);
    let dropped: u64 = drops(&batch, "NETFILTER_DROP").iter().map(|d| d.count).sum();
    assert_eq!(dropped, client.tx_packets, "every SYN died in the firewall");
}

#[test]
fn resets_are_counted_at_both_ends() {
    need_root!();
    need_commands!("ip", "sysctl");
    let pair = or_skip!(Pair::new());
    let mut collector = start(&pair);
    let listener = listen(&pair, B, 7006);
    let mut client = pair.a.inside(|| TcpStream::connect((B, 7006))).expect("it listens");
    let (server, _) = listener.accept().expect("it connected");
    sockopt::set_socket_linger(&server, Some(Duration::ZERO)).expect("settable");
    drop(server);
    client.read(&mut [0; 1]).expect_err("reset");
    drop(client);
    let batch = settle(&mut collector);
    let (from, to) = (edge(&batch, 7006, Role::Client), edge(&batch, 7006, Role::Server));
    assert_eq!((to.resets_sent, to.resets_received), (1, 0), "{to:?}");
    assert_eq!((from.resets_sent, from.resets_received), (0, 1), "{from:?}");
    assert_eq!(to.tx_packets, from.rx_packets, "the reset is a packet, too");
}

/// Packets to a port that the firewall's rule for it swallowed.
fn swallowed_by(pair: &Pair, port: u16) -> u64 {
    let listing = pair.b.run("iptables -nvxL INPUT").expect("readable");
    let rule = listing.lines().find(|l| l.contains(&format!("dpt:{port}")));
    rule.and_then(|l| l.split_whitespace().next()?.parse().ok()).expect("the rule's count")
}

/// A firewall that swallows every fifth segment: dropped equals its own counter.
#[test]
fn dropped_packets_equal_the_firewalls_count() {
    need_root!();
    need_commands!("ip", "sysctl", "iptables");
    let pair = or_skip!(Pair::new());
    let rule = "INPUT -p tcp --dport 7007 -m statistic --mode nth --every 5 --packet 4 -j DROP";
    or_skip!(pair.b.run(&format!("iptables -A {rule}")));
    let mut collector = start(&pair);
    let listener = listen(&pair, B, 7007);
    let to = listener.local_addr().expect("bound");
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&listener, 10, 20_000, 10));
        pair.a.inside(|| (0..10).for_each(|_| call(to, 20_000, 10)));
    });
    // The last packets of a connection may be swallowed, and sent again, after its program
    // has ended: looked at when none was for a while.
    let mut swallowed = 0;
    while swallowed != swallowed_by(&pair, 7007) {
        swallowed = swallowed_by(&pair, 7007);
        sleep(Duration::from_secs(1));
    }
    let batch = settle(&mut collector);
    let told = drops(&batch, "NETFILTER_DROP");
    assert!(swallowed > 0);
    assert_eq!(told.iter().map(|d| d.count).sum::<u64>(), swallowed, "{told:?}");
    assert!(told.iter().all(|d| d.ends.is_some_and(|e| e.port == 7007 && e.to_server)));
    let client = edge(&batch, 7007, Role::Client);
    assert!(client.retransmits > 0, "{client:?}");
    assert_eq!(client.tx_bytes, 200_000, "what is sent again is no new payload");
    assert_eq!(edge(&batch, 7007, Role::Server).rx_bytes, 200_000);
}

/// More connections than the accept queue holds: our count is the kernel's own.
#[test]
fn a_full_accept_queue_is_counted_at_its_listener() {
    need_root!();
    need_commands!("ip", "sysctl");
    let pair = or_skip!(Pair::new());
    let mut collector = start(&pair);
    let _listener = pair.b.inside(|| {
        let fd =
            rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        let to: SocketAddr = format!("{B}:7008").parse().expect("an address");
        rustix::net::bind(&fd, &to).expect("the port is free");
        rustix::net::listen(&fd, 1).expect("it may listen");
        fd
    });
    let to: SocketAddr = format!("{B}:7008").parse().expect("an address");
    let attempts: Vec<_> = (0..6)
        .map(|_| pair.a.inside(|| TcpStream::connect_timeout(&to, Duration::from_millis(300))))
        .collect();
    let batch = settle(&mut collector);
    let queue = batch.listeners.iter().find(|l| l.port == 7008).expect("it listens");
    assert_eq!((queue.backlog, queue.backlog_limit), (2, 1), "{queue:?}");
    assert_eq!(queue.overflows, pair.b.counter("TcpExt:", "ListenDrops"), "{queue:?}");
    assert!(queue.overflows >= 4, "{queue:?}");
    drop(attempts);
}

/// Datagrams to a server bound before the start (`early`) or after it.
fn datagrams(port: u16, early: bool) {
    let pair = or_skip!(Pair::new());
    let bind = || pair.b.inside(|| UdpSocket::bind((B, port))).expect("the port is free");
    let server_early = early.then(bind);
    let mut collector = start(&pair);
    let server = server_early.unwrap_or_else(bind);
    let client = pair.a.inside(|| UdpSocket::bind((A, 0))).expect("some port is free");
    client.connect((B, port)).expect("connectable");
    let mut buffer = [0; 2000];
    for _ in 0..50 {
        client.send(&[1; 100]).expect("sendable");
        let (_, from) = server.recv_from(&mut buffer).expect("it came");
        server.send_to(&[2; 300], from).expect("sendable");
        assert_eq!(client.recv(&mut buffer).expect("the answer came"), 300);
    }
    let batch = settle(&mut collector);
    let (from, to) = (edge(&batch, port, Role::Client), edge(&batch, port, Role::Server));
    assert_eq!((from.tx_packets, from.rx_packets), (50, 50), "{from:?}");
    assert_eq!((from.tx_bytes, from.rx_bytes), (5000, 15_000), "{from:?}");
    assert_eq!((to.tx_packets, to.rx_packets), (50, 50), "{to:?}");
    assert_eq!((to.tx_bytes, to.rx_bytes), (15_000, 5000), "{to:?}");
    assert_eq!((from.key.transport, to.key.transport), (Transport::Udp, Transport::Udp));
}

#[test]
fn udp_to_a_server_from_before_the_start() {
    need_root!();
    need_commands!("ip", "sysctl");
    datagrams(7009, true);
}

#[test]
fn udp_to_a_server_that_comes_later() {
    need_root!();
    need_commands!("ip", "sysctl");
    datagrams(7010, false);
}

/// A socket's queue that nobody reads: the kernel says it is full.
#[test]
fn a_full_receive_buffer_is_a_drop_with_its_reason() {
    need_root!();
    need_commands!("ip", "sysctl");
    let pair = or_skip!(Pair::new());
    let mut collector = start(&pair);
    let server = pair.b.inside(|| UdpSocket::bind((B, 7011))).expect("the port is free");
    sockopt::set_socket_recv_buffer_size(&server, 4096).expect("settable");
    let client = pair.a.inside(|| UdpSocket::bind((A, 0))).expect("some port is free");
    for _ in 0..100 {
        client.send_to(&[1; 1000], (B, 7011)).expect("sendable");
    }
    server.set_nonblocking(true).expect("settable");
    let batch = settle(&mut collector);
    let arrived = std::iter::from_fn(|| server.recv_from(&mut [0; 1500]).ok()).count() as u64;
    let full: u64 = drops(&batch, "SOCKET_RCVBUFF").iter().map(|d| d.count).sum();
    assert_eq!(arrived + full, 100);
    assert!(full > 0 && arrived > 0, "{arrived} arrived");
    assert_eq!(edge(&batch, 7011, Role::Server).rx_packets, 100);
}

/// A half-closed connection still carries data, and its FIN is no byte.
#[test]
fn a_half_closed_connection_counts_its_payload_only() {
    need_root!();
    need_commands!("ip", "sysctl");
    let pair = or_skip!(Pair::new());
    let mut collector = start(&pair);
    let listener = listen(&pair, B, 7012);
    let client = pair.a.inside(|| TcpStream::connect((B, 7012))).expect("it listens");
    let (mut server, _) = listener.accept().expect("it connected");
    client.shutdown(Shutdown::Write).expect("open");
    assert_eq!(server.read(&mut [0; 9]).expect("an end"), 0);
    server.write_all(&[3; 777]).expect("writable");
    let batch = settle(&mut collector);
    let (from, to) = (edge(&batch, 7012, Role::Client), edge(&batch, 7012, Role::Server));
    assert_eq!((from.tx_bytes, from.rx_bytes, from.open), (0, 777, 1));
    assert_eq!((to.tx_bytes, to.rx_bytes, to.open), (777, 0, 1));
}

/// A bridge shows a packet to this machine several times; it counts once, and what
/// only passes through makes no edge.
#[test]
fn packets_over_a_bridge_count_once() {
    need_root!();
    need_commands!("ip", "sysctl");
    let net = or_skip!(Bridged::new());
    let mut collector = start_in(net.inodes());
    let ways = [(7013, &net.a), (7014, &net.middle)];
    for (port, from) in ways {
        let listener = listen_in(&net.b, B, port);
        let to = listener.local_addr().expect("bound");
        std::thread::scope(|scope| {
            scope.spawn(|| serve(&listener, 20, 100, 100));
            from.inside(|| (0..20).for_each(|_| call(to, 100, 100)));
        });
    }
    let batch = settle(&mut collector);
    for (port, from) in ways {
        let (client, server) = (edge(&batch, port, Role::Client), edge(&batch, port, Role::Server));
        assert_eq!((client.netns_inode, server.netns_inode), (from.inode, net.b.inode));
        assert_eq!((client.connects, server.connects), (20, 20));
        assert_eq!(client.tx_packets, server.rx_packets, "{client:?} {server:?}");
        assert_eq!(client.rx_packets, server.tx_packets, "{client:?} {server:?}");
        assert!(!client.rx_by_socket && client.rx_packets >= 60, "{client:?}");
    }
}

/// Answers one HTTP request on each of `connections` connections.
fn serve_http(listener: &TcpListener, connections: u64) {
    for _ in 0..connections {
        let (mut stream, _) = listener.accept().expect("a connection");
        assert!(stream.read(&mut [0; 2000]).expect("a request") > 0);
        stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok").expect("writable");
    }
}

/// Two control groups in one namespace that call the same server are two edges. The
/// packets received cannot be told apart, and that is said.
#[test]
fn two_groups_in_one_namespace_are_two_edges() {
    need_root!();
    need_commands!("ip", "sysctl", "ab");
    let pair = or_skip!(Pair::new());
    let groups = [or_skip!(Group::new("flow-one")), or_skip!(Group::new("flow-two"))];
    let mut collector = start(&pair);
    let listener = listen(&pair, B, 7015);
    let calls = [4, 6];
    std::thread::scope(|scope| {
        scope.spawn(|| serve_http(&listener, calls.iter().sum()));
        for (group, n) in groups.iter().zip(calls) {
            let ab = pair.a.command(&format!("ab -q -n {n} http://{B}:7015/"));
            group.run(&ab, None).0.wait().expect("it ends");
        }
    });
    sleep(SETTLE);
    let batch = collector.poll().expect("readable");
    for (group, n) in groups.iter().zip(calls) {
        let mut own = batch.edges.iter().filter(|e| e.cgroup == group.id);
        let edge = own.next().unwrap_or_else(|| panic!("none of {} in {batch:#?}", group.id));
        assert_eq!((edge.key.role, edge.key.port), (Role::Client, 7015));
        assert_eq!((edge.connects, edge.rx_bytes), (n, n * 40), "{edge:?}");
    }
    assert_eq!(edge(&batch, 7015, Role::Server).connects, 10);
    let lost = collector.losses().expect("readable");
    assert!(matches!(lost[..], [("shared_edge", n)] if n > 0), "{lost:?}");
}

/// More edges than there is room for: what is left out is said.
#[test]
fn a_full_table_of_edges_is_a_loss_with_its_reason() {
    need_root!();
    need_commands!("ip", "sysctl");
    let pair = or_skip!(Pair::new());
    let scope = Scope::Netns(pair.inodes());
    let options = Options { scope, max_edges: 4, ..Options::default() };
    let mut collector = FlowCollector::start(options).expect("root may load it");
    for port in 7020..7030 {
        pair.a.inside(|| TcpStream::connect((B, port))).expect_err("nobody listens");
    }
    sleep(SETTLE);
    assert_eq!(collector.poll().expect("readable").edges.len(), 4);
    let lost = collector.losses().expect("readable");
    assert!(matches!(lost[..], [("edges_full", n)] if n >= 6), "{lost:?}");
}

/// A silent edge is forgotten; when it speaks again, nothing is missing or double.
#[test]
fn an_edge_that_was_forgotten_begins_anew() {
    need_root!();
    need_commands!("ip", "sysctl");
    let pair = or_skip!(Pair::new());
    let scope = Scope::Netns(pair.inodes());
    let options = Options { scope, idle_polls: 2, ..Options::default() };
    let mut collector = FlowCollector::start(options).expect("root may load it");
    let listener = listen(&pair, B, 7016);
    let to = listener.local_addr().expect("bound");
    for _ in 0..2 {
        std::thread::scope(|scope| {
            scope.spawn(|| serve(&listener, 3, 50, 70));
            pair.a.inside(|| (0..3).for_each(|_| call(to, 50, 70)));
        });
        let client = edge(&settle(&mut collector), 7016, Role::Client);
        assert_eq!((client.connects, client.tx_bytes, client.rx_bytes), (3, 150, 210));
        for _ in 0..25 {
            assert_eq!(collector.poll().expect("readable").edges, []);
        }
        assert_eq!(collector.edges_held(), 0);
    }
}
