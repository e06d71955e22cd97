use taproot_model::Drop;
use taproot_netstate::state::{
    Address, LOCAL_TABLE, Link, MAIN_TABLE, PolicyAction, Route, RouteKind, Rule, Waiting,
};
use taproot_probes::trace::Account;

use super::*;
use crate::testing::{A, B, hop, sent};

fn table(priority: u32, table: u32) -> Rule {
    let action = PolicyAction::Table;
    Rule {
        priority,
        v6: false,
        from: None,
        to: None,
        iif: None,
        oif: None,
        mark: None,
        invert: false,
        action,
        table,
        suppress_length: None,
        more: false,
    }
}

fn route(table: u32, kind: RouteKind, to: &str, out: u32) -> Route {
    let to = to.parse().expect("a subnet");
    let out = Some(out);
    Route { table, kind, to, gateway: None, out, metric: 0, source: None, more_hops: 0 }
}

/// A namespace with `eth0` (number 4, as the made-up hops have it) and an address.
fn state(inode: u32, own: &str) -> NetState {
    let link = Link {
        index: 4,
        name: "eth0".to_owned(),
        kind: "veth".to_owned(),
        up: true,
        carrier: true,
        mtu: 1500,
        ..Link::default()
    };
    let prefix = format!("{own}/24").parse().expect("a subnet");
    NetState {
        inode,
        links: vec![link],
        addresses: vec![Address { prefix, link: 4 }],
        rules: vec![table(0, LOCAL_TABLE), table(32766, MAIN_TABLE)],
        routes: vec![
            route(LOCAL_TABLE, RouteKind::Local, &format!("{own}/32"), 4),
            route(MAIN_TABLE, RouteKind::Unicast, "10.0.0.0/24", 4),
        ],
        ..NetState::default()
    }
}

/// The receiver's, with somebody who waits at port 80.
fn server() -> NetState {
    let waiting = Waiting {
        tcp: true,
        at: "10.0.0.2:80".parse().expect("an address"),
        connected: false,
        waiting: 0,
        limit: 5,
        drops: 0,
        inode: 1,
    };
    NetState { sockets: vec![waiting], ..state(B, "10.0.0.2") }
}

fn beside(events: Vec<Event>, states: &[NetState]) -> Vec<Expectation> {
    expectations(&Trace::assemble(events, Account::default()), 0, states)
}

fn filtered() -> Step {
    let function = "br_handle".into();
    Step::Dropped(Drop {
        reason: "TC_INGRESS".into(),
        function,
        stack: Vec::new(),
        netfilter: None,
    })
}

#[test]
fn what_goes_as_expected_agrees() {
    let events =
        vec![sent(1), hop(2, Step::Received, B, "eth0"), hop(3, Step::Delivered, B, "eth0")];
    let found = beside(events, &[state(A, "10.0.0.1"), server()]);
    let agrees: Vec<_> = found.iter().map(|one| (one.netns, one.hop, one.agrees)).collect();
    assert_eq!(agrees, [(A, 0, Some(true)), (B, 1, Some(true))], "{found:?}");
    assert_eq!(found[0].expected.last().expect("an end"), "it leaves by eth0 to 10.0.0.2");
    assert_eq!(found[0].observed, "left by eth0");
}

#[test]
fn a_drop_that_nothing_explains_is_a_difference() {
    let events = vec![sent(1), hop(2, Step::Received, B, "eth0"), hop(3, filtered(), B, "eth0")];
    let found = beside(events.clone(), &[server()]);
    let [one] = found.as_slice() else { panic!("one namespace is known: {found:?}") };
    assert_eq!(one.agrees, Some(false));
    assert!(one.observed.contains("TC_INGRESS"), "{one:?}");
    let said = text(&found, &crate::Plain);
    assert!(said.contains("FINDING: it was stopped: TC_INGRESS"), "{said}");
    let mut doubtful = server();
    doubtful.links[0].xdp = Some(7);
    let found = beside(events, &[doubtful]);
    assert_eq!(found[0].agrees, None, "an XDP program may be why");
    let said = text(&found, &crate::Plain);
    assert!(said.contains("Not certain: XDP program 7"), "{said}");
}

#[test]
fn another_device_than_the_route_says_is_a_difference() {
    let elsewhere = Event { own_socket: true, ..hop(1, Step::Queued, A, "net1") };
    assert_eq!(beside(vec![elsewhere], &[state(A, "10.0.0.1")])[0].agrees, Some(false));
}

#[test]
fn a_state_that_fits_at_one_moment_is_enough() {
    let events = vec![sent(1)];
    let mut without = state(A, "10.0.0.1");
    without.routes.pop();
    assert_eq!(beside(events.clone(), std::slice::from_ref(&without))[0].agrees, Some(false));
    assert_eq!(beside(events, &[state(A, "10.0.0.1"), without])[0].agrees, Some(true));
}

#[test]
fn a_listener_that_is_gone_by_now_is_no_difference() {
    let events = vec![hop(2, Step::Received, B, "eth0"), hop(3, Step::Delivered, B, "eth0")];
    assert_eq!(beside(events, &[state(B, "10.0.0.2")])[0].agrees, None);
}

#[test]
fn answers_and_bridges_are_not_predicted() {
    let mut answer = sent(1);
    answer.hop.tuple.tcp_flags = 0x12;
    assert_eq!(beside(vec![answer], &[state(A, "10.0.0.1")]), []);
    let mut bridge = server();
    bridge.links[0].master = Some(9);
    let passing = vec![hop(2, Step::Received, B, "eth0"), hop(3, Step::Queued, B, "port2")];
    assert_eq!(beside(passing, &[bridge]), []);
}
