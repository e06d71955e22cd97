//! What the picture keeps, merges, refuses and shows.

use std::net::SocketAddr;
use std::time::Duration;
use taproot_model::*;
use taproot_world::view::{Flows, Map, RequestsView, Top, Unseen};
use taproot_world::{Config, EdgeKey, Observer, SeriesKey, World};

const SECOND: u64 = 1_000_000_000;

fn at(second: u64) -> Timestamp {
    Timestamp((1_800_000_000 + second) * SECOND)
}

fn end(name: &str, ip: u8, port: u16) -> Endpoint {
    Endpoint {
        entity: format!("container:{name}").into(),
        service: name.split('-').next().unwrap_or(name).into(),
        instance: name.into(),
        addr: SocketAddr::from(([10, 0, 0, ip], port)),
    }
}

fn edge(role: Role) -> Edge {
    Edge { client: end("web-1", 2, 0), server: end("api-1", 3, 8080), via: None, role }
}

fn key() -> EdgeKey {
    EdgeKey {
        client: "container:web-1".into(),
        server: "container:api-1".into(),
        port: 8080,
        transport: Transport::Tcp,
    }
}

fn requests(second: u64, role: Role, status: u16, count: u64, millis: u64) -> Signal {
    let mut latency = Histogram::default();
    (0..count).for_each(|_| latency.record(millis * 1_000_000));
    Signal::Requests(Box::new(Requests {
        at: at(second),
        interval: SECOND,
        edge: edge(role),
        protocol: Protocol::Http,
        method: "GET".into(),
        route: "/items/{id}".into(),
        status,
        code: "".into(),
        error: status == 0 || status >= 500,
        count,
        request_bytes: 100 * count,
        response_bytes: 1000 * count,
        latency,
    }))
}

fn flow(second: u64, role: Role) -> Flow {
    let mut flow = Flow::empty(at(second), SECOND, edge(role), Transport::Tcp);
    let (up, down) = (100, 1000);
    (flow.tx_bytes, flow.rx_bytes) = if role == Role::Server { (down, up) } else { (up, down) };
    (flow.tx_packets, flow.rx_packets) = (2, 2);
    flow
}

fn metric_of(second: u64, name: &str, kind: MetricKind, value: f64) -> Signal {
    Signal::Metric(Metric {
        at: at(second),
        interval: if kind == MetricKind::Delta { SECOND } else { 0 },
        entity: "container:api-1".into(),
        name: name.into(),
        attribute: Name::default(),
        kind,
        value,
    })
}

fn world() -> World {
    World::new(Config::default())
}

fn total(world: &World, observer: Observer) -> u64 {
    world.requests(&key(), observer, world.span()).values().map(|r| r.count).sum()
}

#[test]
fn both_ends_of_an_edge_are_counted_once() {
    let mut w = world();
    for s in 0..10 {
        w.add(&requests(s, Role::Client, 200, 5, 12));
        w.add(&requests(s, Role::Server, 200, 5, 10));
        w.add(&Signal::Flow(Box::new(flow(s, Role::Client))));
        w.add(&Signal::Flow(Box::new(flow(s, Role::Server))));
    }
    assert_eq!(total(&w, Observer::Merged), 50);
    let merged = w.flow(&key(), Observer::Merged, w.span());
    assert_eq!((merged.request_bytes, merged.response_bytes), (1_000, 10_000));
    assert_eq!((merged.request_packets, merged.response_packets), (20, 20));
    assert_eq!(w.edges().count(), 1);
    let map = Map::of(&w, w.span());
    let golden = &map.edges[0].golden;
    assert!((golden.rate - 5.0).abs() < 1.0, "{golden:?}");
    let gap =
        golden.client_latency.as_ref().unwrap().p50 - golden.server_latency.as_ref().unwrap().p50;
    assert!((gap - 0.002).abs() < 0.001, "the link's 2 ms are in the gap, not {gap}");
}

#[test]
fn each_end_sends_again_what_it_sent_itself() {
    let mut w = world();
    let (mut client, mut server) = (flow(1, Role::Client), flow(1, Role::Server));
    (client.retransmits, server.retransmits) = (3, 4);
    (client.resets_sent, server.resets_received) = (2, 2);
    (client.connects, server.connects) = (6, 6);
    client.failed_connects.insert("ECONNREFUSED".into(), 5);
    client.drops.insert("NETFILTER_DROP".into(), 2);
    server.drops.insert("NETFILTER_DROP".into(), 2);
    w.add(&Signal::Flow(Box::new(client)));
    w.add(&Signal::Flow(Box::new(server)));
    let merged = w.flow(&key(), Observer::Merged, w.span());
    assert_eq!((merged.retransmits, merged.connects, merged.client_resets), (7, 6, 2));
    assert_eq!((merged.failed(), merged.dropped()), (5, 2));
}

