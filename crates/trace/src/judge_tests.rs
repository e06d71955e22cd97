use taproot_model::NetfilterHook;
use taproot_probes::trace::Account;

use super::*;
use crate::Plain;
use crate::render::{self, Beside, Style};
use crate::testing::{A, B, hop, sent};

fn dropped(reason: &str) -> Step {
    Step::Dropped(Drop {
        reason: reason.into(),
        function: "nf_hook_slow".into(),
        stack: Vec::new(),
        netfilter: Some(NetfilterHook::Forward),
    })
}

fn verdicts(events: Vec<Event>) -> (Trace, Vec<Verdict>) {
    let trace = Trace::assemble(events, Account::default());
    let verdicts = judge(&trace, &Plain, &NoOracle);
    (trace, verdicts)
}

/// The answer to a request, on its way back.
fn answer(at: u64, step: Step, netns: u32, device: &str) -> Event {
    let mut event = hop(at, step, netns, device);
    let tuple = &mut event.hop.tuple;
    std::mem::swap(&mut tuple.source, &mut tuple.destination);
    tuple.tcp_flags = 0x12;
    event.hop.id.sequence = 900;
    event
}

#[test]
fn without_packets_it_says_so() {
    let (_, verdicts) = verdicts(Vec::new());
    assert_eq!(verdicts[0].outcome, Outcome::Nothing);
}

#[test]
fn a_drop_is_worse_than_what_passed_and_is_told_first() {
    let mut other = hop(5, Step::Received, A, "eth0");
    other.hop.tuple.source.set_port(9);
    let events = vec![other, sent(10), hop(20, dropped("NETFILTER_DROP"), B, "cni0")];
    let (trace, verdicts) = verdicts(events);
    assert_eq!(verdicts.len(), 2);
    assert_eq!(verdicts[0].outcome, Outcome::Dropped);
    let head = &verdicts[0].headline;
    assert!(head.contains("at cni0: NETFILTER_DROP in FORWARD, by nf_hook_slow"), "{head}");
    let text = render::text(&trace, &verdicts, &Plain, Style::default(), Beside::default());
    assert!(text.contains("is sent out of eth0"), "{text}");
    assert!(text.contains("1 other outcomes"), "{text}");
}

#[test]
fn requests_again_and_again_without_an_answer() {
    let again = |at| vec![sent(at), hop(at + 5, Step::Received, B, "eth0")];
    let mut events = again(10);
    events.extend(again(1010));
    let (_, silent) = verdicts(events.clone());
    assert_eq!((silent[0].outcome, silent[0].packets), (Outcome::Unanswered, 2));
    events.push(answer(1020, Step::Queued, B, "eth0"));
    let (_, answered) = verdicts(events);
    assert_eq!(answered[0].outcome, Outcome::Passed);
}

#[test]
fn a_machine_with_two_homes_has_its_route_blamed() {
    let events = vec![
        sent(10),
        hop(20, Step::Received, B, "eth0"),
        answer(30, Step::Queued, B, "eth0"),
        answer(40, Step::Received, A, "net1"),
        answer(50, dropped("IP_RPFILTER"), A, "net1"),
    ];
    let (_, two) = verdicts(events.clone());
    let blame = two[0].blame.as_ref().expect("known without asking anybody");
    assert_eq!(blame.category, Category::Routing);
    assert!(blame.object.contains("dev eth0, used with the source 10.0.0.1"), "{blame:?}");
    assert!(two[0].story[0].contains("came in by net1"), "{:?}", two[0].story);
    // Back by the same device it left by: that is another fault.
    let same = events.into_iter().map(|mut event| {
        event.hop.place.device = "eth0".into();
        event
    });
    assert_eq!(verdicts(same.collect()).1[0].blame, None);
}

