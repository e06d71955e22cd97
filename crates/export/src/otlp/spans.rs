use super::{pair, resource, schema_url, scope};
use crate::call::{Call, observer};
use crate::{Owner, Value};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, Status, span::SpanKind, status::StatusCode,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use taproot_model::{EntityId, Exemplar, Role, Signal};

/// Owners whose names are kept at most.
const OWNERS: usize = 8_192;

/// Makes spans of requests kept in full, and remembers whose they are.
#[derive(Default)]
pub struct Spans {
    owners: HashMap<EntityId, Arc<Owner>>,
}

/// A span and whose it is.
pub type Owned = (EntityId, Arc<Owner>, Span);

impl Spans {
    /// The spans of a batch of signals.
    pub fn of(&mut self, signals: &[Signal]) -> Vec<Owned> {
        let mut out = Vec::new();
        for signal in signals {
            match signal {
                Signal::Entity(entity) => {
                    if self.owners.len() >= OWNERS {
                        // Who sends on is introduced again by the ends of its edges.
                        self.owners.clear();
                    }
                    self.owners.insert(entity.id.clone(), Arc::new(Owner::of(entity)));
                }
                Signal::Exemplar(one) => out.push(self.owned(one)),
                _ => {}
            }
        }
        out
    }

    fn owned(&self, one: &Exemplar) -> Owned {
        let end = observer(&one.edge);
        let known = self.owners.get(&end.entity).map(Arc::clone);
        let owner = known.unwrap_or_else(|| Arc::new(Owner::of_end(end)));
        (end.entity.clone(), owner, span(one))
    }
}

/// A request of all these spans, by owner.
pub fn request(spans: &[Owned], version: &str) -> ExportTraceServiceRequest {
    let mut by_owner = BTreeMap::<&EntityId, (&Arc<Owner>, Vec<Span>)>::new();
    for (id, owner, span) in spans {
        by_owner.entry(id).or_insert_with(|| (owner, Vec::new())).1.push(span.clone());
    }
    let all = by_owner.into_values().map(|(owner, spans)| ResourceSpans {
        resource: Some(resource(owner)),
        scope_spans: vec![ScopeSpans {
            scope: Some(scope(version)),
            spans,
            ..ScopeSpans::default()
        }],
        schema_url: schema_url(),
    });
    ExportTraceServiceRequest { resource_spans: all.collect() }
}

/// Each request is a trace of its own: which request caused which is not told here.
fn span(one: &Exemplar) -> Span {
    let call = Call::from(one);
    let names = one.protocol.call_names(one.edge.role);
    let mut attributes = call.attributes();
    if !one.path.is_empty() && attributes.iter().all(|(key, _)| *key != names.text) {
        attributes.push((names.text, Value::Text(one.path.clone())));
    }
    let kind = match one.edge.role {
        Role::Client => SpanKind::Client,
        Role::Server => SpanKind::Server,
        Role::Unknown => SpanKind::Unspecified,
    };
    Span {
        trace_id: fastrand::u128(1..).to_be_bytes().to_vec(),
        span_id: fastrand::u64(1..).to_be_bytes().to_vec(),
        name: [&*one.method, &*one.route].join(" ").trim().to_owned(),
        kind: kind as i32,
        start_time_unix_nano: one.at.0,
        end_time_unix_nano: one.at.0.saturating_add(one.duration),
        attributes: attributes.iter().map(|(key, value)| pair(key, value)).collect(),
        status: one.error.then(|| Status { code: StatusCode::Error as i32, ..Status::default() }),
        ..Span::default()
    }
}
