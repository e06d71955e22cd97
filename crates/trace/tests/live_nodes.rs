//! Two halves of a way, traced as two nodes whose clocks differ, are joined into one path.

mod bed;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use bed::way::{Point, holds, told};
use bed::{Bed, alone};
use taproot_model::{Step, Timestamp};
use taproot_probes::trace::{Event, Field, Options, Tracer};
use taproot_testkit::{need_commands, need_root, skip};
use taproot_trace::filter::Expr;
use taproot_trace::judge::{NoOracle, judge};
use taproot_trace::nodes::{Basis, Joined};
use taproot_trace::record::Recording;
use taproot_trace::{Plain, Trace};

/// How far the far node's clock is behind, nanoseconds.
const BEHIND: u64 = 2_500_000_000;
/// How far two tracers' clocks differ by themselves at most, nanoseconds: each reads the
/// wall's time and the monotonic one at its start, one after the other.
const SETTING: u64 = 10_000_000;
/// Questions on each connection.
const ROUNDS: usize = 30;
const PORT: u16 = 5510;

/// From `pod1` to `pod3`, through a tunnel from node to node.
const THERE: &[Point] = &[
    ("Queued", "pod1", "eth0"),
    ("Received", "near", "p1"),
    ("Queued", "near", "vx0"),
    ("Queued", "near", "up0"),
    ("Received", "far", "up0"),
    ("Received", "far", "vx0"),
    ("Queued", "far", "q1"),
    ("Received", "pod3", "eth0"),
];

/// And back.
const BACK: &[Point] = &[
    ("Queued", "pod3", "eth0"),
    ("Received", "far", "q1"),
    ("Queued", "far", "vx0"),
    ("Queued", "far", "up0"),
    ("Received", "near", "up0"),
    ("Received", "near", "vx0"),
    ("Queued", "near", "p1"),
    ("Received", "pod1", "eth0"),
];

/// A tunnel between the nodes, and the pods' networks behind it.
fn tunnelled() -> Result<Bed, String> {
    let bed = Bed::new()?;
    for (who, own, other, net) in [("near", 1, 2, 2), ("far", 2, 1, 1)] {
        bed.run(
            who,
            &format!(
                "ip link add vx0 type vxlan id 42 dstport 4789 local 10.80.0.{own} remote 10.80.0.{other}
                 ip link set vx0 up; ip addr add 10.81.0.{own}/24 dev vx0
                 ip route replace 10.80.{net}.0/24 via 10.81.0.{other} dev vx0 onlink"
            ),
        )?;
    }
    Ok(bed)
}

/// A tracer that sees what a node sees: its own namespace and its pod's.
fn node(bed: &Bed, who: [&str; 2]) -> Tracer {
    let filter = Expr::parse(&format!("tcp port {PORT}")).expect("a filter");
    let there = who.map(|who| Expr::is(Field::Netns, bed.inode(who)));
    let tests = filter.and(Expr::Any(there.into())).compile().expect("short");
    Tracer::start(&Options { tests, ..Options::default() }).expect("root may load it")
}

/// What a node keeps, by a clock that is behind.
fn recorded(mut tracer: Tracer, behind: u64) -> Recording {
    let mut events: Vec<Event> = tracer.stop().expect("readable");
    for event in &mut events {
        event.hop.at = Timestamp(event.hop.at.0 - behind);
    }
    let account = tracer.account().expect("readable");
    assert!(account.is_whole(), "{account:?}");
    let trace = Trace::assemble(events.clone(), account);
    let verdicts = judge(&trace, &Plain, &NoOracle);
    Recording::new(events, &trace, &verdicts, &Plain, Vec::new())
}

/// Answers every question of as many connections, until they are closed.
fn answer(listener: &TcpListener, connections: usize) {
    std::thread::scope(|scope| {
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().expect("a connection");
            scope.spawn(move || {
                stream.set_nodelay(true).expect("settable");
                let mut question = [0; 64];
                while stream.read_exact(&mut question).is_ok() {
                    stream.write_all(&question).expect("sent");
                }
            });
        }
    });
}

fn ask(stream: &mut TcpStream) {
    stream.write_all(&[b'x'; 64]).expect("sent");
    stream.read_exact(&mut [0; 64]).expect("an answer");
}

#[test]
fn live_two_nodes_make_one_path() {
    need_root!();
    need_commands!("ip", "sysctl");
    let _alone = alone();
    let bed = match tunnelled() {
        Ok(bed) => bed,
        Err(why) => skip!("{why}"),
    };
    let (near, far) = (node(&bed, ["pod1", "near"]), node(&bed, ["pod3", "far"]));
    let listener = bed.listen("pod3", &format!("0.0.0.0:{PORT}"));
    std::thread::scope(|scope| {
        scope.spawn(|| bed.within("pod3", || answer(&listener, 2)));
        // Two at a time: what belongs to one must not be found in the other's.
        let to = format!("10.80.2.2:{PORT}");
        let mut streams = [bed.connect("pod1", &to), bed.connect("pod1", &to)];
        for stream in &mut streams {
            stream.set_nodelay(true).expect("settable");
        }
        for _ in 0..ROUNDS {
            streams.iter_mut().for_each(ask);
        }
        for stream in &streams {
            stream.shutdown(Shutdown::Both).expect("open");
        }
    });
    std::thread::sleep(Duration::from_millis(100));
    let (near, far) = (recorded(near, 0), recorded(far, BEHIND));
    let joined = Joined::of(vec![("near".to_owned(), near), ("far".to_owned(), far)]);

    let clock = &joined.clocks()[1];
    let within = clock.within.expect("packets went both ways");
    assert_eq!(clock.basis, Basis::BothWays);
    let off = (clock.ahead + BEHIND.cast_signed()).unsigned_abs();
    assert!(off <= within + SETTING && within < BEHIND / 2, "{clock:?}");

    let trace = joined.trace();
    let whole = |points| trace.paths.iter().filter(|path| holds(&bed, path, points)).count();
    let questions = 2 * ROUNDS;
    assert!(whole(THERE) >= questions, "{} whole\n{}", whole(THERE), told(&bed, trace));
    assert!(whole(BACK) >= questions, "{} whole\n{}", whole(BACK), told(&bed, trace));
    assert_eq!(trace.conversations.len(), 2, "{}", told(&bed, trace));
    for path in &trace.paths {
        let packets = path.hops.iter().filter(|event| event.hop.id.head != 0);
        let packets = packets.filter(|event| !matches!(event.hop.step, Step::Routed(_)));
        let marks: BTreeSet<_> = packets
            .map(|event| (event.hop.id.ip_id, event.hop.id.sequence, event.hop.tuple.source))
            .collect();
        assert_eq!(marks.len(), 1, "a foreign packet: {path:#?}");
        assert!(path.holes.is_empty(), "{path:#?}");
    }
}
