//! Where the time of requests went, as signals of the instance that was looked at.

use std::collections::BTreeMap;

use taproot_model::{
    EntityId, Metric, MetricKind, Name, Role, SendBuffer, Signal, Timestamp, metric,
};
use taproot_probes::http::{Outside, Send, Stage, Stages};

/// Sums of one interval, by instance and the end that it was.
#[derive(Default)]
pub(crate) struct Spent {
    sums: BTreeMap<(EntityId, bool), Stages>,
}

impl Spent {
    /// Adds what requests took that `entity` served or made.
    pub(crate) fn add(&mut self, entity: &EntityId, role: Role, stages: &Stages) {
        if stages.count > 0 || stages.qdisc.seen > 0 {
            let serves = role == Role::Server;
            *self.sums.entry((entity.clone(), serves)).or_default() += *stages;
        }
    }

    /// One metric a stage, and how many requests they sum up.
    pub(crate) fn signals(self, at: Timestamp, interval: u64, out: &mut Vec<Signal>) {
        for ((entity, serves), stages) in self.sums {
            let mut delta = |name: &str, attribute: &str, value: f64| {
                out.push(Signal::Metric(Metric {
                    at,
                    interval,
                    entity: entity.clone(),
                    name: name.into(),
                    attribute: Name::from(attribute),
                    kind: MetricKind::Delta,
                    value,
                }));
            };
            let role = if serves { "role=server" } else { "role=client" };
            for (stage, Outside { total, seen }) in outside(&stages) {
                if seen > 0 {
                    delta(metric::REQUEST_STAGE_SEEN, stage, seen as f64);
                    delta(metric::REQUEST_STAGE_TIME, stage, total as f64 / 1e9);
                }
            }
            if stages.count == 0 {
                continue;
            }
            delta(metric::REQUEST_STAGED, role, stages.count as f64);
            let parts = if serves { at_server(&stages) } else { at_client(&stages) };
            for (stage, ns) in parts {
                delta(metric::REQUEST_STAGE_TIME, stage, ns as f64 / 1e9);
            }
        }
    }
}

/// The stages of one request; nothing where it is not known whose they are.
pub(crate) fn of_request(role: Role, stages: &Stages) -> Option<taproot_model::Stages> {
    match role {
        Role::Client => Some(taproot_model::Stages::Client {
            peer: stages.service.total,
            transfer: stages.send.total,
        }),
        Role::Server => Some(taproot_model::Stages::Server {
            receive: part(&stages.receive),
            service: part(&stages.service),
            send: stages.send.total,
            buffer: Some(SendBuffer {
                buffered: stages.send.buffered,
                unknown: stages.send.unknown,
            }),
            device: stages.device.of_one(),
            qdisc: stages.qdisc.of_one(),
        }),
        Role::Unknown => None,
    }
}

fn part(stage: &Stage) -> taproot_model::Stage {
    let &Stage { total, queued, throttled, unknown } = stage;
    taproot_model::Stage { total, queued, throttled, unknown }
}

fn at_client(stages: &Stages) -> Vec<(&'static str, u64)> {
    vec![("stage=peer", stages.service.total), ("stage=transfer", stages.send.total)]
}

