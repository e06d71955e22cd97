//! Signals for the tests of this crate.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use taproot_model::trace::{Context, Origin};
use taproot_model::*;

pub const SECOND: u64 = 1_000_000_000;

/// A round wall-clock second that is also the end of a 5-minute interval.
pub const START: u64 = 1_795_000_200 * SECOND;

pub fn at(seconds: u64) -> Timestamp {
    Timestamp(START) + Duration::from_secs(seconds)
}

pub fn all() -> Span {
    Span::new(Timestamp(0), Timestamp(u64::MAX))
}

pub fn endpoint(service: &str, port: u16) -> Endpoint {
    Endpoint {
        entity: format!("container:{service}").into(),
        service: format!("shop/{service}").into(),
        instance: format!("{service}-0").into(),
        addr: SocketAddr::from(([10, 0, 0, service.len() as u8], port)),
    }
}

pub fn edge() -> Edge {
    Edge {
        client: endpoint("gateway", 0),
        server: endpoint("product", 8080),
        via: None,
        role: Role::Client,
    }
}

pub fn entity(id: &str) -> Signal {
    Signal::Entity(Box::new(Entity { id: id.into(), service: id.into(), ..Entity::default() }))
}

pub fn flow(when: Timestamp, bytes: u64) -> Signal {
    let mut flow = Flow::empty(when, SECOND, edge(), Transport::Tcp);
    flow.tx_bytes = bytes;
    flow.open = bytes % 7;
    flow.drops.insert("NO_SOCKET".into(), 1);
    flow.rtt.record(bytes.saturating_add(1_000));
    Signal::Flow(Box::new(flow))
}

pub fn requests(when: Timestamp, count: u64) -> Signal {
    let mut latency = Histogram::default();
    (0..count).for_each(|n| latency.record(1_000_000 + n * 1000));
    Signal::Requests(Box::new(Requests {
        at: when,
        interval: SECOND,
        edge: edge(),
        protocol: Protocol::Http,
        method: "GET".into(),
        route: "/products/{id}".into(),
        status: 200,
        code: "".into(),
        error: false,
        count,
        request_bytes: 100 * count,
        response_bytes: 1000 * count,
        latency,
    }))
}

pub fn metric(when: Timestamp, name: &str, kind: MetricKind, value: f64) -> Signal {
    let interval = if kind == MetricKind::Delta { SECOND } else { 0 };
    let (entity, attribute) = ("container:gateway".into(), "".into());
    Signal::Metric(Metric { at: when, interval, entity, name: name.into(), attribute, kind, value })
}

pub fn loss(when: Timestamp, count: u64) -> Signal {
    let (entity, collector) = ("node:a".into(), "http".into());
    Signal::Loss(Loss { at: when, entity, collector, reason: "ring_full".into(), count })
}

/// One of each kind that happens rather than accumulates, and a single request.
pub fn happenings(at: Timestamp) -> Vec<Signal> {
    let who = || EntityId::from("container:gateway");
    let failure = ErrnoCount { syscall: "accept4".into(), errno: "EMFILE".into(), count: 3 };
    vec![
        Signal::Exemplar(Box::new(Exemplar {
            at,
            edge: edge(),
            protocol: Protocol::Http,
            method: "GET".into(),
            path: "/products/7".into(),
            route: "/products/{id}".into(),
            status: 503,
            code: "".into(),
            error: true,
            first_byte: 5,
            duration: 9,
            stages: None,
            origin: None,
            request_bytes: 1,
            response_bytes: 2,
        })),
        Signal::Lifecycle(Box::new(Lifecycle {
            at,
            entity: who(),
            kind: LifecycleKind::Exit,
            pid: 7,
            comm: "gateway".into(),
            main: true,
            exit: Some(Exit { code: 0, signal: 9, core: false }),
            signal: 9,
            sender: Some("unit:cron.service".into()),
            last_failures: vec![failure],
            fds: Some((1023, 1024)),
            memory: None,
            last_words: vec!["cannot accept".into()],
        })),
        Signal::SyscallFailure(Box::new(SyscallFailure {
            at,
            interval: SECOND,
            entity: who(),
            syscall: "connect".into(),
            errno: "ECONNREFUSED".into(),
            target: "10.96.0.1:443".into(),
            count: 2,
        })),
        Signal::LogPattern(Box::new(LogPattern {
            at,
            interval: SECOND,
            entity: who(),
            template: "cannot reach <*>".into(),
            severity: LogSeverity::Error,
            count: 4,
            new: true,
            example: "cannot reach cache".into(),
        })),
        Signal::Gibberish(Box::new(Gibberish {
            at,
            interval: SECOND,
            entity: who(),
            reason: "NUL bytes".into(),
            lines: 1,
            of: 9,
            sample: "\\x00\\x00".into(),
        })),
        Signal::Change(Box::new(Change {
            at,
            entity: who(),
            kind: ChangeKind::Route,
            what: "default via 10.1.0.1 -> default via 10.2.0.1".into(),
            by: "".into(),
            undo: "".into(),
        })),
        Signal::ClusterEvent(Box::new(ClusterEvent {
            at,
            entity: who(),
            severity: "Warning".into(),
            reason: "BackOff".into(),
            message: "restarting".into(),
        })),
    ]
}

