//! The tracer against real packets in network namespaces of our own.

mod veth;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use taproot_model::{NetfilterHook, Step};
use taproot_probes::trace::{Compare, Event, Field, Options, Test, Tier, Tracer};
use taproot_testkit::{need_commands, need_root, skip};
use veth::{A, B, Bridged, MIDDLE, Netns, Pair};

macro_rules! or_skip {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(why) => skip!("{why}"),
        }
    };
}

/// Packets whose source or destination port is this.
fn port(number: u16) -> Vec<Test> {
    let test = |field, no| Test {
        field,
        compare: Compare::Equal,
        mask: u32::MAX,
        value: u32::from(number),
        yes: Test::ACCEPT,
        no,
    };
    vec![test(Field::SourcePort, 1), test(Field::DestinationPort, Test::REJECT)]
}

fn start(tests: Vec<Test>) -> Tracer {
    let tracer = Tracer::start(&Options { tests, ..Options::default() });
    let tracer = tracer.expect("root may load it");
    let off: Vec<_> = tracer.off().iter().filter(|o| o.program != "on_ready").collect();
    assert!(off.is_empty(), "all hooks but this are there from 6.1 on: {off:?}");
    tracer
}

/// All hops, in order of time; the account must add up.
fn finish(mut tracer: Tracer) -> Vec<Event> {
    std::thread::sleep(Duration::from_millis(300));
    let mut events = tracer.poll().expect("readable");
    events.extend(tracer.stop().expect("readable"));
    let account = tracer.account().expect("readable");
    assert_eq!(account.produced, account.delivered, "{account:?}");
    assert_eq!(account.delivered, events.len() as u64);
    assert!(account.is_whole(), "{account:?}");
    events.sort_by_key(|event| event.hop.at);
    events
}

/// Step, namespace, device of each hop, for a reader of a failed test.
fn words(events: &[Event]) -> Vec<String> {
    let line = |event: &Event| {
        let hop = &event.hop;
        let (netns, device) = (hop.place.netns.unwrap_or(0), &hop.place.device);
        format!("{:?} {netns} {device} {} > {}", hop.step, hop.tuple.source, hop.tuple.destination)
    };
    events.iter().map(line).collect()
}

fn udp(netns: &Netns, address: &str, port: u16) -> UdpSocket {
    let address: IpAddr = address.parse().expect("an address");
    netns.inside(|| UdpSocket::bind((address, port))).expect("the port is free")
}

/// Whether the hops hold these, one after the other, with others between.
fn in_order(events: &[Event], wanted: &[(&str, u32, &str)]) -> bool {
    let mut rest = events.iter();
    wanted.iter().all(|(step, netns, device)| {
        rest.any(|event| {
            let place = &event.hop.place;
            format!("{:?}", event.hop.step).starts_with(step)
                && place.netns == Some(*netns)
                && place.device.as_str() == *device
        })
    })
}

#[test]
fn live_a_datagram_is_seen_from_socket_to_socket() {
    need_root!();
    need_commands!("ip", "sysctl");
    let pair = or_skip!(Pair::new());
    let server = udp(&pair.b, B, 5301);
    let client = udp(&pair.a, A, 0);
    let tracer = start(port(5301));
    pair.a.inside(|| client.send_to(b"hello", (B, 5301))).expect("sent");
    let mut buffer = [0; 16];
    server.set_read_timeout(Some(Duration::from_secs(5))).expect("settable");
    let read = pair.b.inside(|| server.recv(&mut buffer));
    assert_eq!(read.expect("it arrives"), 5);
    let events = finish(tracer);

    let wanted = [
        ("Queued", pair.a.inode, "cable"),
        ("Transmitted", pair.a.inode, "cable"),
        ("Received", pair.b.inode, "cable"),
        ("Delivered", pair.b.inode, ""),
    ];
    assert!(in_order(&events, &wanted), "{:#?}", words(&events));
    let sent = events.iter().find(|e| e.own_socket).expect("the sender is known");
    let socket = sent.hop.socket.as_ref().expect("with its socket");
    assert_eq!(socket.pid, std::process::id(), "{socket:?}");
    assert_eq!(sent.hop.tuple.length, 20 + 8 + 5);
    // The route is looked up for the send, and for the packet that comes in.
    let routes = |netns| {
        let of = |e: &&Event| matches!(&e.hop.step, Step::Routed(_)) && e.hop.place.netns == netns;
        events.iter().filter(of).count()
    };
    assert!(routes(Some(pair.a.inode)) > 0, "{:#?}", words(&events));
}