#[test]
fn requests_that_never_reached_the_server_count() {
    let mut w = world();
    for s in 0..10 {
        w.add(&requests(s, Role::Client, 200, 5, 12));
        w.add(&requests(s, Role::Client, 0, 5, 1000));
        w.add(&requests(s, Role::Server, 200, 5, 10));
    }
    assert_eq!(total(&w, Observer::Merged), 100);
    let map = Map::of(&w, w.span());
    assert!((map.edges[0].golden.error_ratio - 0.5).abs() < 1e-9);
    let rows = RequestsView::of(&w, w.span()).routes;
    assert!(rows.iter().any(|r| r.status.is_none() && r.count == 50), "{rows:?}");
}

#[test]
fn an_end_not_yet_known_is_used_only_alone() {
    let mut w = world();
    w.add(&requests(1, Role::Unknown, 200, 7, 1));
    assert_eq!(total(&w, Observer::Merged), 7);
    w.add(&requests(2, Role::Server, 200, 3, 1));
    assert_eq!(total(&w, Observer::Merged), 3);
}

#[test]
fn an_address_that_changes_hands_makes_two_edges() {
    let mut w = world();
    w.add(&requests(1, Role::Client, 200, 1, 1));
    let Signal::Requests(mut next) = requests(2, Role::Client, 200, 1, 1) else { unreachable!() };
    next.edge.server = end("other-1", 3, 8080);
    w.add(&Signal::Requests(next));
    let servers: Vec<_> = w.edges().map(|e| e.key.server.to_string()).collect();
    assert_eq!(servers, ["container:api-1", "container:other-1"]);
}

#[test]
fn order_does_not_matter_within_the_window() {
    let signals: Vec<Signal> = (0..20)
        .flat_map(|s| {
            [
                requests(s, Role::Server, 200, s, 3),
                metric_of(s, metric::FD_COUNT, MetricKind::Gauge, s as f64),
            ]
        })
        .collect();
    let (mut a, mut b) = (world(), world());
    a.add_all(&signals);
    b.add_all(signals.iter().rev());
    assert_eq!(a.span(), b.span());
    assert_eq!(total(&a, Observer::Merged), total(&b, Observer::Merged));
    let fds = SeriesKey { name: metric::FD_COUNT.into(), attribute: Name::default() };
    let of = |w: &World| w.metric("container:api-1", &fds, w.span()).unwrap();
    assert_eq!(of(&a), of(&b));
    assert_eq!(of(&a).last(), Some(19.0));
}

#[test]
fn what_leaves_the_window_is_gone_and_what_comes_later_is_counted() {
    let mut w = World::new(Config { window: Duration::from_mins(1), ..Config::default() });
    for s in 0..300 {
        w.add(&requests(s, Role::Server, 200, 1, 1));
    }
    let span = w.span().length().as_secs();
    assert!((60..=75).contains(&span), "{span} s");
    assert!(total(&w, Observer::Merged) <= 75);
    w.add(&requests(5, Role::Server, 200, 1, 1));
    assert_eq!(w.evicted().by_reason.get("late"), Some(&1));
}

#[test]
fn a_clock_that_jumps_is_not_believed_at_once() {
    let mut w = world();
    w.add(&requests(1, Role::Server, 200, 1, 1));
    w.add(&requests(1_000_000, Role::Server, 200, 1, 1));
    assert_eq!(w.evicted().by_reason.get("clock_jump"), Some(&1));
    assert_eq!(total(&w, Observer::Merged), 1);
    for s in 0..20 {
        w.add(&requests(1_000_001 + s, Role::Server, 200, 1, 1));
    }
    assert!(w.span().to > at(1_000_000), "a clock that stays there is believed");
}