fn any_name() -> impl Strategy<Value = Name> {
    prop_oneof!["[a-z]{0,6}", "\\PC{0,8}"].prop_map(Name::from)
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    (0..1000 * SECOND).prop_map(|t| Timestamp(START + t))
}

/// An address as signals carry them: serde keeps no flow label or scope of IPv6.
fn any_addr() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from)
}

fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    (any_name(), any_name(), any_name(), any_addr())
        .prop_map(|(entity, service, instance, addr)| Endpoint { entity, service, instance, addr })
}

fn any_edge() -> impl Strategy<Value = Edge> {
    let role = prop_oneof![Just(Role::Client), Just(Role::Server), Just(Role::Unknown)];
    (any_endpoint(), any_endpoint(), option::of(any_addr()), role)
        .prop_map(|(client, server, via, role)| Edge { client, server, via, role })
}

fn any_histogram() -> impl Strategy<Value = Histogram> {
    vec((0u16..512, 1..u64::from(u32::MAX)), 0..6)
        .prop_map(|buckets| (if buckets.is_empty() { 0 } else { 123_456 }, buckets))
        .prop_map(|(sum, buckets)| Histogram::from_buckets(buckets, sum))
}

fn any_counts() -> impl Strategy<Value = std::collections::BTreeMap<Name, u64>> {
    btree_map(any_name(), any::<u64>(), 0..4)
}

fn any_flow() -> impl Strategy<Value = Signal> {
    let transport = prop_oneof![Just(Transport::Tcp), Just(Transport::Udp)];
    let maps = (any_counts(), any_counts(), any_histogram(), any_histogram());
    (any_time(), any::<u64>(), any_edge(), transport, any::<[u64; 11]>(), maps).prop_map(
        |(when, interval, edge, transport, n, (failed_connects, drops, rtt, connect_time))| {
            Signal::Flow(Box::new(Flow {
                tx_bytes: n[0],
                rx_bytes: n[1],
                tx_packets: n[2],
                rx_packets: n[3],
                retransmits: n[4],
                syn_retransmits: n[5],
                connects: n[6],
                resets_sent: n[7],
                resets_received: n[8],
                listen_overflows: n[9],
                open: n[10],
                failed_connects,
                drops,
                rtt,
                connect_time,
                ..Flow::empty(when, interval, edge, transport)
            }))
        },
    )
}

fn any_protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![
        Just(Protocol::Http),
        Just(Protocol::Dns),
        Just(Protocol::Redis),
        Just(Protocol::Postgres)
    ]
}

fn any_requests() -> impl Strategy<Value = Signal> {
    let names = (any_protocol(), any_name(), any_name());
    let status = (any::<u16>(), any_name(), any::<bool>());
    (any_time(), any_edge(), names, status, any::<[u64; 4]>(), any_histogram()).prop_map(
        |(at, edge, (protocol, method, route), (status, code, error), n, latency)| {
            let [interval, count, request_bytes, response_bytes] = n;
            Signal::Requests(Box::new(Requests {
                at,
                interval,
                edge,
                protocol,
                method,
                route,
                status,
                code,
                error,
                count,
                request_bytes,
                response_bytes,
                latency,
            }))
        },
    )
}

fn any_stages() -> impl Strategy<Value = Option<Stages>> {
    let stage =
        |[total, queued, throttled, unknown]: [u64; 4]| Stage { total, queued, throttled, unknown };
    let buffer = any::<Option<[u64; 2]>>()
        .prop_map(|b| b.map(|[buffered, unknown]| SendBuffer { buffered, unknown }));
    let waits = (any::<([u64; 4], [u64; 4], u64)>(), buffer, any::<[Option<u64>; 2]>());
    let server = waits.prop_map(move |((receive, service, send), buffer, [device, qdisc])| {
        let (receive, service) = (stage(receive), stage(service));
        Some(Stages::Server { receive, service, send, buffer, device, qdisc })
    });
    let client =
        any::<[u64; 2]>().prop_map(|[peer, transfer]| Some(Stages::Client { peer, transfer }));
    prop_oneof![Just(None), server, client]
}

fn any_origin() -> impl Strategy<Value = Option<Origin>> {
    let context = any::<Option<([u8; 16], [u8; 8])>>();
    let origin = (any::<u64>(), any::<Option<u64>>(), context).prop_map(|(request, cause, c)| {
        Some(Origin { request, cause, context: c.map(|(trace, span)| Context { trace, span }) })
    });
    prop_oneof![Just(None), origin]
}

