use super::*;
use crate::judge::{NoOracle, Outcome, judge};
use crate::names::Plain;
use crate::render;
use crate::testing::{A, B, hop};
use taproot_model::{Direction, Timestamp};
use taproot_probes::trace::{Account, Event};

const C: u32 = 0xF000_0003;
const ONE: (u8, [u8; 4]) = (0xa, [10, 0, 0, 1]);
const THREE: (u8, [u8; 4]) = (0xc, [10, 0, 0, 3]);
const OTHER: (u8, [u8; 4]) = (0xd, [10, 0, 0, 3]);

/// ARP from somebody, whose link address ends with the number.
fn arp(operation: u8, from: (u8, [u8; 4]), to: (u8, [u8; 4])) -> Frame {
    let mac = |last| [2, 0, 0, 0, 0, last];
    let asks = operation == 1;
    let mut bytes = if asks { [0xff; 6] } else { mac(to.0) }.to_vec();
    bytes.extend(mac(from.0));
    bytes.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
    bytes.extend(mac(from.0));
    bytes.extend(from.1);
    bytes.extend(if asks { [0; 6] } else { mac(to.0) });
    bytes.extend(to.1);
    Frame { ether_type: Frame::ARP, length: 42, bytes }
}

fn seen(at: u64, step: Step, netns: u32, device: &str, frame: &Frame) -> Event {
    let mut event = hop(at, step, netns, device);
    event.hop.place.direction = Direction::Within;
    let tuple = &mut event.hop.tuple;
    (tuple.protocol, tuple.tcp_flags, tuple.ttl, tuple.length) = (0, 0, 0, 28);
    if let Some(arp) = frame.arp() {
        tuple.source = SocketAddr::new(arp.sender_address.into(), 0);
        tuple.destination = SocketAddr::new(arp.target_address.into(), 0);
    }
    event.hop.id.ip_id = 0;
    event.hop.id.sequence = 0;
    Event { frame: Some(frame.clone()), ..event }
}

/// A question that a bridge in A sends copies of to B and C.
fn flooded(at: u64, frame: &Frame) -> Vec<Event> {
    let hop = |more, step, netns, device| seen(at + more, step, netns, device, frame);
    vec![
        hop(0, Step::Queued, A, "br0"),
        hop(1, Step::Transmitted, A, "br0"),
        hop(2, Step::Transmitted, A, "vethb"),
        hop(3, Step::Transmitted, A, "vethc"),
        hop(4, Step::Received, B, "eth0"),
        hop(5, Step::Received, C, "eth0"),
    ]
}

fn assembled(events: Vec<Event>) -> Trace {
    Trace::assemble(events, Account::default())
}

#[test]
fn a_question_is_told_in_words() {
    assert_eq!(says(&arp(1, ONE, THREE)), "who has 10.0.0.3, asks 10.0.0.1");
    assert_eq!(says(&arp(2, THREE, ONE)), "10.0.0.3 is at 02:00:00:00:00:0c");
    assert_eq!(says(&arp(1, ONE, ONE)), "10.0.0.1 is at 02:00:00:00:00:0a");
    let probe = arp(1, (0xa, [0; 4]), THREE);
    assert_eq!(says(&probe), "does anybody have 10.0.0.3, asks 02:00:00:00:00:0a");
    let kinds = [arp(1, ONE, THREE), arp(2, THREE, ONE), arp(1, ONE, ONE), probe].map(|f| kind(&f));
    assert_eq!(kinds, ["ARP request", "ARP answer", "ARP announcement", "ARP probe"]);
    let lldp = Frame { ether_type: 0x88cc, ..arp(1, ONE, THREE) };
    assert_eq!(kind(&lldp), "LLDP message");
    assert_eq!(says(&lldp), "from 02:00:00:00:00:0a to ff:ff:ff:ff:ff:ff");
}

#[test]
fn copies_of_a_question_are_one_packet_without_holes() {
    let trace = assembled(flooded(1, &arp(1, ONE, THREE)));
    assert_eq!(trace.paths.len(), 1, "{:#?}", trace.paths);
    assert!(trace.paths[0].holes.is_empty(), "{:?}", trace.paths[0].holes);
    let mut unsent = flooded(1, &arp(1, ONE, THREE));
    unsent.drain(1..4);
    assert_eq!(assembled(unsent).paths[0].holes, [1, 2], "nobody sent it there");
}

#[test]
fn a_question_asked_again_is_another_packet() {
    let frame = arp(1, ONE, THREE);
    let trace = assembled([flooded(1, &frame), flooded(1_000_000_001, &frame)].concat());
    assert_eq!(trace.paths.len(), 2);
    assert_eq!(trace.conversations.len(), 1);
    let verdicts = judge(&trace, &Plain, &NoOracle);
    assert_eq!((verdicts.len(), verdicts[0].packets), (1, 2));
}

