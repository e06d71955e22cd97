//! A synthetic shop: load → gateway → product → (inventory, cache), with noise,
//! as a stream of signals like the one collectors emit. Faults are written over it.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use taproot_diagnosis::{Question, Report, diagnose};
use taproot_model::*;
use taproot_world::{Config, World};

pub(crate) const BEGIN: u64 = 1_800_000_000;
const SECOND: u64 = 1_000_000_000;

/// Marsaglia 2003, xorshift64: tests must repeat exactly.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Poisson (Knuth's product of uniforms; fine for the rates used here).
    pub(crate) fn poisson(&mut self, mean: f64) -> u64 {
        let limit = (-mean).exp();
        let (mut n, mut product) = (0, self.unit());
        while product > limit {
            n += 1;
            product *= self.unit();
        }
        n
    }

    /// Exponential with a mean.
    pub(crate) fn wait(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

pub(crate) const SERVICES: [&str; 6] =
    ["load", "gateway", "product", "inventory", "cache", "burner"];

pub(crate) fn id(service: &str) -> EntityId {
    format!("container:{service}").into()
}

pub(crate) fn at(second: u64) -> Timestamp {
    Timestamp((BEGIN + second) * SECOND)
}

pub(crate) fn end(service: &str, port: u16) -> Endpoint {
    let host = SERVICES.iter().position(|s| *s == service).unwrap_or(9) as u8 + 2;
    Endpoint {
        entity: id(service),
        service: service.into(),
        instance: service.into(),
        addr: SocketAddr::from(([10, 0, 0, host], port)),
    }
}

pub(crate) fn edge(client: &str, server: &str, role: Role) -> Edge {
    let port = match server {
        "cache" => 6379,
        "dns" => 53,
        _ => 8080,
    };
    Edge { client: end(client, 0), server: end(server, port), via: None, role }
}

/// One second of one edge, as a fault may change it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) client: &'static str,
    pub(crate) server: &'static str,
    /// Mean seconds the server works on a request by itself.
    pub(crate) work: f64,
    /// Seconds added on the way.
    pub(crate) link: f64,
    /// Share of requests hit by a lost packet (200 ms more).
    pub(crate) lost: f64,
    /// Share of requests that fail with a 500.
    pub(crate) failing: f64,
    /// Share of requests that get no answer.
    pub(crate) silent: f64,
    /// Round-trip time.
    pub(crate) rtt: f64,
    pub(crate) flow: Flow,
}

/// One second of the whole shop.
pub(crate) struct Second {
    pub(crate) index: u64,
    pub(crate) rate: f64,
    pub(crate) calls: Vec<Call>,
    pub(crate) metrics: BTreeMap<(&'static str, &'static str, String), (MetricKind, f64)>,
    pub(crate) signals: Vec<Signal>,
}

impl Second {
    pub(crate) fn call(&mut self, client: &str, server: &str) -> &mut Call {
        self.calls
            .iter_mut()
            .find(|c| c.client == client && c.server == server)
            .expect("the shop has this edge")
    }

    pub(crate) fn gauge(&mut self, service: &'static str, name: &'static str, value: f64) {
        self.metrics.insert((service, name, String::new()), (MetricKind::Gauge, value));
    }

    pub(crate) fn delta(&mut self, service: &'static str, name: &'static str, value: f64) {
        self.metrics.insert((service, name, String::new()), (MetricKind::Delta, value));
    }

    pub(crate) fn delta_of(
        &mut self,
        service: &'static str,
        name: &'static str,
        attribute: impl Into<String>,
        value: f64,
    ) {
        self.metrics.insert((service, name, attribute.into()), (MetricKind::Delta, value));
    }

    pub(crate) fn now(&self) -> Timestamp {
        at(self.index)
    }

    pub(crate) fn log(
        &mut self,
        service: &str,
        severity: LogSeverity,
        template: &str,
        count: u64,
        new: bool,
    ) {
        self.signals.push(Signal::LogPattern(Box::new(LogPattern {
            at: self.now(),
            interval: SECOND,
            entity: id(service),
            template: template.into(),
            severity,
            count,
            new,
            example: template.replace("<*>", "42").into(),
        })));
    }

    pub(crate) fn errno(&mut self, service: &str, syscall: &str, errno: &str, count: u64) {
        self.signals.push(Signal::SyscallFailure(Box::new(SyscallFailure {
            at: self.now(),
            interval: SECOND,
            entity: id(service),
            syscall: syscall.into(),
            errno: errno.into(),
            target: Name::default(),
            count,
        })));
    }

