//! What was counted, named, as signals.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use taproot_model::trace::{Context, Origin};
use taproot_model::{
    Edge, Exemplar, Loss, Metric, MetricKind, Name, Protocol, Requests, Role, Signal, Timestamp,
    Transport, metric,
};
use taproot_probes::flow::EdgeKey;
use taproot_protocols::exchange::{Outcome, Wire};

use super::table::Harvest;
use super::tally::{Covered, Key, Page, Sample, Tally, UNSEEN};
use crate::clock::Clock;
use crate::flows::Remembered;
use crate::names::{Names, Seen};
use crate::requests::is_error;

/// DNS response codes by number (RFC 1035, 2136), as the parser names them.
const DNS_CODES: [&str; 11] = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET",
    "NXRRSET", "NOTAUTH", "NOTZONE",
];

/// What naming needs.
pub(crate) struct Place<'a> {
    /// Who was at the ends of connections when they were made. Poll the flows first.
    pub(crate) flows: &'a Remembered,
    pub(crate) names: &'a mut Names,
    pub(crate) clock: Clock,
    /// Length of the interval, nanoseconds.
    pub(crate) interval: u64,
}

/// Turns what was counted in one interval into signals.
pub(crate) fn signals(harvest: Harvest, place: &mut Place<'_>, out: &mut Vec<Signal>) {
    let at = place.clock.now();
    let spaces = namespaces(place.flows);
    for page in harvest.pages {
        let Some(edge) = edge(page.end, &spaces, place, at, out) else { continue };
        covered(&page, &edge, at, place.interval, out);
        for (key, tally) in page.calls {
            out.push(requests(edge.clone(), &key, tally, page.end.role, at, place.interval));
        }
    }
    for sample in harvest.samples {
        let began = place.clock.at(sample.start);
        if let Some(edge) = edge(sample.end, &spaces, place, began, out) {
            out.push(exemplar(&sample, edge, began));
        }
    }
    let node = place.names.resolver.node();
    out.extend(harvest.losses.into_iter().map(|(reason, count)| {
        let (entity, collector) = (node.id.clone(), "payload".into());
        Signal::Loss(Loss { at, entity, collector, reason: reason.into(), count })
    }));
}

/// The network namespace of each control group that has a connection: UDP sockets do
/// not tell theirs.
fn namespaces(flows: &Remembered) -> HashMap<u64, u64> {
    flows.keys().map(|(key, cgroup)| (*cgroup, key.netns)).collect()
}

fn edge(
    end: Seen,
    spaces: &HashMap<u64, u64>,
    place: &mut Place<'_>,
    at: Timestamp,
    out: &mut Vec<Signal>,
) -> Option<Edge> {
    let Seen { cgroup, local, remote, port, role, .. } = end;
    let (netns, transport) = match end.netns {
        0 => (spaces.get(&cgroup).copied().unwrap_or(0), Transport::Udp),
        known => (known, Transport::Tcp),
    };
    let key = EdgeKey { netns, local, remote, port, transport, role };
    // Named as its flow is, from when the connection was made; else as of then.
    let known = place.flows.get(&(key, cgroup)).cloned();
    known.or_else(|| place.names.edge(&Seen { netns, ..end }, at, out))
}

/// What the parsers made of the bytes of one end.
fn covered(page: &Page, edge: &Edge, at: Timestamp, interval: u64, out: &mut Vec<Signal>) {
    let own = if page.end.role == Role::Client { &edge.client } else { &edge.server };
    let Covered { parsed, unparsed, unseen, encrypted } = page.covered;
    let states = [("parsed", parsed), ("unknown", unparsed), ("encrypted", encrypted)];
    let states = states.into_iter().chain(UNSEEN.into_iter().zip(unseen));
    for (state, bytes) in states.filter(|(_, bytes)| *bytes > 0) {
        out.push(Signal::Metric(Metric {
            at,
            interval,
            entity: own.entity.clone(),
            name: metric::CAPTURE_BYTES.into(),
            attribute: format!("state={state}").into(),
            kind: MetricKind::Delta,
            value: bytes as f64,
        }));
    }
}

fn protocol(wire: Wire) -> Protocol {
    match wire {
        Wire::Dns => Protocol::Dns,
        Wire::Redis => Protocol::Redis,
        Wire::Postgres => Protocol::Postgres,
        Wire::Mysql => Protocol::Mysql,
        Wire::Http1 => Protocol::Http,
        Wire::Http2 => Protocol::Http2,
        Wire::Grpc => Protocol::Grpc,
        Wire::Memcached => Protocol::Memcached,
        Wire::Kafka => Protocol::Kafka,
        Wire::Mongo => Protocol::Mongo,
        Wire::Amqp => Protocol::Amqp,
        Wire::Mqtt => Protocol::Mqtt,
        Wire::Nats => Protocol::Nats,
        Wire::Cql => Protocol::Cql,
        Wire::Dubbo => Protocol::Dubbo,
        Wire::WebSocket => Protocol::WebSocket,
        Wire::Tls => Protocol::Tls,
        Wire::Unknown => Protocol::Unknown,
    }
}