/// Before the latency of a request, and after it; nothing at a client.
fn outside(stages: &Stages) -> [(&'static str, Outside); 2] {
    [("stage=device", stages.device), ("stage=qdisc", stages.qdisc)]
}

fn at_server(stages: &Stages) -> Vec<(&'static str, u64)> {
    let receive = [
        "stage=receive",
        "stage=receive.queued",
        "stage=receive.throttled",
        "stage=receive.unknown",
    ];
    let service = [
        "stage=service",
        "stage=service.queued",
        "stage=service.throttled",
        "stage=service.unknown",
    ];
    let mut parts = of(receive, &stages.receive);
    parts.extend(of(service, &stages.service));
    parts.extend(of_send(&stages.send));
    parts
}

/// As [`of`]. To have been sent at once is known, and so a zero.
fn of_send(send: &Send) -> Vec<(&'static str, u64)> {
    let known = send.total > send.unknown || send.total == 0;
    let all = [
        ("stage=send", send.rest(), known),
        ("stage=send.buffered", send.buffered, known),
        ("stage=send.unknown", send.unknown, send.unknown > 0),
    ];
    seen(&all)
}

fn seen(parts: &[(&'static str, u64, bool)]) -> Vec<(&'static str, u64)> {
    parts.iter().filter(|(.., seen)| *seen).map(|(name, ns, _)| (*name, *ns)).collect()
}

/// The parts of a stage, which add up to it. What was not seen is left out: a wait that
/// is not known is no zero.
fn of(names: [&'static str; 4], stage: &Stage) -> Vec<(&'static str, u64)> {
    let known = stage.total > stage.unknown;
    let [rest, queued, throttled, unknown] = names;
    let all = [
        (rest, stage.rest(), known),
        (queued, stage.queued, known),
        (throttled, stage.throttled, known),
        (unknown, stage.unknown, stage.unknown > 0),
    ];
    seen(&all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(role: Role, stages: Stages) -> BTreeMap<String, f64> {
        let mut spent = Spent::default();
        spent.add(&"container:a".into(), role, &stages);
        spent.add(&"container:a".into(), role, &stages);
        let mut out = Vec::new();
        spent.signals(Timestamp::default(), 1, &mut out);
        let parts = out.iter().filter_map(|signal| match signal {
            Signal::Metric(m) => Some((m.attribute.to_string(), m.value)),
            _ => None,
        });
        parts.collect()
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn the_parts_of_a_request_add_up_to_it() {
        let receive = Stage { total: 40, queued: 9, throttled: 30, unknown: 0 };
        let service = Stage { total: 8, queued: 0, throttled: 1, unknown: 2 };
        let send = Send { total: 4, buffered: 3, unknown: 0 };
        let stages = Stages { count: 1, receive, service, send, ..Stages::default() };
        let told = told(Role::Server, stages);
        assert!(near(told["role=server"], 2.0), "{told:?}");
        let parts = [
            ("receive", 2e-9),
            ("receive.queued", 18e-9),
            ("receive.throttled", 60e-9),
            ("service", 10e-9),
            ("service.unknown", 4e-9),
            ("send", 2e-9),
            ("send.buffered", 6e-9),
        ];
        for (part, seconds) in parts {
            assert!(near(told[&format!("stage={part}")], seconds), "{part}: {told:?}");
        }
        let all: f64 = told.iter().filter(|(k, _)| k.starts_with("stage=")).map(|(_, v)| v).sum();
        assert!(near(all, 104e-9), "{told:?}");
    }

    #[test]
    fn what_nobody_saw_is_no_zero() {
        let unseen = Stage { total: 40, unknown: 40, ..Stage::default() };
        let send = Send { total: 3, buffered: 0, unknown: 3 };
        let stages =
            Stages { count: 1, receive: unseen, service: unseen, send, ..Stages::default() };
        let told = told(Role::Server, stages);
        assert!(!told.contains_key("stage=receive.throttled"), "{told:?}");
        assert!(!told.contains_key("stage=service"), "{told:?}");
        assert!(told.contains_key("stage=service.unknown"), "{told:?}");
        assert!(!told.contains_key("stage=send.buffered"), "{told:?}");
        assert!(near(told["stage=send.unknown"], 6e-9), "{told:?}");
        assert!(!told.contains_key("stage=qdisc"), "{told:?}");
        assert!(!told.contains_key("stage=device"), "{told:?}");
    }

    /// How long an answer waited for its device is told after the request itself.
    #[test]
    fn what_is_outside_has_a_count_of_its_own() {
        let mut spent = Spent::default();
        let qdisc = Outside { total: 60, seen: 3 };
        spent.add(&"container:a".into(), Role::Server, &Stages { qdisc, ..Stages::default() });
        let mut out = Vec::new();
        spent.signals(Timestamp::default(), 1, &mut out);
        let told: Vec<_> = out
            .iter()
            .filter_map(|signal| match signal {
                Signal::Metric(m) => Some((&*m.name, &*m.attribute, m.value)),
                _ => None,
            })
            .collect();
        assert_eq!(
            told,
            [
                (metric::REQUEST_STAGE_SEEN, "stage=qdisc", 3.0),
                (metric::REQUEST_STAGE_TIME, "stage=qdisc", 60e-9),
            ]
        );
    }

    #[test]
    fn a_client_knows_its_peer_and_the_way_back() {
        let service = Stage { total: 5, ..Stage::default() };
        let send = Send { total: 2, ..Send::default() };
        let told = told(Role::Client, Stages { count: 1, service, send, ..Stages::default() });
        assert_eq!(
            told.keys().collect::<Vec<_>>(),
            ["role=client", "stage=peer", "stage=transfer"]
        );
    }
}