    pub(crate) fn exit(
        &mut self,
        service: &str,
        kind: LifecycleKind,
        exit: Option<Exit>,
    ) -> &mut Lifecycle {
        self.signals.push(Signal::Lifecycle(Box::new(Lifecycle {
            at: self.now(),
            entity: id(service),
            kind,
            pid: 4242,
            comm: service.into(),
            main: true,
            exit,
            signal: exit.map_or(0, |e| e.signal),
            sender: None,
            last_failures: Vec::new(),
            fds: None,
            memory: None,
            last_words: Vec::new(),
        })));
        match self.signals.last_mut() {
            Some(Signal::Lifecycle(l)) => l,
            _ => unreachable!("just pushed"),
        }
    }
}

fn call(second: u64, client: &'static str, server: &'static str, work: f64) -> Call {
    let flow = Flow::empty(at(second), SECOND, edge(client, server, Role::Client), Transport::Tcp);
    Call {
        client,
        server,
        work,
        link: 0.000_1,
        lost: 0.0,
        failing: 0.0,
        silent: 0.0,
        rtt: 0.000_2,
        flow,
    }
}

fn usual(second: u64, rate: f64, noise: &mut Noise) -> Second {
    let calls = vec![
        call(second, "load", "gateway", 0.001),
        call(second, "gateway", "product", 0.002),
        call(second, "product", "inventory", 0.001),
        call(second, "product", "cache", 0.000_2),
    ];
    let mut out =
        Second { index: second, rate, calls, metrics: BTreeMap::new(), signals: Vec::new() };
    for service in ["gateway", "product", "inventory", "cache"] {
        out.delta(service, metric::CPU_TIME, 0.08 + 0.04 * noise.unit());
        out.delta(service, metric::CPU_RUNQUEUE_TIME, 0.005 + 0.01 * noise.unit());
        out.delta_of(
            service,
            metric::CPU_PREEMPTED_BY,
            "culprit=container:load",
            0.003 * noise.unit(),
        );
        out.gauge(service, metric::CPU_LIMIT, 0.5);
        out.delta(service, metric::CPU_PERIODS, 10.0);
        let stopped = if noise.unit() < 0.05 { 1.0 } else { 0.0 };
        out.delta_of(service, metric::CPU_THROTTLED_PERIODS, "level=container", stopped);
        out.delta_of(service, metric::CPU_THROTTLED_TIME, "level=container", stopped * 0.01);
        out.gauge(service, metric::MEMORY_USAGE, 3e7 + 1e6 * noise.unit());
        out.gauge(service, metric::MEMORY_LIMIT, 6.4e7);
        out.gauge(service, metric::FD_COUNT, (20.0 + 6.0 * noise.unit()).round());
        out.gauge(service, metric::FD_LIMIT, 256.0);
        out.gauge(service, metric::CONNTRACK_COUNT, 100.0);
        out.gauge(service, metric::CONNTRACK_LIMIT, 65_536.0);
        out.delta(service, metric::LISTEN_OVERFLOWS, 0.0);
        if noise.unit() < 0.2 {
            out.log(service, LogSeverity::Info, "served <*> requests", 10, false);
        }
    }
    out.delta("burner", metric::CPU_TIME, 0.01);
    out
}

/// Requests of one second of one edge, both ends; returns each request's time at the client.
fn requests(
    call: &Call,
    children: &[Vec<f64>],
    n: u64,
    noise: &mut Noise,
    out: &mut Vec<Signal>,
) -> Vec<f64> {
    let mut classes = BTreeMap::<u16, (u64, Histogram, Histogram)>::new();
    let mut times = Vec::new();
    for i in 0..n as usize {
        let below: f64 = children.iter().filter_map(|c| c.get(i)).sum();
        let odd = if noise.unit() < 0.01 { 0.03 } else { 0.0 };
        let work = call.work * 0.5 + noise.wait(call.work * 0.5) + odd + below;
        let lost = if noise.unit() < call.lost { 0.2 } else { 0.0 };
        let waited = work + call.link + call.rtt + lost;
        let status = match noise.unit() {
            u if u < call.silent => 0,
            u if u < call.silent + call.failing => 500,
            _ => 200,
        };
        let slot = classes.entry(status).or_default();
        slot.0 += 1;
        slot.1.record((work * 1e9) as u64);
        slot.2.record((waited * 1e9) as u64);
        times.push(waited);
    }
    for (status, (count, worked, waited)) in classes {
        for (role, latency) in [(Role::Server, worked), (Role::Client, waited)] {
            out.push(Signal::Requests(Box::new(Requests {
                at: call.flow.at,
                interval: SECOND,
                edge: edge(call.client, call.server, role),
                protocol: Protocol::Http,
                method: "GET".into(),
                route: "/".into(),
                status,
                code: "".into(),
                error: status == 0 || status >= 500,
                count,
                request_bytes: 100 * count,
                response_bytes: 500 * count,
                latency,
            })));
        }
    }
    times
}