#[test]
fn the_packet_whose_story_was_seen_whole_is_the_one_told() {
    let another = |mut event: Event| {
        let tuple = &mut event.hop.tuple;
        let client = if tuple.tcp_flags == 2 { &mut tuple.source } else { &mut tuple.destination };
        client.set_port(4001);
        event
    };
    let events = vec![
        // The request came before the trace.
        answer(10, Step::Received, A, "net1"),
        answer(20, dropped("IP_RPFILTER"), A, "net1"),
        another(sent(30)),
        another(hop(40, Step::Received, B, "eth0")),
        another(answer(50, Step::Queued, B, "eth0")),
        another(answer(60, Step::Received, A, "net1")),
        another(answer(70, dropped("IP_RPFILTER"), A, "net1")),
    ];
    let (trace, verdicts) = verdicts(events);
    assert_eq!((verdicts[0].outcome, verdicts[0].packets), (Outcome::Dropped, 2));
    let told = &trace.paths[verdicts[0].path.expect("a path")];
    assert_eq!(told.tuple().destination.port(), 4001);
    assert!(verdicts[0].story[0].contains("came in by net1"), "{:?}", verdicts[0].story);
}

#[test]
fn of_packets_that_passed_the_connection_that_was_seen_the_farthest_is_told() {
    let from = |port, mut event: Event| {
        event.hop.tuple.source.set_port(port);
        event
    };
    let segment = |mut event: Event| {
        event.hop.tuple.tcp_flags = 0x10;
        from(4002, event)
    };
    let events = vec![
        segment(sent(5)),
        segment(hop(6, Step::Received, B, "eth0")),
        // Of this one only the beginning was seen.
        sent(10),
        from(4001, sent(30)),
        from(4001, hop(40, Step::Received, B, "eth0")),
    ];
    let (trace, verdicts) = verdicts(events);
    assert_eq!((verdicts[0].outcome, verdicts[0].packets), (Outcome::Passed, 3));
    let told = &trace.paths[verdicts[0].path.expect("a path")];
    assert_eq!(told.tuple().source.port(), 4001);
}

#[test]
fn a_long_way_is_cut_to_twelve_lines_and_all_on_request() {
    let mut events = vec![sent(1)];
    for at in 1..30u64 {
        let device = "d".repeat(at as usize);
        events.push(hop(at * 10, Step::Received, A, &device));
    }
    let (trace, verdicts) = verdicts(events);
    let count = |style| {
        let text = render::text(&trace, &verdicts, &Plain, style, Beside::default());
        text.lines().filter(|line| line.contains(" ms  ") || line.contains("more hops")).count()
    };
    assert_eq!(count(Style::default()), 12);
    assert_eq!(count(Style { all_hops: true, ..Style::default() }), 30);
}

#[test]
fn every_json_line_has_a_version_and_a_kind() {
    let (trace, verdicts) = verdicts(vec![sent(10), hop(20, dropped("NO_SOCKET"), B, "eth0")]);
    let compared = crate::diff::diff(&trace);
    let beside = Beside { diff: Some(&compared), ..Beside::default() };
    let text = render::json_lines(&trace, &verdicts, &Plain, beside).expect("writable");
    let kinds: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .map(|value| {
            assert_eq!(value["schema_version"], 1);
            value["kind"].as_str().expect("a kind").to_owned()
        })
        .collect();
    assert_eq!(kinds, ["path", "verdict", "diff", "summary"]);
}

#[test]
fn what_a_closed_socket_leaves_in_its_queue_was_not_lost() {
    let ended = |reason: &str, function: &str| {
        let Step::Dropped(drop) = dropped(reason) else { unreachable!("made above") };
        let step = Step::Dropped(Drop { function: function.into(), ..drop });
        let (_, verdicts) =
            verdicts(vec![sent(10), hop(20, Step::Received, B, "eth0"), hop(30, step, B, "")]);
        verdicts[0].outcome
    };
    assert_eq!(ended("NOT_SPECIFIED", "sk_stream_kill_queues"), Outcome::Passed);
    assert_eq!(ended("NOT_SPECIFIED", "ip_error"), Outcome::Dropped);
    assert_eq!(ended("NO_SOCKET", "tcp_v4_rcv"), Outcome::Dropped);
}