#[test]
fn live_a_drop_names_reason_function_and_hook() {
    need_root!();
    need_commands!("ip", "sysctl", "iptables");
    let pair = or_skip!(Pair::new());
    or_skip!(pair.b.run("iptables -A INPUT -p udp --dport 5302 -j DROP"));
    let client = udp(&pair.a, A, 0);
    let tracer = start(port(5302));
    client.send_to(b"hello", (B, 5302)).expect("sent");
    let events = finish(tracer);

    let drops: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.hop.step {
            Step::Dropped(drop) => Some((event, drop)),
            _ => None,
        })
        .collect();
    let [(event, drop)] = drops.as_slice() else { panic!("{:#?}", words(&events)) };
    assert_eq!(event.hop.place.netns, Some(pair.b.inode));
    assert_eq!(drop.reason.as_str(), "NETFILTER_DROP");
    assert_eq!(drop.netfilter, Some(NetfilterHook::Input), "{drop:?}");
    assert!(drop.stack.iter().any(|name| name.as_str() == "nf_hook_slow"), "{drop:?}");
    assert_eq!(drop.stack.first(), Some(&drop.function), "{drop:?}");
}

#[test]
fn live_a_refused_connection_shows_the_reset_and_its_end() {
    need_root!();
    need_commands!("ip", "sysctl");
    let pair = or_skip!(Pair::new());
    let tracer = start(port(5303));
    let to: SocketAddr = (B.parse::<IpAddr>().expect("an address"), 5303).into();
    let refused = pair.a.inside(|| TcpStream::connect(to)).expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let events = finish(tracer);
    let wanted = [
        ("Queued", pair.a.inode, "cable"),
        ("Received", pair.b.inode, "cable"),
        // The reset itself: tcp_send_reset names no packet of nobody's on 6.1.
        ("Queued", pair.b.inode, "cable"),
        ("Received", pair.a.inode, "cable"),
        ("ResetReceived", pair.a.inode, ""),
    ];
    assert!(in_order(&events, &wanted), "{:#?}", words(&events));
    let no_socket = |event: &Event| matches!(&event.hop.step, Step::Dropped(drop) if drop.reason.as_str() == "NO_SOCKET");
    assert!(events.iter().any(no_socket), "{:#?}", words(&events));
    let states: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.hop.step {
            Step::SocketState { to, .. } => Some(to.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(states, ["SYN_SENT", "CLOSE"]);
}

/// A translated destination: the filter names what the client dials, and both the
/// translated leg and the answers are seen, on all three machines.
#[test]
fn live_translated_legs_and_answers_are_followed() {
    need_root!();
    need_commands!("ip", "sysctl", "iptables");
    let bridged = or_skip!(Bridged::new());
    // A dials the middle, which sends it on to B and hides A's address.
    or_skip!(bridged.middle.run("sysctl -q -w net.ipv4.ip_forward=1"));
    let nat = "iptables -t nat";
    let to_b = format!("-p tcp --dport 80 -j DNAT --to-destination {B}:5304");
    or_skip!(bridged.middle.run(&format!("{nat} -A PREROUTING -d {MIDDLE} {to_b}")));
    or_skip!(bridged.middle.run(&format!("{nat} -A POSTROUTING -d {B} -j MASQUERADE")));
    let address: IpAddr = B.parse().expect("an address");
    let listener = bridged.b.inside(|| TcpListener::bind((address, 5304))).expect("free");
    let tracer = start(host_and_port(MIDDLE, 80));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("readable");
            stream.write_all(&byte).expect("writable");
        });
        let middle: SocketAddr = (MIDDLE.parse::<IpAddr>().expect("an address"), 80).into();
        bridged.a.inside(|| {
            let mut stream = TcpStream::connect(middle).expect("translated");
            stream.write_all(b"x").expect("writable");
            stream.read_exact(&mut [0]).expect("an answer");
        });
    });
    let events = finish(tracer);
    let (a, b) = (bridged.a.inode, bridged.b.inode);
    let wanted = [
        ("Queued", a, "cable"),
        ("Received", b, "cable"),
        ("Queued", b, "cable"),
        ("Received", a, "cable"),
        ("Delivered", b, ""),
        ("Delivered", a, ""),
    ];
    assert!(in_order(&events, &wanted), "{:#?}", words(&events));
    let followed = events.iter().filter(|event| event.followed).count();
    assert!(followed > 10, "{:#?}", words(&events));
    // Nothing else passes here: both ends of every hop are the conversation's.
    let known = [A, B, MIDDLE];
    assert!(
        events.iter().all(|event| {
            let ends = [event.hop.tuple.source, event.hop.tuple.destination];
            ends.iter().any(|end| known.contains(&end.ip().to_string().as_str()))
        }),
        "{:#?}",
        words(&events)
    );
}