fn flows(call: &Call, n: u64, noise: &mut Noise, out: &mut Vec<Signal>) {
    let mut client = call.flow.clone();
    client.tx_bytes += 100 * n;
    client.rx_bytes += 500 * n;
    client.tx_packets += 2 * n;
    client.rx_packets += 2 * n;
    client.open = 4;
    for _ in 0..n.min(20) {
        let rtt = call.rtt * (0.8 + 0.4 * noise.unit());
        client.rtt.record((rtt * 1e9) as u64);
    }
    let mut server = Flow::empty(
        client.at,
        SECOND,
        edge(call.client, call.server, Role::Server),
        Transport::Tcp,
    );
    server.tx_bytes = client.rx_bytes;
    server.rx_bytes = client.tx_bytes;
    server.tx_packets = client.rx_packets;
    server.rx_packets = client.tx_packets;
    server.listen_overflows = client.listen_overflows;
    server.rtt = client.rtt.clone();
    client.listen_overflows = 0;
    out.push(Signal::Flow(Box::new(client)));
    out.push(Signal::Flow(Box::new(server)));
}

fn tell(second: &mut Second, noise: &mut Noise) -> Vec<Signal> {
    let mut out = std::mem::take(&mut second.signals);
    let n = noise.poisson(second.rate);
    let mut times = BTreeMap::<&str, Vec<f64>>::new();
    for call in second.calls.iter().rev() {
        let children: Vec<Vec<f64>> = match call.server {
            "gateway" => vec![times["product"].clone()],
            "product" => vec![times["inventory"].clone(), times["cache"].clone()],
            _ => Vec::new(),
        };
        let took = requests(call, &children, n, noise, &mut out);
        times.insert(call.server, took);
        flows(call, n, noise, &mut out);
    }
    for ((service, name, attribute), (kind, value)) in std::mem::take(&mut second.metrics) {
        out.push(Signal::Metric(Metric {
            at: second.now(),
            interval: if kind == MetricKind::Delta { SECOND } else { 0 },
            entity: id(service),
            name: name.into(),
            attribute: attribute.into(),
            kind,
            value,
        }));
    }
    out
}

/// Who is there.
pub(crate) fn entities() -> Vec<Signal> {
    let one = |service: &&str| {
        Signal::Entity(Box::new(Entity {
            id: id(service),
            kind: EntityKind::Container,
            service: (*service).into(),
            namespace: "shop".into(),
            pod: (*service).into(),
            node: "node-1".into(),
            cgroup_path: format!("/kubepods/{service}").into(),
            ..Entity::default()
        }))
    };
    let node = Signal::Entity(Box::new(Entity {
        id: "node:node-1".into(),
        kind: EntityKind::Node,
        service: "node-1".into(),
        node: "node-1".into(),
        ..Entity::default()
    }));
    SERVICES.iter().map(one).chain([node]).collect()
}

/// Runs the shop for `seconds`; `fault` changes each second from `begin` on.
pub(crate) fn world(
    seed: u64,
    seconds: u64,
    begin: u64,
    fault: impl Fn(&mut Second, u64, &mut Noise),
) -> World {
    world_of(seed, seconds, begin, fault, |_| true)
}

/// The same as somebody sees it who gets only some of the signals.
pub(crate) fn world_of(
    seed: u64,
    seconds: u64,
    begin: u64,
    fault: impl Fn(&mut Second, u64, &mut Noise),
    seen: impl Fn(&Signal) -> bool,
) -> World {
    let mut noise = Noise::new(seed);
    let mut world = World::new(Config::default());
    world.add_all(&entities());
    for s in 0..seconds {
        let mut second = usual(s, 40.0, &mut noise);
        if s >= begin {
            fault(&mut second, s - begin, &mut noise);
        }
        let mut signals = tell(&mut second, &mut noise);
        signals.retain(&seen);
        world.add_all(&signals);
    }
    world
}

/// What the engine says when asked about a service.
pub(crate) fn ask(world: &World, service: Option<&str>) -> Report {
    let question = Question { service: service.map(Name::from), span: world.span() };
    diagnose(world, &question).expect("the shop has this service")
}
