//! Where the time of requests went, as signals of the instance that was looked at.

use std::collections::BTreeMap;

use taproot_model::{EntityId, Metric, MetricKind, Name, Role, Signal, Timestamp, metric};
use taproot_probes::http::{Stage, Stages};

/// Sums of one interval, by instance and the end that it was.
#[derive(Default)]
pub(crate) struct Spent {
    sums: BTreeMap<(EntityId, bool), Stages>,
}

impl Spent {
    /// Adds what requests took that `entity` served or made.
    pub(crate) fn add(&mut self, entity: &EntityId, role: Role, stages: &Stages) {
        if stages.count > 0 {
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
            transfer: stages.send,
        }),
        Role::Server => Some(taproot_model::Stages::Server {
            receive: part(&stages.receive),
            service: part(&stages.service),
            send: stages.send,
        }),
        Role::Unknown => None,
    }
}

fn part(stage: &Stage) -> taproot_model::Stage {
    let &Stage { total, queued, throttled, unknown } = stage;
    taproot_model::Stage { total, queued, throttled, unknown }
}

fn at_client(stages: &Stages) -> Vec<(&'static str, u64)> {
    vec![("stage=peer", stages.service.total), ("stage=transfer", stages.send)]
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
    parts.push(("stage=send", stages.send));
    parts
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
    all.into_iter().filter(|(.., seen)| *seen).map(|(name, ns, _)| (name, ns)).collect()
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
        let told = told(Role::Server, Stages { count: 1, receive, service, send: 4 });
        assert!(near(told["role=server"], 2.0), "{told:?}");
        let parts = [
            ("receive", 2e-9),
            ("receive.queued", 18e-9),
            ("receive.throttled", 60e-9),
            ("service", 10e-9),
            ("service.unknown", 4e-9),
            ("send", 8e-9),
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
        let stages = Stages { count: 1, receive: unseen, service: unseen, send: 0 };
        let told = told(Role::Server, stages);
        assert!(!told.contains_key("stage=receive.throttled"), "{told:?}");
        assert!(!told.contains_key("stage=service"), "{told:?}");
        assert!(told.contains_key("stage=service.unknown"), "{told:?}");
    }

    #[test]
    fn a_client_knows_its_peer_and_the_way_back() {
        let service = Stage { total: 5, ..Stage::default() };
        let told = told(Role::Client, Stages { count: 1, service, send: 2, ..Stages::default() });
        assert_eq!(
            told.keys().collect::<Vec<_>>(),
            ["role=client", "stage=peer", "stage=transfer"]
        );
    }
}
