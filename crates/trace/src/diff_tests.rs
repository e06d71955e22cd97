use taproot_model::Drop;
use taproot_probes::trace::Account;

use super::*;
use crate::Plain;
use crate::testing::{A, B, hop, sent};

/// The same hop of a flow from another port.
fn from_port(port: u16, mut event: Event) -> Event {
    event.hop.tuple.source.set_port(port);
    event.hop.id.skb = u64::from(port);
    event.hop.at.0 += u64::from(port);
    event
}

fn drop_of(reason: &str) -> Step {
    let function = "nf_hook_slow".into();
    Step::Dropped(Drop { reason: reason.into(), function, stack: Vec::new(), netfilter: None })
}

fn route(device: &str) -> Step {
    Step::Routed(Route {
        table: 254,
        error: 0,
        source: "10.0.0.1".parse().unwrap(),
        destination: "10.0.0.2".parse().unwrap(),
        gateway: None,
        ifindex: 2,
        device: device.into(),
    })
}

fn assemble(events: Vec<Event>) -> Trace {
    Trace::assemble(events, Account::default())
}

/// Sent, received in B, and there to a socket.
fn whole(port: u16) -> Vec<Event> {
    let steps = [sent(1), hop(2, Step::Received, B, "eth0"), hop(3, Step::Delivered, B, "eth0")];
    steps.into_iter().map(|event| from_port(port, event)).collect()
}

#[test]
fn flows_part_where_one_is_dropped() {
    let mut events = whole(5000);
    events.extend([
        from_port(6000, sent(1)),
        from_port(6000, hop(2, Step::Received, B, "eth0")),
        from_port(6000, hop(3, drop_of("NETFILTER_DROP"), B, "eth0")),
    ]);
    let trace = assemble(events);
    let found = diff(&trace);
    let expected = Diff {
        works: Side { path: 0, hop: Some(2) },
        fails: Side { path: 1, hop: Some(2) },
        together: 2,
    };
    assert_eq!(found, Ok(expected));
    let text = text(&trace, &found, &Plain);
    assert!(text.contains("10.0.0.1:6000 -> 10.0.0.2:80 does not: they part after 2"), "{text}");
    assert!(text.contains("  both    netns 4026531842: arrives at eth0"), "{text}");
    assert!(text.contains("  works   netns 4026531842: is taken by a socket"), "{text}");
    assert!(text.contains("  fails   netns 4026531842: DROPPED: NETFILTER_DROP"), "{text}");
}

#[test]
fn an_earlier_decision_counts_not_the_end() {
    let with = |port, device: &str, end| {
        let looked_up = Event {
            hop: taproot_model::Hop {
                at: taproot_model::Timestamp(2),
                ..hop(0, route(device), A, "").hop
            },
            ..hop(0, Step::Received, A, "")
        };
        [sent(1), looked_up, hop(3, Step::Queued, A, device), hop(4, end, B, "x")]
            .map(|event| from_port(port, event))
    };
    let mut events = with(5000, "net1", Step::Received).to_vec();
    events.extend(with(6000, "eth1", drop_of("IP_RPFILTER")));
    let trace = assemble(events);
    let found = diff(&trace).expect("they part");
    assert_eq!((found.works.hop, found.fails.hop, found.together), (Some(1), Some(1), 1));
}

#[test]
fn a_lookup_that_was_seen_of_one_alone_is_no_parting() {
    let lookup = |port| from_port(port, hop(0, route("eth0"), A, ""));
    let dropped =
        [sent(1), hop(2, Step::Received, B, "eth0"), hop(3, drop_of("NETFILTER_DROP"), B, "eth0")];
    let flows = || {
        let fails = dropped.clone().map(|event| from_port(6000, event));
        whole(5000).into_iter().chain(fails).collect::<Vec<_>>()
    };
    for (port, works, fails) in [(5000, 3, 2), (6000, 2, 3)] {
        let found = diff(&assemble([flows(), vec![lookup(port)]].concat())).expect("they part");
        assert_eq!((found.works.hop, found.fails.hop), (Some(works), Some(fails)));
        assert_eq!(found.together, 2);
    }
}

#[test]
fn other_pods_on_other_devices_are_no_difference() {
    const POD: u32 = A + 100;
    let from = |port, netns, device: &str, end| {
        let first = Event { own_socket: true, ..hop(1, Step::Queued, netns, "eth0") };
        let rest = [hop(2, Step::Received, B, device), hop(3, end, B, "br0")];
        [vec![first], rest.to_vec()].concat().into_iter().map(move |event| from_port(port, event))
    };
    let mut events: Vec<Event> = from(5000, A, "veth1", Step::Queued).collect();
    events.extend(from(6000, POD, "veth2", drop_of("NETFILTER_DROP")));
    assert_eq!(diff(&assemble(events)).expect("they part").together, 2);
}

#[test]
fn where_nothing_can_be_compared_it_says_why() {
    assert_eq!(diff(&assemble(whole(5000))), Err(Nothing::NoneFails));
    let lost = [sent(1), hop(3, drop_of("NETFILTER_DROP"), A, "eth0")];
    let lost = lost.map(|event| from_port(6000, event)).to_vec();
    let trace = assemble(lost);
    let found = diff(&trace);
    assert_eq!(found, Err(Nothing::NoneWorks));
    assert!(text(&trace, &found, &Plain).contains("widen the filter"));
}

#[test]
fn a_missing_answer_is_a_parting() {
    let mut events = whole(5000);
    let mut answer = from_port(5000, hop(4, Step::Queued, B, "eth0"));
    let tuple = &mut answer.hop.tuple;
    std::mem::swap(&mut tuple.source, &mut tuple.destination);
    tuple.tcp_flags = 0x12;
    answer.hop.id.sequence = 900;
    events.push(answer);
    events.extend(whole(6000));
    // Sent again after a second: nobody answered.
    let again = whole(6000).into_iter().map(|mut event| {
        event.hop.at.0 += 1_000_000_000;
        event
    });
    events.extend(again);
    let found = diff(&assemble(events)).expect("they part");
    assert_eq!((found.works.hop, found.fails.hop, found.together), (Some(0), None, 3));
}