fn any_exemplar() -> impl Strategy<Value = Signal> {
    let names = (any_protocol(), any_name(), any_name(), any_name());
    let status = (any::<u16>(), any_name(), any::<bool>());
    let numbers = (any::<[u64; 4]>(), any_stages(), any_origin());
    (any_time(), any_edge(), names, status, numbers).prop_map(
        |(
            at,
            edge,
            (protocol, method, path, route),
            (status, code, error),
            (n, stages, origin),
        )| {
            let [first_byte, duration, request_bytes, response_bytes] = n;
            Signal::Exemplar(Box::new(Exemplar {
                at,
                edge,
                protocol,
                method,
                path,
                route,
                status,
                code,
                error,
                first_byte,
                duration,
                stages,
                origin,
                request_bytes,
                response_bytes,
            }))
        },
    )
}

fn any_metric() -> impl Strategy<Value = Signal> {
    let kind = prop_oneof![Just(MetricKind::Gauge), Just(MetricKind::Delta)];
    let value = any::<f64>().prop_filter("equal to itself", |v| !v.is_nan());
    (any_time(), any::<u64>(), any_name(), any_name(), any_name(), kind, value).prop_map(
        |(at, interval, entity, name, attribute, kind, value)| {
            Signal::Metric(Metric { at, interval, entity, name, attribute, kind, value })
        },
    )
}

fn any_lifecycle() -> impl Strategy<Value = Signal> {
    use LifecycleKind::{Exec, Exit as Ended, OomKill, Signal as Signalled};
    let kind = prop_oneof![Just(Exec), Just(Ended), Just(OomKill), Just(Signalled)];
    let exit = option::of(any::<(u8, u8, bool)>())
        .prop_map(|e| e.map(|(code, signal, core)| Exit { code, signal, core }));
    let failures = vec((any_name(), any_name(), any::<u64>()), 0..3).prop_map(|all| {
        let one = |(syscall, errno, count)| ErrnoCount { syscall, errno, count };
        all.into_iter().map(one).collect()
    });
    let looks = (any::<Option<(u64, u64)>>(), any::<Option<(u64, u64)>>(), vec("\\PC{0,9}", 0..3));
    let who = (any_name(), any_name(), option::of(any_name()), any::<(u32, u8, bool)>());
    (any_time(), who, kind, exit, failures, looks).prop_map(
        |(at, (entity, comm, sender, (pid, signal, main)), kind, exit, last_failures, looks)| {
            let (fds, memory, last_words) = looks;
            Signal::Lifecycle(Box::new(Lifecycle {
                at,
                entity,
                kind,
                pid,
                comm,
                main,
                exit,
                signal,
                sender,
                last_failures,
                fds,
                memory,
                last_words,
            }))
        },
    )
}

/// The kinds that are names, times and counts only.
fn any_event() -> impl Strategy<Value = Signal> {
    (0..6, any_time(), any::<[u64; 3]>(), vec(any_name(), 4)).prop_map(|(which, at, n, names)| {
        let [interval, count, of] = n;
        let [entity, a, b, c] = [0, 1, 2, 3].map(|i: usize| names[i].clone());
        match which {
            0 => Signal::SyscallFailure(Box::new(SyscallFailure {
                at,
                interval,
                entity,
                syscall: a,
                errno: b,
                target: c,
                count,
            })),
            1 => Signal::LogPattern(Box::new(LogPattern {
                at,
                interval,
                entity,
                template: a,
                severity: LogSeverity::Fatal,
                count,
                new: count % 2 == 0,
                example: b,
            })),
            2 => Signal::Gibberish(Box::new(Gibberish {
                at,
                interval,
                entity,
                reason: a,
                lines: count,
                of,
                sample: b,
            })),
            3 => {
                let (kind, undo) = (ChangeKind::Sysctl, a.clone());
                Signal::Change(Box::new(Change { at, entity, kind, what: a, by: b, undo }))
            }
            4 => Signal::ClusterEvent(Box::new(ClusterEvent {
                at,
                entity,
                severity: a,
                reason: b,
                message: c,
            })),
            _ => Signal::Loss(Loss { at, entity, collector: a, reason: b, count }),
        }
    })
}

fn any_entity() -> impl Strategy<Value = Signal> {
    (any_name(), vec(any_name(), 11), btree_map(any_name(), any_name(), 0..3)).prop_map(
        |(id, names, labels)| {
            let name = |i: usize| names[i].clone();
            Signal::Entity(Box::new(Entity {
                id,
                kind: EntityKind::Unit,
                service: name(0),
                namespace: name(1),
                workload_kind: name(2),
                workload: name(3),
                pod: name(4),
                pod_uid: name(5),
                container: name(6),
                container_id: name(7),
                node: name(8),
                cgroup_path: name(9),
                image: name(10),
                labels,
            }))
        },
    )
}

/// Any signal there can be, with a time near [`START`].
pub fn any_signal() -> impl Strategy<Value = Signal> {
    prop_oneof![
        any_entity(),
        any_flow(),
        any_requests(),
        any_exemplar(),
        any_metric(),
        any_lifecycle(),
        any_event(),
    ]
}
