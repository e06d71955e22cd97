//! A few signals of a small shop.

use taproot_model::trace::Origin;
use taproot_model::{
    Edge, Endpoint, Entity, EntityKind, Exemplar, Flow, Histogram, Loss, Metric, MetricKind,
    Protocol, Requests, Role, SendBuffer, Signal, Stage, Stages, Timestamp, Transport, metric,
};

/// 14 November 2026, 10:00 UTC.
pub(crate) const AT: Timestamp = Timestamp(1_794_650_400_000_000_000);

fn end(service: &str, address: [u8; 4], port: u16) -> Endpoint {
    Endpoint {
        entity: format!("container:{service}").into(),
        service: service.into(),
        instance: service.into(),
        addr: (address, port).into(),
    }
}

fn edge(server: &str, port: u16, role: Role) -> Edge {
    let (client, server) =
        (end("shop/gateway", [10, 0, 0, 1], 0), end(server, [10, 0, 0, 2], port));
    let via = Some(([10, 96, 0, 9], port).into());
    Edge { client, server, via, role }
}

fn entity(service: &str) -> Signal {
    Signal::Entity(Box::new(Entity {
        id: format!("container:{service}").into(),
        kind: EntityKind::Container,
        service: service.into(),
        namespace: "shop".into(),
        pod: "a-pod".into(),
        node: "n1".into(),
        ..Entity::default()
    }))
}

fn latency(milliseconds: &[u64]) -> Histogram {
    let mut out = Histogram::default();
    for ms in milliseconds {
        out.record(ms * 1_000_000);
    }
    out
}

fn requests(protocol: Protocol, edge: Edge, status: u16, error: bool, code: &str) -> Signal {
    let http = protocol == Protocol::Http;
    Signal::Requests(Box::new(Requests {
        at: AT,
        interval: 1_000_000_000,
        edge,
        protocol,
        method: if http { "GET" } else { "SELECT" }.into(),
        route: if http { "/cart/{id}" } else { "orders" }.into(),
        status,
        code: code.into(),
        error,
        count: 3,
        request_bytes: 300,
        response_bytes: 9_000,
        latency: latency(&[2, 30, 30]),
    }))
}

/// One interval of every kind of signal that becomes a series.
pub(crate) fn signals() -> Vec<Signal> {
    let mut flow =
        Flow::empty(AT, 1_000_000_000, edge("shop/cart", 8080, Role::Server), Transport::Tcp);
    flow.rx_bytes = 300;
    flow.tx_bytes = 9_000;
    flow.connects = 2;
    flow.failed_connects.insert("ECONNREFUSED".into(), 1);
    flow.rtt = latency(&[1]);
    let cpu = |name: &str, attribute: &str, kind, value| {
        Signal::Metric(Metric {
            at: AT,
            interval: 1_000_000_000,
            entity: "container:shop/cart".into(),
            name: name.into(),
            attribute: attribute.into(),
            kind,
            value,
        })
    };
    let seen = edge("shop/cart", 8443, Role::Client);
    let shown = requests(Protocol::Tls, seen, 0, false, "2027-01-31T12:00:00Z");
    let Signal::Requests(mut shown) = shown else { unreachable!("they are requests") };
    (shown.method, shown.route) = ("certificate".into(), "shop.test".into());
    vec![
        Signal::Requests(shown),
        entity("shop/gateway"),
        entity("shop/cart"),
        requests(Protocol::Http, edge("shop/cart", 8080, Role::Server), 200, false, ""),
        requests(Protocol::Http, edge("shop/cart", 8080, Role::Client), 503, true, ""),
        requests(Protocol::Postgres, edge("shop/db", 5432, Role::Client), 0, true, "42P01"),
        Signal::Flow(Box::new(flow)),
        cpu(metric::CPU_TIME, "", MetricKind::Delta, 0.25),
        cpu(metric::FD_KIND, "kind=socket", MetricKind::Gauge, 12.0),
        cpu(metric::MEMORY_USAGE, "", MetricKind::Gauge, 1e6),
        Signal::Loss(Loss {
            at: AT,
            entity: "node:n1".into(),
            collector: "http".into(),
            reason: "ring_full".into(),
            count: 17,
        }),
    ]
}

/// A request kept in full, as the server saw it.
pub(crate) fn exemplar(status: u16) -> Signal {
    Signal::Exemplar(Box::new(Exemplar {
        at: AT,
        edge: edge("shop/cart", 8080, Role::Server),
        protocol: Protocol::Http,
        method: "GET".into(),
        path: "/cart/17".into(),
        route: "/cart/{id}".into(),
        status,
        code: "".into(),
        error: status == 0 || status >= 500,
        first_byte: 1_000_000,
        duration: 2_000_000,
        stages: None,
        origin: None,
        request_bytes: 100,
        response_bytes: 3_000,
    }))
}

/// One of which the server saw where its time went.
pub(crate) fn staged() -> Signal {
    let Signal::Exemplar(mut one) = exemplar(200) else { unreachable!("as it is made") };
    one.stages = Some(Stages::Server {
        receive: Stage { total: 100_000, queued: 0, throttled: 0, unknown: 100_000 },
        service: Stage { total: 1_400_000, queued: 0, throttled: 1_000_000, unknown: 0 },
        send: 500_000,
        buffer: Some(SendBuffer { buffered: 400_000, unknown: 0 }),
        device: None,
        qdisc: Some(70_000_000),
    });
    Signal::Exemplar(one)
}

/// A request as one end saw it, which another one may have caused.
pub(crate) fn placed(role: Role, request: u64, cause: Option<u64>) -> Signal {
    let Signal::Exemplar(mut one) = exemplar(200) else { unreachable!("as it is made") };
    one.edge = edge("shop/cart", 8080, role);
    one.origin = Some(Origin { request, cause, context: None });
    Signal::Exemplar(one)
}