/// Number, word and verdict of an ending, as [`Requests`] has them.
fn status(wire: Wire, outcome: &Outcome, role: Role) -> (u16, Name, bool) {
    match outcome {
        Outcome::Answered { error, status: Some(text) } => {
            if let Ok(number) = text.parse() {
                let http = matches!(wire, Wire::Http1 | Wire::Http2);
                let error = if http { is_error(number, role) } else { *error };
                return (number, Name::default(), error);
            }
            let number = match wire {
                Wire::Dns => DNS_CODES.iter().position(|name| name == text).unwrap_or(0),
                _ => 0,
            };
            (number as u16, Name::from(&**text), *error)
        }
        Outcome::Answered { error: true, status: None } => (0, "_OTHER".into(), true),
        Outcome::Answered { error: false, status: None } | Outcome::OneWay => {
            (0, Name::default(), false)
        }
        Outcome::Unanswered => (0, Name::default(), true),
        Outcome::Unseen => (0, "unseen".into(), false),
    }
}

fn name(text: Option<&Arc<str>>) -> Name {
    text.map_or_else(Name::default, |text| Name::from(&**text))
}

fn requests(
    edge: Edge,
    key: &Key,
    tally: Tally,
    role: Role,
    at: Timestamp,
    interval: u64,
) -> Signal {
    let (status, code, error) = status(key.wire, &key.outcome, role);
    Signal::Requests(Box::new(Requests {
        at,
        interval,
        edge,
        protocol: protocol(key.wire),
        method: Name::from(&*key.operation),
        route: name(key.target.as_ref()),
        status,
        code,
        error,
        count: tally.count,
        request_bytes: tally.request_bytes,
        response_bytes: tally.response_bytes,
        latency: tally.latency,
    }))
}

fn exemplar(sample: &Sample, edge: Edge, at: Timestamp) -> Signal {
    let key = &sample.key;
    let (status, code, error) = status(key.wire, &key.outcome, sample.end.role);
    Signal::Exemplar(Box::new(Exemplar {
        at,
        edge,
        protocol: protocol(key.wire),
        method: Name::from(&*key.operation),
        path: name(sample.statement.as_ref().or(key.target.as_ref())),
        route: name(key.target.as_ref()),
        status,
        code,
        error,
        first_byte: sample.first_byte,
        duration: sample.duration,
        stages: None,
        origin: origin(sample),
        request_bytes: sample.request_bytes,
        response_bytes: sample.response_bytes,
    }))
}

/// What a header says of a call's cause. Nothing tells the call at its other end: many
/// share a connection, and parsers do not say where each began.
fn origin(sample: &Sample) -> Option<Origin> {
    let context = Context::parse(sample.traceparent.as_ref()?)?;
    let mut request = DefaultHasher::new();
    let Seen { local, remote, port, .. } = sample.end;
    (local, remote, port, sample.start, context.span).hash(&mut request);
    Some(Origin { request: request.finish(), cause: None, context: Some(context) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use taproot_protocols::exchange::Text;

    fn answered(error: bool, status: Option<&'static str>) -> Outcome {
        Outcome::Answered { error, status: status.map(Text::Borrowed) }
    }

    #[test]
    fn a_status_is_a_number_where_it_is_one_and_a_word_where_not() {
        let found = |wire, outcome: &Outcome| {
            let (number, word, error) = status(wire, outcome, Role::Server);
            (number, word.to_string(), error)
        };
        let is = |number, word: &str, error| (number, word.to_owned(), error);
        assert_eq!(found(Wire::Mysql, &answered(true, Some("1146"))), is(1146, "", true));
        assert_eq!(found(Wire::Postgres, &answered(true, Some("42P01"))), is(0, "42P01", true));
        assert_eq!(found(Wire::Dns, &answered(true, Some("NXDOMAIN"))), is(3, "NXDOMAIN", true));
        assert_eq!(found(Wire::Redis, &answered(true, None)), is(0, "_OTHER", true));
        assert_eq!(found(Wire::Redis, &answered(false, None)), is(0, "", false));
        assert_eq!(found(Wire::Redis, &Outcome::Unanswered), is(0, "", true));
        assert_eq!(found(Wire::Redis, &Outcome::Unseen), is(0, "unseen", false));
    }

    #[test]
    fn a_refusal_of_http_is_the_clients_error_only() {
        let refusal = answered(true, Some("404"));
        assert!(!status(Wire::Http2, &refusal, Role::Server).2);
        assert!(status(Wire::Http2, &refusal, Role::Client).2);
    }
}