#[test]
fn memory_is_bounded_and_refusals_are_counted_by_reason() {
    let config = Config {
        max_edges: 3,
        max_series: 2,
        max_routes: 2,
        max_events: 4,
        max_entities: 8,
        max_bytes: 50_000,
        ..Config::default()
    };
    let mut w = World::new(config);
    for s in 0..200 {
        for i in 0..10_u8 {
            let Signal::Requests(mut r) = requests(s, Role::Client, 200 + u16::from(i), 1, 1)
            else {
                unreachable!()
            };
            r.edge.client = end(&format!("web-{i}"), i, 0);
            w.add(&Signal::Requests(r));
            w.add(&metric_of(s, &format!("m{i}"), MetricKind::Gauge, 1.0));
        }
        w.add(&requests(s, Role::Client, 200 + (s % 10) as u16, 1, 1));
        w.add(&metric_of(s, "m0", MetricKind::Gauge, f64::NAN));
        w.add(&Signal::Loss(Loss {
            at: at(s),
            entity: "node:n".into(),
            collector: "http".into(),
            reason: "ring_full".into(),
            count: 1,
        }));
    }
    let by = &w.evicted().by_reason;
    for reason in ["edges", "series", "routes", "events", "entities", "budget", "not_finite"] {
        assert!(by.get(reason).is_some_and(|n| *n > 0), "{reason} is not counted: {by:?}");
    }
    assert!(w.edges().count() <= 3 && w.entities().count() <= 16);
    assert!(w.span().length() < Duration::from_secs(200), "the budget shortens the window");
}

#[test]
fn deltas_add_up_and_gauges_keep_the_last() {
    let mut w = world();
    for s in 0..5 {
        w.add(&metric_of(s, metric::CPU_TIME, MetricKind::Delta, 0.5));
        w.add(&metric_of(s, metric::FD_COUNT, MetricKind::Gauge, 10.0 + s as f64));
        w.add(&requests(s, Role::Server, 200, 4, 10));
    }
    let row = &Top::of(&w, w.span()).rows[0];
    assert_eq!(row.instance.as_str(), "api-1");
    assert!(row.cpu.is_some_and(|c| (0.4..=0.6).contains(&c)), "{row:?}");
    assert_eq!((row.fds, row.fd_limit), (Some(14.0), None));
    assert!(row.inbound.is_some());
}

#[test]
fn a_better_name_is_used_for_what_was_seen_before() {
    let mut w = world();
    w.add(&requests(1, Role::Client, 200, 1, 1));
    w.add(&Signal::Flow(Box::new(flow(1, Role::Client))));
    let named = Entity {
        id: "container:api-1".into(),
        kind: EntityKind::Container,
        service: "shop/api".into(),
        pod: "api-7d9".into(),
        ..Entity::default()
    };
    w.add(&Signal::Entity(Box::new(named)));
    let map = Map::of(&w, w.span());
    assert_eq!(map.edges[0].server.as_str(), "shop/api");
    assert!(map.services.iter().all(|s| s.service.as_str() != "api"));
    let flows = Flows::of(&w, w.span()).flows;
    assert_eq!(flows[0].server.instance.as_str(), "api-7d9");
    assert_eq!(flows[0].server.service.as_str(), "shop/api");
    assert_eq!(
        flows[0].client.instance.as_str(),
        "web-1",
        "its own word, where nobody knows better"
    );
    let kept = |name: &'static str| RequestsView::between(&w, w.span(), move |_, i| i == name);
    assert_eq!((kept("api-7d9").routes.len(), kept("api-1").routes.len()), (1, 0));
}

#[test]
fn views_are_versioned_json() {
    let mut w = world();
    w.add(&requests(1, Role::Client, 200, 1, 1));
    w.add(&Signal::Flow(Box::new(flow(1, Role::Client))));
    let span = w.span();
    for json in [
        serde_json::to_value(Map::of(&w, span)).unwrap(),
        serde_json::to_value(Top::of(&w, span)).unwrap(),
        serde_json::to_value(Flows::of(&w, span)).unwrap(),
        serde_json::to_value(RequestsView::of(&w, span)).unwrap(),
    ] {
        assert_eq!(json["schema_version"], 1, "{json}");
    }
    let flows = serde_json::to_value(Flows::of(&w, span)).unwrap();
    assert_eq!(flows["flows"][0]["request_bytes"], 100);
}

#[test]
fn an_empty_world_answers_with_nothing() {
    let w = world();
    assert_eq!(w.span(), Span::default());
    assert!(Map::of(&w, w.span()).services.is_empty());
    assert_eq!(w.flow(&key(), Observer::Merged, w.span()).request_bytes, 0);
}

