//! A small shop as its signals: gateway → product → inventory and cache, and a
//! stranger outside. Inventory gets slow and fails in the last minute.

use std::time::Duration;
use taproot_model::{
    Edge, Endpoint, Entity, EntityKind, Flow, Histogram, Loss, Metric, MetricKind, Protocol,
    Requests, Role, Signal, Timestamp, Transport, metric,
};

/// Caller, called, port, requests a second, latency in ms.
const EDGES: [(&str, &str, u16, u64, u64); 5] = [
    ("198.51.100.7", "shop/gateway", 80, 60, 14),
    ("shop/gateway", "shop/product", 8080, 55, 10),
    ("shop/product", "shop/inventory", 8081, 50, 4),
    ("shop/product", "shop/cache", 6379, 90, 1),
    ("shop/gateway", "shop/<b>accounts</b>", 8082, 5, 7),
];

/// Signals of `seconds` seconds up to `end`; with `trouble` in the last 60 of them.
pub(crate) fn signals(end: Timestamp, seconds: u64, trouble: bool) -> Vec<Signal> {
    let names = EDGES.iter().flat_map(|e| [e.0, e.1]);
    let mut out: Vec<Signal> = names.map(owner).collect();
    for second in 0..seconds {
        let at = end - Duration::from_secs(seconds - 1 - second);
        let bad = trouble && second + 60 >= seconds;
        for (n, edge) in EDGES.iter().enumerate() {
            let wave = 1.0 + 0.2 * ((second as f64) / 17.0 + n as f64).sin();
            second_of(*edge, at, wave, bad, &mut out);
        }
        unknown(at, &mut out);
    }
    out.push(Signal::Loss(Loss {
        at: end,
        entity: id("shop/gateway"),
        collector: "http".into(),
        reason: "ring_full".into(),
        count: 17,
    }));
    out
}

fn id(service: &str) -> taproot_model::Name {
    format!("container:{service}").into()
}

fn owner(service: &str) -> Signal {
    let outside = !service.contains('/');
    Signal::Entity(Box::new(Entity {
        id: id(service),
        kind: if outside { EntityKind::External } else { EntityKind::Container },
        service: service.into(),
        pod: if outside { "".into() } else { format!("{}-0", &service[5..]).into() },
        ..Entity::default()
    }))
}

fn end_of(service: &str, port: u16) -> Endpoint {
    Endpoint {
        entity: id(service),
        service: service.into(),
        instance: format!("{service}-0").into(),
        addr: ([10, 0, 0, service.len() as u8], port).into(),
    }
}

fn second_of(
    (client, server, port, rate, ms): (&str, &str, u16, u64, u64),
    at: Timestamp,
    wave: f64,
    bad: bool,
    out: &mut Vec<Signal>,
) {
    let (client, called) = (end_of(client, 0), end_of(server, port));
    let edge = Edge { client, server: called, via: None, role: Role::Server };
    let slow = bad && server != "shop/cache" && !server.contains("accounts");
    let failing = bad && server == "shop/inventory";
    let count = (rate as f64 * wave) as u64;
    let failed = if failing { count / 4 } else { 0 };
    for (status, count) in [(200, count - failed), (503, failed)] {
        let mut latency = Histogram::default();
        for n in 0..count {
            let spread = 600_000 + n * 900_000 / count;
            latency.record(ms * spread * if slow { 5 } else { 1 });
        }
        out.push(Signal::Requests(Box::new(Requests {
            at,
            interval: 1_000_000_000,
            edge: edge.clone(),
            protocol: Protocol::Http,
            method: "GET".into(),
            route: "/{id}".into(),
            status,
            code: "".into(),
            error: status == 503,
            count,
            request_bytes: count * 200,
            response_bytes: count * 2000,
            latency,
        })));
    }
    let mut flow = Flow::empty(at, 1_000_000_000, edge, Transport::Tcp);
    flow.rx_bytes = count * 200;
    flow.tx_bytes = count * 2000;
    out.push(Signal::Flow(Box::new(flow)));
}

/// What else the product's service says: nothing that is known, and a fifth of it was lost.
fn unknown(at: Timestamp, out: &mut Vec<Signal>) {
    let ends = (end_of("shop/gateway", 0), end_of("shop/product", 8080));
    let edge = Edge { client: ends.0, server: ends.1, via: None, role: Role::Server };
    let mut flow = Flow::empty(at, 1_000_000_000, edge, Transport::Tcp);
    flow.tx_bytes = 10_000;
    out.push(Signal::Flow(Box::new(flow)));
    for (state, value) in [("unknown", 6_000.0), ("ring_full", 2_000.0)] {
        out.push(Signal::Metric(Metric {
            at,
            interval: 1_000_000_000,
            entity: id("shop/product"),
            name: metric::CAPTURE_BYTES.into(),
            attribute: format!("state={state}").into(),
            kind: MetricKind::Delta,
            value,
        }));
    }
}
