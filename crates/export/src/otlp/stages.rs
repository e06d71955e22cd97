//! Where the time of a request went, as attributes of its span.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use taproot_model::{Stage, Stages};

/// One attribute a stage, seconds. What was not seen is left out.
pub(super) fn attributes(stages: &Stages) -> impl Iterator<Item = KeyValue> + use<> {
    seen(stages).into_iter().map(|(stage, ns)| KeyValue {
        key: format!("taproot.request.stage.duration.{stage}"),
        value: Some(AnyValue { value: Some(any_value::Value::DoubleValue(ns as f64 / 1e9)) }),
        ..KeyValue::default()
    })
}

fn seen(stages: &Stages) -> Vec<(&'static str, u64)> {
    match *stages {
        Stages::Client { peer, transfer } => vec![("peer", peer), ("transfer", transfer)],
        Stages::Server { receive, service, send, buffer, device, qdisc } => {
            let mut out = vec![("receive", receive.total)];
            out.extend(why(["receive.queued", "receive.throttled", "receive.unknown"], receive));
            out.push(("service", service.total));
            out.extend(why(["service.queued", "service.throttled", "service.unknown"], service));
            out.push(("send", send));
            let told = [
                ("send.buffered", buffer.map(|buffer| buffer.buffered)),
                ("send.unknown", buffer.map(|buffer| buffer.unknown)),
                ("device", device),
                ("qdisc", qdisc),
            ];
            out.extend(told.into_iter().filter_map(|(stage, ns)| Some((stage, ns?))));
            out
        }
    }
}

/// Why its thread did not run, as far as that is known.
fn why(names: [&'static str; 3], stage: Stage) -> Vec<(&'static str, u64)> {
    let [queued, throttled, unknown] = names;
    let mut out = vec![(unknown, stage.unknown)];
    if stage.unknown < stage.total || stage.total == 0 {
        out.extend([(queued, stage.queued), (throttled, stage.throttled)]);
    }
    out
}
