use taproot_model::{Call, Name, PacketId, Route};

use super::*;
use crate::testing::{A, B, hop, sent};

fn assemble(events: Vec<Event>) -> Trace {
    Trace::assemble(events, Account::default())
}

#[test]
fn hops_come_together_in_order_of_time() {
    let trace = assemble(vec![
        hop(30, Step::Received, B, "eth0"),
        sent(10),
        hop(20, Step::Transmitted, A, "eth0"),
    ]);
    assert_eq!(trace.paths.len(), 1);
    let times: Vec<u64> = trace.paths[0].hops.iter().map(|event| event.hop.at.0).collect();
    assert_eq!(times, [10, 20, 30]);
    assert!(trace.paths[0].holes.is_empty() && trace.paths[0].began_here());
}

#[test]
fn sent_again_is_another_packet_of_the_same_conversation() {
    let mut again = vec![sent(1000), hop(1030, Step::Received, B, "eth0")];
    // Also where the identification is the same, as with SYN-ACK and IPv6.
    let mut events = vec![sent(10), hop(30, Step::Received, B, "eth0")];
    events.append(&mut again);
    let trace = assemble(events);
    assert_eq!(trace.paths.iter().map(|path| path.hops.len()).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(trace.conversations.len(), 1);
}

#[test]
fn the_rest_of_an_earlier_packet_is_not_the_beginning_of_the_one_sent_again() {
    // The trace began when the first one was on its way.
    let rest = hop(10, Step::Received, B, "eth0");
    let trace = assemble(vec![rest, sent(1000), hop(1030, Step::Received, B, "eth0")]);
    assert_eq!(trace.paths.iter().map(|path| path.hops.len()).collect::<Vec<_>>(), [1, 2]);
}

fn called(at: u64, netns: u32) -> Event {
    let call = Call {
        function: "ip_route_input_noref".into(),
        returned: Some(0),
        meaning: "forward".into(),
        object: "eth1".into(),
        netfilter: None,
    };
    hop(at, Step::Called(call), netns, "")
}

#[test]
fn calls_stand_between_the_hops_of_their_packet() {
    let mut other = called(15, A);
    other.hop.id.ip_id = 9;
    let events = vec![
        called(5, A),
        sent(10),
        other,
        hop(20, Step::Received, B, "eth0"),
        called(30, B),
        // It is sent again, from the same place in memory.
        called(995, A),
        sent(1000),
    ];
    let trace = assemble(events);
    let times = |path: &Path| path.hops.iter().map(|event| event.hop.at.0).collect::<Vec<_>>();
    let found: Vec<_> = trace.paths.iter().map(times).collect();
    assert_eq!(found, [vec![5, 10, 20, 30], vec![15], vec![995, 1000]]);
    assert!(trace.paths.iter().all(|path| path.holes.is_empty()), "{trace:#?}");
    assert_eq!(trace.conversations.len(), 1);
}

#[test]
fn pieces_and_the_whole_are_one_packet() {
    let piece = |at, fragment, length: u16, device: &str| {
        let mut event = Event { fragment, ..hop(at, Step::Received, B, device) };
        event.hop.tuple.protocol = 17;
        event.hop.tuple.tcp_flags = 0;
        event.hop.tuple.length = length;
        if fragment.is_some_and(|at| at > 0) {
            event.hop.tuple.source.set_port(0);
            event.hop.tuple.destination.set_port(0);
        }
        event
    };
    let trace = assemble(vec![
        piece(10, Some(0), 1500, "eth0"),
        piece(11, Some(1480), 620, "eth0"),
        piece(20, None, 2100, "br0"),
    ]);
    assert_eq!((trace.paths.len(), trace.conversations.len()), (1, 1), "{trace:#?}");
    assert_eq!(trace.paths[0].hops.len(), 3);
}

#[test]
fn joined_segments_go_on_as_the_first() {
    let segment = |at, id, sequence, flags, length, device: &str| {
        let mut event = hop(at, Step::Received, B, device);
        (event.hop.id.ip_id, event.hop.id.sequence) = (id, sequence);
        (event.hop.tuple.tcp_flags, event.hop.tuple.length) = (flags, length);
        event
    };
    let trace = assemble(vec![
        segment(10, 7, 100, 0x10, 1500, "eth0"),
        segment(11, 8, 1548, 0x18, 900, "eth0"),
        segment(20, 7, 100, 0x18, 2348, "br0"),
    ]);
    let hops: Vec<usize> = trace.paths.iter().map(|path| path.hops.len()).collect();
    assert_eq!(hops, [2, 1]);
}

#[test]
fn a_circle_is_one_packet_with_fewer_hops_left() {
    let mut second = hop(30, Step::Received, B, "eth0");
    second.hop.tuple.ttl = 62;
    let trace = assemble(vec![hop(10, Step::Received, B, "eth0"), second]);
    assert_eq!(trace.paths.len(), 1);
}

#[test]
fn a_translated_leg_is_the_same_packet() {
    let mut node = hop(20, Step::Queued, B, "veth");
    node.translated = true;
    node.hop.original = Some(node.hop.tuple.clone());
    node.hop.tuple.destination = "10.9.9.9:8080".parse().unwrap();
    let mut reply = node.hop.tuple.clone();
    std::mem::swap(&mut reply.source, &mut reply.destination);
    node.reply = Some(reply);
    let mut pod = hop(30, Step::Received, A, "eth0");
    pod.hop.tuple = node.hop.tuple.clone();
    let trace = assemble(vec![pod, hop(10, Step::Received, B, "eth0"), node]);
    assert_eq!(trace.paths.len(), 1, "{trace:#?}");
    assert_eq!(trace.conversations.len(), 1);
}

#[test]
fn other_packets_stay_apart() {
    let mut other = hop(20, Step::Received, B, "eth0");
    other.hop.id.sequence = 101;
    let mut stranger = hop(21, Step::Received, B, "eth0");
    stranger.hop.tuple.source = "10.0.0.3:4000".parse().unwrap();
    let trace = assemble(vec![sent(10), other, stranger]);
    assert_eq!(trace.paths.len(), 3);
    assert_eq!(trace.conversations.len(), 2);
}

#[test]
fn a_jump_between_namespaces_is_a_hole() {
    let trace =
        assemble(vec![hop(10, Step::Received, A, "eth0"), hop(20, Step::Received, B, "eth0")]);
    assert_eq!(trace.paths[0].holes, [1]);
}

fn lookup(at: u64, error: i32, skb: u64) -> Event {
    let route = Route {
        table: 254,
        error,
        source: "0.0.0.0".parse().unwrap(),
        destination: "10.0.0.2".parse().unwrap(),
        gateway: None,
        ifindex: 0,
        device: Name::default(),
    };
    let mut event = hop(at, Step::Routed(route), A, "");
    event.hop.id = PacketId { skb, ..PacketId::default() };
    event
}

#[test]
fn lookups_go_to_the_packet_they_were_done_for() {
    let mut far = lookup(1, 0, 0);
    far.hop.place.netns = Some(B);
    let events = vec![far, lookup(5, 0, 0), sent(10), lookup(20, 0, 0xabc)];
    let trace = assemble(events);
    assert_eq!(trace.paths.len(), 1);
    let steps = trace.paths[0].hops.iter().map(|e| matches!(e.hop.step, Step::Routed(_)));
    assert_eq!(steps.collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn a_lookup_for_another_port_is_another_packets() {
    let mut other = lookup(5, 0, 0);
    other.hop.tuple.destination.set_port(81);
    let trace = assemble(vec![other, lookup(6, 0, 0), sent(10)]);
    assert_eq!(trace.paths.iter().map(|path| path.hops.len()).collect::<Vec<_>>(), [2]);
}

/// On a busy machine a thread waits between the two.
#[test]
fn a_lookup_long_before_its_packet_is_its_threads() {
    let second = 1_000_000_000;
    let by = |thread, at| Event { thread, ..lookup(at, 0, 0) };
    let packet = Event { thread: 7, ..sent(second) };
    let trace = assemble(vec![by(7, 5), by(8, 6), by(0, 7), packet]);
    let threads = trace.paths[0].hops.iter().map(|event| event.thread);
    assert_eq!(threads.collect::<Vec<_>>(), [7, 7], "not what others looked up");
    let late = Event { thread: 7, ..sent(3 * second) };
    assert_eq!(assemble(vec![by(7, 5), late]).paths[0].hops.len(), 1);
}

#[test]
fn a_failed_lookup_without_a_packet_is_a_path_of_its_own() {
    let trace = assemble(vec![lookup(5, -101, 0)]);
    assert_eq!(trace.paths.len(), 1);
    assert_eq!(trace.paths[0].tuple().destination.ip().to_string(), "10.0.0.2");
}

#[test]
fn a_copy_that_is_dropped_is_no_drop_of_the_packet() {
    let drop = Drop {
        reason: "OTHERHOST".into(),
        function: Name::default(),
        stack: Vec::new(),
        netfilter: None,
    };
    let mut events = vec![sent(10), hop(20, Step::Dropped(drop), B, "veth")];
    assert!(assemble(events.clone()).paths[0].dropped().is_some());
    events.push(hop(30, Step::Delivered, B, ""));
    assert!(assemble(events).paths[0].dropped().is_none());
}
