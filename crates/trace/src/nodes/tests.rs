use proptest::prelude::*;
use taproot_model::{Category, Drop};

use super::*;
use crate::judge::{NoOracle, Outcome, judge};
use crate::names::Plain;
use crate::testing::hop;

/// The node's own namespace and a pod's, with the same inodes on both nodes; devices.
const NODE: u32 = 4_026_531_840;
const POD: u32 = 4_026_532_500;

/// One event of packet `number` from pod to pod; `back` swaps the ends.
fn event(number: u16, back: bool, at: u64, step: Step, netns: u32, device: &str, ttl: u8) -> Event {
    let mut event = hop(at, step, netns, device);
    let tuple = &mut event.hop.tuple;
    (tuple.tcp_flags, tuple.ttl) = (24, ttl);
    if back {
        (tuple.source, tuple.destination) = (tuple.destination, tuple.source);
    }
    event.hop.id.ip_id = number;
    event.hop.id.sequence = 1000 + u32::from(number);
    event
}

/// A packet over two nodes, one hop a microsecond from `at`, `wire` in between. The clock
/// of the second node is `ahead`.
struct Packet {
    number: u16,
    back: bool,
    at: u64,
    wire: u64,
}

impl Packet {
    fn hops(&self, ahead: i64) -> (Vec<Event>, Vec<Event>) {
        let Self { number, back, at, wire } = *self;
        let there = |at: u64| at.saturating_add_signed(ahead);
        let sent = |at| {
            let event = event(number, back, at, Step::Queued, POD, "eth0", 64);
            Event { own_socket: true, ..event }
        };
        let make = |at, step: &Step, netns, device, ttl| {
            event(number, back, at, step.clone(), netns, device, ttl)
        };
        let out = |clock: &dyn Fn(u64) -> u64| {
            vec![
                sent(clock(at)),
                make(clock(at + 1_000), &Step::Received, NODE, "veth", 64),
                make(clock(at + 2_000), &Step::Queued, NODE, "up0", 63),
            ]
        };
        let came = at + 2_000 + wire;
        let into = |clock: &dyn Fn(u64) -> u64| {
            vec![
                make(clock(came), &Step::Received, NODE, "up0", 63),
                make(clock(came + 1_000), &Step::Queued, NODE, "veth", 62),
                make(clock(came + 2_000), &Step::Received, POD, "eth0", 62),
                make(clock(came + 3_000), &Step::Delivered, POD, "", 62),
            ]
        };
        let own = |at: u64| at;
        if back { (into(&own), out(&there)) } else { (out(&own), into(&there)) }
    }
}

fn recording(events: Vec<Event>) -> Recording {
    let trace = Trace::assemble(events.clone(), Account::default());
    let verdicts = judge(&trace, &Plain, &NoOracle);
    Recording::new(events, &trace, &verdicts, &Plain, Vec::new())
}

/// Packets as two nodes see them, joined.
fn joined(packets: &[Packet], ahead: i64) -> Joined {
    let (near, far): (Vec<_>, Vec<_>) = packets.iter().map(|packet| packet.hops(ahead)).unzip();
    join(near.concat(), far.concat())
}

fn join(near: Vec<Event>, far: Vec<Event>) -> Joined {
    let near = ("near".to_owned(), recording(near));
    Joined::of(vec![near, ("far".to_owned(), recording(far))])
}

const BEGIN: u64 = 1_800_000_000_000_000_000;

fn both_ways() -> Vec<Packet> {
    (0..20)
        .map(|number| Packet {
            number: number + 1,
            back: number % 2 == 1,
            at: BEGIN + u64::from(number) * 1_000_000,
            wire: 150_000 + u64::from(number % 7) * 30_000,
        })
        .collect()
}

/// Every path has all its hops, of one packet, in the order of its way.
fn assert_whole(trace: &Trace, packets: &[Packet]) {
    assert_eq!(trace.paths.len(), packets.len());
    assert_eq!(trace.conversations.len(), 1);
    for path in &trace.paths {
        let ids: BTreeSet<u16> = path.hops.iter().map(|event| event.hop.id.ip_id).collect();
        assert_eq!((ids.len(), path.hops.len()), (1, 7), "{path:#?}");
        let ttl: Vec<u8> = path.hops.iter().map(|event| event.hop.tuple.ttl).collect();
        assert!(ttl.is_sorted_by(|a, b| a >= b), "{ttl:?}");
        assert!(path.holes.is_empty(), "{path:#?}");
        assert_eq!(path.last().hop.step, Step::Delivered);
    }
}

