//! HTTP counters and samples as signals.

use std::collections::HashMap;

use taproot_model::trace::{Context, Origin};
use taproot_model::{Edge, Exemplar, Name, Protocol, Requests, Role, Signal, Timestamp, Transport};
use taproot_probes::flow::EdgeKey;
use taproot_probes::http::{self, Delta, Key, Sample};

use crate::clock::Clock;
use crate::flows::Remembered;
use crate::names::{Names, Seen};
use crate::stages::{self, Spent};

/// Distinct route hashes remembered; beyond, the hash itself is the name.
const ROUTES: usize = 16_384;

/// Names of route hashes, learned from samples.
#[derive(Default)]
pub(crate) struct Routes {
    names: HashMap<u64, Name>,
}

impl Routes {
    fn learn(&mut self, sample: &Sample) {
        if sample.path.is_empty() || self.names.len() >= ROUTES {
            return;
        }
        self.names.entry(sample.key.route).or_insert_with(|| {
            taproot_protocols::route::template(&http::route::normalise(&sample.path)).into()
        });
    }

    fn name(&self, hash: u64) -> Name {
        match self.names.get(&hash) {
            Some(name) => name.clone(),
            None if hash == 0 => "{other}".into(),
            None => format!("{{route {hash:x}}}").into(),
        }
    }
}

/// 5xx at either end, 4xx too at the client (as OpenTelemetry has it), and no answer at all.
pub(crate) fn is_error(status: u16, role: Role) -> bool {
    status == 0 || status >= 500 || (status >= 400 && role == Role::Client)
}

fn role(key: &Key) -> Role {
    match key.role {
        http::Role::Client => Role::Client,
        http::Role::Server => Role::Server,
    }
}

fn seen(key: &Key) -> Seen {
    Seen {
        netns: key.netns,
        cgroup: key.cgroup,
        local: key.local,
        remote: key.remote,
        port: key.port,
        role: role(key),
    }
}

/// The key that the flow collector gives to the connections of a key of ours.
fn flow(key: &Key) -> EdgeKey {
    EdgeKey {
        netns: key.netns,
        local: key.local,
        remote: key.remote,
        port: key.port,
        transport: Transport::Tcp,
        role: role(key),
    }
}

/// Turns one poll of the HTTP collector into signals. Poll the flows first:
/// they know who was at the ends when a connection was made.
pub(crate) fn signals(
    batch: http::Batch,
    routes: &mut Routes,
    flows: &Remembered,
    names: &mut Names,
    clock: Clock,
    interval: u64,
    out: &mut Vec<Signal>,
) {
    let at = clock.now();
    batch.samples.iter().for_each(|s| routes.learn(s));
    let mut spent = Spent::default();
    for delta in batch.counts {
        let edge = flows.get(&(flow(&delta.key), delta.key.cgroup)).cloned();
        // Named as its flow is, from when the connection was made; else as of now.
        let edge = edge.or_else(|| names.edge(&seen(&delta.key), at, out));
        let Some(edge) = edge else { continue };
        let role = role(&delta.key);
        let own = if role == Role::Server { &edge.server } else { &edge.client };
        spent.add(&own.entity, role, &delta.stages);
        if delta.count > 0 {
            out.push(requests(delta, edge, routes, at, interval));
        }
    }
    spent.signals(at, interval, out);
    for sample in batch.samples {
        if let Some(signal) = exemplar(&sample, routes, names, clock, out) {
            out.push(signal);
        }
    }
}

fn requests(delta: Delta, edge: Edge, routes: &Routes, at: Timestamp, interval: u64) -> Signal {
    let key = delta.key;
    Signal::Requests(Box::new(Requests {
        at,
        interval,
        edge,
        protocol: Protocol::Http,
        method: key.method.name().into(),
        route: routes.name(key.route),
        status: key.status,
        code: "".into(),
        error: is_error(key.status, role(&key)),
        count: delta.count,
        request_bytes: delta.request_bytes,
        response_bytes: delta.response_bytes,
        latency: delta.latency,
    }))
}

fn exemplar(
    sample: &Sample,
    routes: &Routes,
    names: &mut Names,
    clock: Clock,
    out: &mut Vec<Signal>,
) -> Option<Signal> {
    let at = clock.at(sample.start);
    let key = sample.key;
    let edge = names.edge(&seen(&key), at, out)?;
    Some(Signal::Exemplar(Box::new(Exemplar {
        at,
        edge,
        protocol: Protocol::Http,
        method: key.method.name().into(),
        path: sample.path.as_str().into(),
        route: routes.name(key.route),
        status: key.status,
        code: "".into(),
        error: is_error(key.status, role(&key)),
        first_byte: sample.first_byte,
        duration: sample.duration,
        stages: sample.stages.and_then(|stages| stages::of_request(role(&key), &stages)),
        origin: Some(Origin {
            request: sample.request,
            cause: sample.cause,
            context: Context::parse(&sample.traceparent),
        }),
        request_bytes: u64::from(sample.request_bytes),
        response_bytes: u64::from(sample.response_bytes),
    })))
}