fn host_and_port(host: &str, number: u16) -> Vec<Test> {
    let address: std::net::Ipv4Addr = host.parse().expect("an address");
    let test = |field, value, yes, no| Test {
        field,
        compare: Compare::Equal,
        mask: u32::MAX,
        value,
        yes,
        no,
    };
    vec![
        test(Field::Source(0), address.into(), 2, 1),
        test(Field::Destination(0), address.into(), 2, Test::REJECT),
        test(Field::SourcePort, u32::from(number), Test::ACCEPT, 3),
        test(Field::DestinationPort, u32::from(number), Test::ACCEPT, Test::REJECT),
    ]
}

/// Nobody reads a ring that holds but a few hops: every hop is either handed out or
/// counted as lost.
#[test]
fn live_what_a_tiny_ring_loses_is_counted_exactly() {
    need_root!();
    need_commands!("ip", "sysctl");
    let pair = or_skip!(Pair::new());
    let server = udp(&pair.b, B, 5305);
    let client = udp(&pair.a, A, 0);
    let options = Options { tests: port(5305), ring_bytes: 4096, budget: 0, ..Options::default() };
    let mut tracer = Tracer::start(&options).expect("root may load it");
    let mut delivered = 0;
    for round in 0..2000u32 {
        client.send_to(&round.to_be_bytes(), (B, 5305)).expect("sent");
        if round % 50 == 0 {
            delivered += tracer.poll().expect("readable").len() as u64;
        }
    }
    delivered += tracer.stop().expect("readable").len() as u64;
    let account = tracer.account().expect("readable");
    assert_eq!(account.delivered, delivered);
    assert!(account.ring_full > 1000, "{account:?}");
    assert_eq!(account.produced, delivered + account.ring_full + account.over_budget);
    drop(server);
}

#[test]
fn live_a_budget_leaves_out_and_says_how_many() {
    need_root!();
    need_commands!("ip", "sysctl");
    let pair = or_skip!(Pair::new());
    let client = udp(&pair.a, A, 0);
    let options = Options { tests: port(5306), budget: 20, ..Options::default() };
    let mut tracer = Tracer::start(&options).expect("root may load it");
    for round in 0..500u32 {
        client.send_to(&round.to_be_bytes(), (B, 5306)).expect("sent");
    }
    let delivered = tracer.stop().expect("readable").len() as u64;
    let account = tracer.account().expect("readable");
    assert!(account.over_budget > 500, "{account:?}");
    let (first, last) = account.over.expect("it says when");
    assert!(first <= last && last.since(first) < Duration::from_mins(1), "{account:?}");
    assert_eq!(account.produced, delivered + account.over_budget + account.ring_full);
}