#[test]
fn hops_of_two_nodes_are_one_path_whatever_their_clocks_say() {
    let packets = both_ways();
    for ahead in [0, 3_000_000_000, -250_000_000_000, 40_000] {
        let joined = joined(&packets, ahead);
        assert_whole(joined.trace(), &packets);
        let [near, far] = joined.clocks() else { panic!("two nodes") };
        assert_eq!((near.basis, near.words()), (Basis::Reference, String::new()));
        assert_eq!((far.basis, far.packets), (Basis::BothWays, 20));
        let within = far.within.expect("both ways");
        assert!(far.ahead.abs_diff(ahead) <= within && within <= 150_000, "{far:?}");
    }
}

#[test]
fn the_same_numbers_on_two_nodes_are_different_things() {
    let packets = both_ways();
    let joined = joined(&packets, 5_000_000);
    for path in &joined.trace().paths {
        let places: BTreeSet<Option<u32>> =
            path.hops.iter().map(|event| event.hop.place.netns).collect();
        assert_eq!(places.len(), 4, "two namespaces on each node");
        for event in &path.hops {
            let name = joined.place(event.hop.place.netns.expect("known")).expect("named");
            assert!(name.ends_with(&format!(" on {}", event.hop.node)), "{name}");
        }
    }
}

#[test]
fn a_lost_hop_is_a_hole_and_the_rest_is_joined() {
    let packets = both_ways();
    let (near, mut far): (Vec<_>, Vec<_>) =
        packets.iter().map(|packet| packet.hops(7_000_000)).unzip();
    // Of the first packet, the far node missed the reception.
    far[0].remove(0);
    let joined = join(near.concat(), far.concat());
    let path = &joined.trace().paths[0];
    assert_eq!((path.hops.len(), path.holes.as_slice()), (6, &[3][..]), "{path:#?}");
    assert!(joined.trace().paths[1..].iter().all(|path| path.holes.is_empty()));
    let verdicts = judge(joined.trace(), &joined, &joined);
    assert_eq!((verdicts[0].outcome, verdicts[0].path), (Outcome::Hole, Some(0)));
}

#[test]
fn one_way_is_said_and_still_in_order() {
    let packets: Vec<Packet> = both_ways().into_iter().filter(|packet| !packet.back).collect();
    let joined = joined(&packets, -90_000_000);
    assert_whole(joined.trace(), &packets);
    let far = &joined.clocks()[1];
    assert_eq!((far.basis, far.within), (Basis::OneWay, None));
    assert!(far.words().contains("none was seen going the other way"), "{}", far.words());
}

#[test]
fn nothing_in_common_is_said() {
    let packets = both_ways();
    let near = packets.iter().flat_map(|packet| packet.hops(0).0).collect();
    let joined = join(near, Vec::new());
    assert_eq!(joined.clocks()[1].basis, Basis::Nothing);
    assert!(joined.clocks()[1].words().contains("taken as it is"));
    assert_eq!(joined.trace().paths.len(), packets.len());
}

#[test]
fn what_is_sent_again_gives_no_bound_and_a_path_of_its_own() {
    let mut packets = both_ways();
    // The very same packet once more, a second later.
    packets.push(Packet { number: 1, back: false, at: BEGIN + 1_000_000_000, wire: 150_000 });
    let joined = joined(&packets, 2_000_000_000);
    assert_whole(joined.trace(), &packets);
    assert_eq!(joined.clocks()[1].packets, 19);
}

#[test]
fn a_clock_that_drifts_is_followed() {
    // 200 ppm over a minute are 12 ms, forty times the way there and back.
    let drift = |at: u64| ((at - BEGIN) / 5_000).cast_signed();
    let packets: Vec<Packet> = (0..600_u16)
        .map(|number| Packet {
            number: number + 1,
            back: number % 2 == 1,
            at: BEGIN + u64::from(number) * 100_000_000,
            wire: 150_000,
        })
        .collect();
    let hops = packets.iter().map(|packet| packet.hops(drift(packet.at)));
    let (near, far): (Vec<_>, Vec<_>) = hops.unzip();
    let joined = join(near.concat(), far.concat());
    let off = |event: &Event, packet: &Packet| {
        let true_at = packet.hops(0).1.iter().map(|e| e.hop.at.0).min().expect("hops");
        event.hop.at.0.abs_diff(true_at)
    };
    for packet in &packets {
        let far = joined.trace().paths.iter().flat_map(|path| &path.hops);
        let mut far = far.filter(|e| e.hop.id.ip_id == packet.number && &*e.hop.node == "far");
        let first = far.next().expect("seen");
        assert!(off(first, packet) < 1_200_000, "{} ns off", off(first, packet));
    }
}