#[test]
fn what_was_understood_of_a_services_traffic() {
    let mut w = world();
    // 2 requests of HTTP/1: 2,200 bytes; the parsers understood 800 more.
    w.add(&requests(1, Role::Server, 200, 2, 5));
    let mut busy = flow(1, Role::Server);
    (busy.tx_bytes, busy.rx_bytes) = (3_500, 500);
    w.add(&Signal::Flow(Box::new(busy)));
    let states = [
        ("parsed", 800.0),
        ("unknown", 600.0),
        ("encrypted", 50.0),
        ("ring_full", 70.0),
        ("truncated", 20.0),
        ("gap", 6.0),
        ("no_room", 4.0),
    ];
    for (state, value) in states {
        let Signal::Metric(part) = metric_of(1, metric::CAPTURE_BYTES, MetricKind::Delta, value)
        else {
            panic!("a metric")
        };
        w.add(&Signal::Metric(Metric { attribute: format!("state={state}").into(), ..part }));
    }
    let map = Map::of(&w, w.span());
    let of = |name: &str| map.services.iter().find(|s| &*s.service == name).unwrap().capture;
    let api = of("api");
    assert_eq!((api.socket_bytes, api.parsed_bytes), (4_000, 3_000));
    assert_eq!((api.unknown_bytes, api.unseen_bytes, api.encrypted_bytes), (600, 100, 50));
    let unseen =
        Unseen { ring_full_bytes: 70, truncated_bytes: 20, gap_bytes: 6, no_room_bytes: 4 };
    assert_eq!((api.unseen, api.unwatched_bytes), (unseen, 250));
    assert_eq!((api.requests, api.unanswered), (2, 0));
    assert_eq!(api.ratio, Some(0.75));
    assert_eq!(of("web").ratio, None, "nobody looked at its end");
    let top = Top::of(&w, w.span());
    let row = top.rows.iter().find(|r| &*r.service == "api").unwrap();
    assert_eq!(row.coverage, Some(0.75));
}

#[test]
fn a_requests_time_is_told_by_its_stages() {
    let told = |parts: &[(&str, f64)]| {
        let mut w = world();
        w.add(&requests(1, Role::Server, 200, 2, 48));
        w.add(&Signal::Flow(Box::new(flow(1, Role::Server))));
        let mut add = |name: &str, attribute: String, value: f64| {
            let Signal::Metric(part) = metric_of(1, name, MetricKind::Delta, value) else {
                panic!("a metric")
            };
            w.add(&Signal::Metric(Metric { attribute: attribute.into(), ..part }));
        };
        add(metric::REQUEST_STAGED, "role=server".into(), 2.0);
        add(metric::REQUEST_STAGE_SEEN, "stage=qdisc".into(), 1.0);
        for (stage, seconds) in parts {
            add(metric::REQUEST_STAGE_TIME, format!("stage={stage}"), *seconds);
        }
        let top = Top::of(&w, w.span());
        let row = top.rows.into_iter().find(|r| &*r.service == "api").unwrap();
        row.spent.expect("its requests were seen")
    };
    let held_up = [
        ("receive", 0.0),
        ("receive.queued", 0.018),
        ("receive.throttled", 0.05),
        ("service", 0.016),
        ("service.queued", 0.0),
        ("service.throttled", 0.012),
        ("send", 0.002),
        ("send.buffered", 0.006),
        ("qdisc", 0.03),
    ];
    let spent = told(&held_up);
    assert!((spent.total - 0.052).abs() < 1e-9, "{spent:?}");
    assert!((spent.send - 0.004).abs() < 1e-9, "{spent:?}");
    assert!((spent.buffered.unwrap() - 0.003).abs() < 1e-9, "{spent:?}");
    assert_eq!((spent.qdisc, spent.device), (Some(0.03), None), "of the one that was seen");
    let parts = [spent.throttled, spent.queued, spent.work].map(|part| part.unwrap());
    let right = [0.031, 0.009, 0.008];
    assert!(parts.iter().zip(right).all(|(a, b)| (a - b).abs() < 1e-9), "{spent:?}");

    let unseen = told(&[("receive.unknown", 0.06), ("service.unknown", 0.036), ("send", 0.0)]);
    assert_eq!((unseen.throttled, unseen.queued, unseen.work), (None, None, None));
    assert_eq!((unseen.buffered, unseen.qdisc), (None, None));
    assert!((unseen.unknown - 0.048).abs() < 1e-9, "{unseen:?}");
}