/// Requests and answers at 1,200 a second, all of them matching, over two seconds.
#[test]
fn live_nothing_is_lost_at_1200_requests_a_second() {
    need_root!();
    need_commands!("ip", "sysctl");
    if taproot_testkit::guest_kernel().is_some() {
        skip!("an emulated CPU does not do 1,200 a second");
    }
    let pair = or_skip!(Pair::new());
    let server = udp(&pair.b, B, 5307);
    let client = udp(&pair.a, A, 0);
    client.set_read_timeout(Some(Duration::from_secs(5))).expect("settable");
    let mut tracer = start(port(5307));
    let (rounds, pace) = (2400u32, Duration::from_secs(1) / 1200);
    let mut events = 0;
    std::thread::scope(|scope| {
        let echo = scope.spawn(|| {
            let mut buffer = [0; 64];
            for _ in 0..rounds {
                let (length, from) = server.recv_from(&mut buffer).expect("a request");
                server.send_to(&buffer[..length], from).expect("answered");
            }
        });
        let begin = std::time::Instant::now();
        for round in 0..rounds {
            client.send_to(&round.to_be_bytes(), (B, 5307)).expect("sent");
            client.recv(&mut [0; 64]).expect("an answer");
            if round % 24 == 0 {
                events += tracer.poll().expect("readable").len() as u64;
            }
            std::thread::sleep((pace * round).saturating_sub(begin.elapsed()));
        }
        echo.join().expect("the server ended well");
    });
    events += tracer.stop().expect("readable").len() as u64;
    let account = tracer.account().expect("readable");
    assert!(account.is_whole(), "{account:?}");
    assert_eq!((account.produced, account.delivered), (events, events));
    assert!(events >= u64::from(rounds) * 6, "six hops a round at least: {events}");
}

/// A datagram to a port that the receiver's firewall drops, and one to a port that is read.
fn one_of_two_arrives(tier: Tier, dropped: u16) -> Result<(Pair, Tracer, Vec<Event>), String> {
    let pair = Pair::new()?;
    pair.b.run(&format!("iptables -A INPUT -p udp --dport {dropped} -j DROP"))?;
    let open = dropped + 1;
    let server = udp(&pair.b, B, open);
    let client = udp(&pair.a, A, 0);
    let tests = [port(dropped), port(open)].concat();
    // The first port's last test goes on to the second port's tests.
    let tests = tests.into_iter().enumerate().map(|(at, test)| match at {
        1 => Test { no: 2, ..test },
        2 => Test { no: 3, ..test },
        _ => test,
    });
    let options = Options { tests: tests.collect(), tier, ..Options::default() };
    let mut tracer = Tracer::start(&options).expect("without functions, too");
    for port in [dropped, open] {
        client.send_to(b"hello", (B, port)).expect("sent");
    }
    server.set_read_timeout(Some(Duration::from_mins(1))).expect("settable");
    assert_eq!(pair.b.inside(|| server.recv(&mut [0; 16])).expect("it arrives"), 5);
    std::thread::sleep(Duration::from_millis(300));
    let events = tracer.stop().expect("readable");
    let account = tracer.account().expect("readable");
    assert_eq!(account.produced, account.delivered, "{account:?}");
    let is_drop = |event: &&Event| matches!(event.hop.step, Step::Dropped(_));
    assert_eq!(events.iter().filter(is_drop).count(), 1, "{:#?}", words(&events));
    Ok((pair, tracer, events))
}