#[test]
fn a_verdict_says_whether_it_was_answered() {
    let asked = flooded(1, &arp(1, ONE, THREE));
    let verdicts = judge(&assembled(asked.clone()), &Plain, &NoOracle);
    assert_eq!(verdicts[0].outcome, Outcome::Unanswered);
    let told = "ARP request \"who has 10.0.0.3, asks 10.0.0.1\" was not answered";
    assert!(verdicts[0].headline.starts_with(told), "{}", verdicts[0].headline);
    assert!(verdicts[0].story[0].starts_with("It arrived at eth0 in netns"), "{:?}", verdicts[0]);

    let answer = arp(2, THREE, ONE);
    let back = vec![
        seen(10, Step::Queued, C, "eth0", &answer),
        seen(11, Step::Transmitted, C, "eth0", &answer),
        seen(12, Step::Received, A, "br0", &answer),
    ];
    let all = [asked.clone(), back.clone()].concat();
    let verdicts = judge(&assembled(all.clone()), &Plain, &NoOracle);
    assert_eq!(verdicts.len(), 1, "{verdicts:#?}");
    assert_eq!((verdicts[0].outcome, verdicts[0].packets), (Outcome::Passed, 2));
    let told = "was answered: 10.0.0.3 is at 02:00:00:00:00:0c;";
    assert!(verdicts[0].headline.contains(told), "{}", verdicts[0].headline);
    assert!(verdicts[0].story.is_empty(), "{:?}", verdicts[0].story);

    let twice = seen(13, Step::Received, A, "br0", &arp(2, OTHER, ONE));
    let verdicts = judge(&assembled([all, vec![twice]].concat()), &Plain, &NoOracle);
    let told = "Several answer for 10.0.0.3: 02:00:00:00:00:0c, 02:00:00:00:00:0d.";
    assert!(verdicts[0].story[0].starts_with(told), "{:?}", verdicts[0].story);

    // An answer that came before it is to another one.
    let early = seen(0, Step::Received, A, "br0", &answer);
    let verdicts = judge(&assembled([vec![early], asked].concat()), &Plain, &NoOracle);
    assert_eq!(verdicts[0].outcome, Outcome::Unanswered);
}

#[test]
fn who_announces_or_probes_waits_for_no_answer() {
    for frame in [arp(1, ONE, ONE), arp(1, (0xa, [0; 4]), THREE)] {
        let verdicts = judge(&assembled(flooded(1, &frame)), &Plain, &NoOracle);
        assert_eq!(verdicts[0].outcome, Outcome::Passed, "{verdicts:#?}");
    }
}

#[test]
fn frames_without_addresses_are_told_apart_by_what_stands_in_them() {
    let lldp = |last| {
        let mut frame = Frame { ether_type: 0x88cc, ..arp(1, ONE, THREE) };
        frame.bytes[30] = last;
        frame
    };
    let sent = |at, frame: &Frame| {
        let [mut out, mut back] =
            [Step::Transmitted, Step::Received].map(|step| seen(at, step, A, "eth0", frame));
        (back.hop.place.netns, back.hop.at) = (Some(B), Timestamp(at + 1));
        let nowhere = "0.0.0.0:0".parse().unwrap();
        for event in [&mut out, &mut back] {
            (event.hop.tuple.source, event.hop.tuple.destination) = (nowhere, nowhere);
        }
        vec![out, back]
    };
    let trace = assembled([sent(1, &lldp(1)), sent(5, &lldp(2))].concat());
    assert_eq!((trace.paths.len(), trace.conversations.len()), (2, 1));
    assert!(trace.paths.iter().all(|path| path.hops.len() == 2 && path.holes.is_empty()));
}

#[test]
fn text_and_json_have_what_it_says() {
    let trace = assembled(flooded(1, &arp(1, ONE, THREE)));
    let verdicts = judge(&trace, &Plain, &NoOracle);
    let text = render::text(
        &trace,
        &verdicts,
        &Plain,
        render::Style::default(),
        render::Beside::default(),
    );
    assert_eq!(text.matches("  who has 10.0.0.3, asks 10.0.0.1\n").count(), 1, "{text}");
    let json = render::json_lines(&trace, &verdicts, &Plain, render::Beside::default()).unwrap();
    let line: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    let frame = &line["hops"][0]["frame"];
    assert_eq!((&frame["ether_type"], &frame["length"]), (&0x0806.into(), &42.into()));
    assert_eq!(frame["arp"]["target_address"], "10.0.0.3");
    assert_eq!(frame["arp"]["sender"], "02:00:00:00:00:0a");
    assert!(frame["bytes"].as_str().unwrap().starts_with("ffffffffffff02000000000a0806"));
    assert_eq!(
        line["hops"][0]["words"],
        "is handed to br0: ARP request, who has 10.0.0.3, asks 10.0.0.1"
    );
}
