//! The faults end to end: Taproot's own tracer sees the packets, and what is said
//! of the last hop is compared with the truth, four points a fault: place,
//! category, object, advice.

use std::net::SocketAddr;
use std::time::Duration;

use taproot_model::{Blame, Step, Tuple};
use taproot_netstate::{Incident, NetState, explain};
use taproot_probes::trace::{Compare, Event, Field, Options, Test, Tracer};
use taproot_testkit::{need_commands, need_root, skip};

use crate::bed::{Bed, WHO, alone};
use crate::fault::Fault;
use crate::faults;

/// A port of the truth that stands for any.
const ANY_PORT: u16 = 40_000;

#[test]
fn nineteen_of_twenty_points_are_right() {
    need_root!();
    need_commands!("ip", "tc", "nft", "iptables", "sysctl", "bash");
    if let Some(why) = crate::programs::obstacle() {
        skip!("{why}");
    }
    let _alone = alone();
    let (mut right, mut all) = (0, 0);
    let options = Options { tests: from_the_bed(), ..Options::default() };
    let mut tracer = match Tracer::start(&options) {
        Ok(tracer) => tracer,
        Err(why) => skip!("the tracer does not start: {why}"),
    };
    for (name, fault) in faults::all() {
        let points = judged(fault, &mut tracer).expect("the tracer is read");
        let count = points.iter().filter(|(_, holds)| *holds).count();
        let wrong: Vec<_> = points.iter().filter(|p| !p.1).map(|p| p.0.as_str()).collect();
        println!("{name:<36} {count} of 4 {}", wrong.join("; "));
        right += count;
        all += points.len();
    }
    let account = tracer.account().expect("readable");
    println!("{right} of {all} points; {account:?}");
    assert!(right * 100 >= all * 95, "{right} of {all} points");
}

/// What was asked of the answer, and whether it was right.
type Points = [(String, bool); 4];

fn judged(fault: &Fault, tracer: &mut Tracer) -> Result<Points, taproot_probes::Error> {
    let bed = Bed::make();
    for (who, commands) in fault.set_up {
        bed.run(who, commands);
    }
    let states = || -> Vec<NetState> { WHO.iter().map(|who| bed.state(who)).collect() };
    // Only where the packet is lost do counters before it tell anything.
    let before = [bed.state(fault.at.0)];
    tracer.poll()?;
    let held = (fault.traffic)(&bed);
    std::thread::sleep(Duration::from_millis(50));
    let mut events = tracer.poll()?;
    let after = states();
    drop(held);
    events.sort_by_key(|event| event.hop.at);
    let last = ending(fault, &events, &after);
    let mut incident =
        last.and_then(|event| Incident::at(&event.hop, event.outer.as_ref(), &before, &after));
    if let Some(incident) = incident.as_mut() {
        incident.control_group = fault.group;
    }
    let blame = incident.as_ref().map(explain);
    let owner = WHO.iter().position(|who| *who == fault.at.0);
    let place = incident.as_ref().is_some_and(|incident| {
        let device = incident.state.link(incident.device).map_or("", |link| link.name.as_str());
        owner.is_some_and(|at| after[at].inode == incident.state.inode)
            && [fault.at.1, fault.at.2].contains(&device)
    });
    let seen = last.map(|event| format!("place {:?} {:?}", event.hop.place, event.hop.step));
    Ok(points(fault, place, seen.unwrap_or_else(|| "no hop".to_owned()), blame.as_ref()))
}

fn points(fault: &Fault, place: bool, seen: String, blame: Option<&Blame>) -> Points {
    let said = |text: fn(&Blame) -> String| blame.map_or_else(String::new, text);
    let object = said(|blame| blame.object.clone());
    let advice = said(|blame| blame.advice.clone());
    let named = blame.is_some() && fault.object.iter().all(|part| object.contains(part));
    let advised = blame.is_some() && advice.contains(fault.advice);
    [
        (seen, place),
        (
            said(|blame| format!("{:?}", blame.category)),
            blame.is_some_and(|b| b.category == fault.category),
        ),
        (object, named),
        (advice, advised),
    ]
}

/// A filter for packets from the bed's addresses, 10.0.0.0/8 and 172.31.0.0/16.
fn from_the_bed() -> Vec<Test> {
    let subnet = |mask, value, no| Test {
        field: Field::Source(0),
        compare: Compare::Equal,
        mask,
        value,
        yes: Test::ACCEPT,
        no,
    };
    vec![
        subnet(0xff00_0000, 0x0a00_0000, 1),
        subnet(0xffff_0000, 0xac1f_0000, 2),
        // Lookups of a connection that is about to begin have no source yet.
        subnet(u32::MAX, 0, Test::REJECT),
    ]
}

/// The hop where the fault's packet ended: dropped, or else last seen. A bridge that
/// does not know where a frame belongs sends copies everywhere; those that get
/// lost at others than the destination are no loss.
fn ending<'a>(fault: &Fault, events: &'a [Event], states: &[NetState]) -> Option<&'a Event> {
    let state = |event: &Event| {
        let inode = event.hop.place.netns?;
        states.iter().find(|state| state.inode == inode)
    };
    let ours =
        || events.iter().filter(|event| concerns(fault, event)).filter(|e| state(e).is_some());
    let at_home = |event: &&Event| {
        state(event).is_some_and(|state| state.owns(event.hop.tuple.destination.ip()))
    };
    let dropped = || ours().filter(|event| matches!(event.hop.step, Step::Dropped(_)));
    let seen = |event: &&Event| {
        matches!(event.hop.step, Step::Received | Step::Queued | Step::Transmitted)
    };
    dropped()
        .find(at_home)
        .or_else(|| dropped().next())
        .or_else(|| ours().rfind(seen))
        .or_else(|| refused(fault, events))
}

/// A lookup that fails because a route discards: the packet was never made.
fn refused<'a>(fault: &Fault, events: &'a [Event]) -> Option<&'a Event> {
    let to = address(fault.packet.1).ip();
    events.iter().find(|event| match &event.hop.step {
        // -11: no route in this table; the next one is asked.
        Step::Routed(route) => route.destination == to && route.error < 0 && route.error != -11,
        _ => false,
    })
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn concerns(fault: &Fault, event: &Event) -> bool {
    let (source, destination, protocol, flags, ..) = fault.packet;
    let (source, destination) = (address(source), address(destination));
    let same = |left: SocketAddr, right: SocketAddr| {
        left.ip() == right.ip() && (left.port() == right.port() || left.port() == ANY_PORT)
    };
    let matches = |tuple: &Tuple| {
        tuple.protocol == protocol
            && tuple.tcp_flags == flags
            && same(source, tuple.source)
            && same(destination, tuple.destination)
    };
    matches(&event.hop.tuple) || event.outer.as_ref().is_some_and(matches)
}