/// Function, object, meaning of every call to a port.
fn calls(events: &[Event], port: u16) -> Vec<(String, String, String)> {
    let to_port = events.iter().filter(|event| event.hop.tuple.destination.port() == port);
    to_port
        .filter_map(|event| match &event.hop.step {
            Step::Called(call) => {
                let text = |name: &taproot_model::Name| name.to_string();
                Some((text(&call.function), text(&call.object), text(&call.meaning)))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn live_functions_say_what_they_decide_or_why_they_are_off() {
    need_root!();
    need_commands!("ip", "sysctl", "iptables");
    let (pair, tracer, events) = or_skip!(one_of_two_arrives(Tier::Function, 5310));
    let (dropped, open) = (calls(&events, 5310), calls(&events, 5311));
    if let Some((tier, why)) = tracer.missing_tiers().first() {
        assert_eq!(*tier, Tier::Function);
        assert!(!why.is_empty() && dropped.is_empty() && open.is_empty());
        skip!("functions cannot be watched here: {why}");
    }
    let has = |calls: &[(String, String, String)], function: &str, meaning: &str| {
        calls.iter().any(|call| call.0 == function && call.2 == meaning)
    };
    for calls in [&dropped, &open] {
        assert!(has(calls, "ip_route_input_noref", "local"), "{calls:#?}");
    }
    // iptables of its own kind, or that which makes rules of nftables.
    let firewall = |calls: &[(String, String, String)], meaning: &str| {
        calls.iter().any(|call| call.1.contains("filter") && call.2 == meaning)
    };
    assert!(firewall(&dropped, "drop") && !firewall(&dropped, "accept"), "{dropped:#?}");
    assert!(firewall(&open, "accept") && has(&open, "nf_hook_slow", "accept"), "{open:#?}");
    assert!(has(&open, "__udp_enqueue_schedule_skb", ""), "{open:#?}");
    let calls = events.iter().filter(|event| matches!(event.hop.step, Step::Called(_)));
    for event in calls {
        // A security module may have hooks of its own at the sender's.
        let netns = event.hop.place.netns.expect("known at all of these");
        assert!([pair.a.inode, pair.b.inode].contains(&netns), "{event:#?}");
    }
}

#[test]
fn live_every_function_or_why_not() {
    need_root!();
    need_commands!("ip", "sysctl", "iptables");
    let (_pair, tracer, events) = or_skip!(one_of_two_arrives(Tier::Every, 5312));
    let open = calls(&events, 5313);
    if let Some((_, why)) = tracer.missing_tiers().iter().find(|(tier, _)| *tier == Tier::Every) {
        assert!(!why.is_empty() && tracer.watched() == 0);
        skip!("every function cannot be watched here: {why}");
    }
    assert!(tracer.watched() > 500, "{}", tracer.watched());
    let functions: std::collections::BTreeSet<&str> =
        open.iter().map(|call| call.0.as_str()).collect();
    // In the kernel and in a module.
    for name in ["ip_rcv", "udp_rcv", "veth_xmit"] {
        assert!(functions.contains(name), "no {name} among {functions:?}");
    }
    assert!(functions.len() > 20, "{functions:?}");
}

#[test]
fn live_a_budget_takes_functions_off_and_says_when() {
    need_root!();
    need_commands!("ip", "sysctl");
    let pair = or_skip!(Pair::new());
    let client = udp(&pair.a, A, 0);
    let tier = Tier::Function;
    let options = Options { tests: port(5314), budget: 20, tier, ..Options::default() };
    let mut tracer = Tracer::start(&options).expect("without functions, too");
    if let Some((_, why)) = tracer.missing_tiers().first() {
        skip!("functions cannot be watched here: {why}");
    }
    tracer.poll().expect("readable");
    assert_eq!(tracer.account().expect("readable").functions_until, None, "nothing was lost");
    for round in 0..200u32 {
        client.send_to(&round.to_be_bytes(), (B, 5314)).expect("sent");
    }
    // It looks once a second.
    std::thread::sleep(Duration::from_millis(1100));
    tracer.poll().expect("readable");
    let account = tracer.account().expect("readable");
    assert!(account.over_budget > 0 && account.functions_until.is_some(), "{account:?}");
    assert_eq!(account.every_until, None, "they were not asked for");
    assert!(tracer.missing_tiers().is_empty(), "taken off is not refused");
}