#[test]
fn a_third_node_is_known_by_way_of_the_second() {
    let packets = both_ways();
    let (near, middle): (Vec<_>, Vec<_>) =
        packets.iter().map(|packet| packet.hops(4_000_000)).unzip();
    // Another conversation, between the second and the third node only.
    let shifted = |events: Vec<Event>, by: i64| -> Vec<Event> {
        let shift = |mut event: Event| {
            event.hop.at = Timestamp(event.hop.at.0.saturating_add_signed(by));
            event.hop.tuple.source.set_port(event.hop.tuple.source.port() + 7);
            event
        };
        events.into_iter().map(shift).collect()
    };
    let (left, right): (Vec<_>, Vec<_>) = packets.iter().map(|packet| packet.hops(0)).unzip();
    let middle = [middle.concat(), shifted(left.concat(), 4_000_000)].concat();
    let third = shifted(right.concat(), -6_000_000);
    let nodes = [("a", near.concat()), ("b", middle), ("c", third)];
    let nodes = nodes.map(|(name, events)| (name.to_owned(), recording(events)));
    let joined = Joined::of(nodes.into());
    let third = &joined.clocks()[2];
    assert_eq!(third.basis, Basis::BothWays);
    assert!(third.ahead.abs_diff(-6_000_000) <= 300_000, "{third:?}");
    assert_eq!(joined.trace().paths.len(), 40);
}

/// Knows one thing at fault, on whatever node it is.
struct Rule;

impl Oracle for Rule {
    fn blame(&self, _: &Path, _: &Event) -> Option<Blame> {
        Some(Blame {
            category: Category::Firewall,
            object: "nft ip fw input handle 4".to_owned(),
            because: "It drops.".to_owned(),
            advice: "Take it away.".to_owned(),
            proved: true,
        })
    }
}

#[test]
fn what_the_far_node_blames_is_blamed_for_the_whole_path() {
    let packets = both_ways();
    let dropped = |packet: &Packet| {
        let (near, mut far) = packet.hops(1_000_000_000);
        let drop = Drop {
            reason: "NETFILTER_DROP".into(),
            function: "nft_do_chain".into(),
            stack: Vec::new(),
            netfilter: None,
        };
        far.truncate(1);
        let mut end = far[0].clone();
        end.hop.step = Step::Dropped(drop);
        end.hop.at = Timestamp(end.hop.at.0 + 500);
        far.push(end);
        (near, far)
    };
    let there = packets.iter().filter(|packet| !packet.back);
    let (near, far): (Vec<_>, Vec<_>) = there.map(dropped).unzip();
    let (near, far) = (near.concat(), far.concat());
    let trace = Trace::assemble(far.clone(), Account::default());
    let verdicts = judge(&trace, &Plain, &Rule);
    let far = Recording::new(far, &trace, &verdicts, &Plain, Vec::new());
    let joined = Joined::of(vec![("near".into(), recording(near)), ("far".into(), far)]);
    let verdicts = judge(joined.trace(), &joined, &joined);
    assert_eq!((verdicts[0].outcome, verdicts[0].packets), (Outcome::Dropped, 10));
    assert!(verdicts[0].headline.contains(" on far at up0"), "{}", verdicts[0].headline);
    let blame = verdicts[0].blame.as_ref().expect("the far node knows");
    assert_eq!(blame.object, "nft ip fw input handle 4");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_packet_arrives_before_it_was_sent(
        ahead in -1_000_000_000_000_i64..1_000_000_000_000,
        wires in prop::collection::vec((1_000_u64..5_000_000, any::<bool>()), 2..60),
    ) {
        let packets: Vec<Packet> = wires
            .into_iter()
            .zip(1_u16..)
            .map(|((wire, back), number)| {
                Packet { number, back, at: BEGIN + u64::from(number) * 100_000, wire }
            })
            .collect();
        let joined = joined(&packets, ahead);
        assert_whole(joined.trace(), &packets);
        let far = &joined.clocks()[1];
        if let Some(within) = far.within {
            prop_assert!(far.ahead.abs_diff(ahead) <= within);
        }
    }
}
