use super::{pair, resource, schema_url, scope, stages};
use crate::call::{Call, observer};
use crate::{Owner, Value};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, Status, span::SpanKind, status::StatusCode,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use taproot_model::trace::{Place, Places};
use taproot_model::{EntityId, Exemplar, Role, Signal};

/// Owners whose names are kept at most.
const OWNERS: usize = 8_192;

/// Makes spans of requests kept in full, and remembers whose they are.
///
/// Whoever caused a request ends after it, and belongs to its trace's top: so a request
/// that can have a cause is kept back until the next batch has come.
#[derive(Default)]
pub struct Spans {
    owners: HashMap<EntityId, Arc<Owner>>,
    held: Vec<Exemplar>,
}

/// A span and whose it is.
pub type Owned = (EntityId, Arc<Owner>, Span);

impl Spans {
    /// The spans of a batch of signals as far as they may be told, and those of the last.
    pub fn of(&mut self, signals: &[Signal]) -> Vec<Owned> {
        let mut out = Vec::new();
        let held = std::mem::take(&mut self.held);
        for signal in signals {
            match signal {
                Signal::Entity(entity) => {
                    if self.owners.len() >= OWNERS {
                        // Who sends on is introduced again by the ends of its edges.
                        self.owners.clear();
                    }
                    self.owners.insert(entity.id.clone(), Arc::new(Owner::of(entity)));
                }
                Signal::Exemplar(one) if one.origin.is_some() => self.held.push((**one).clone()),
                Signal::Exemplar(one) => out.push(self.owned(one, None)),
                _ => {}
            }
        }
        let places = Places::among(held.iter().chain(&self.held));
        out.extend(held.iter().map(|one| self.owned(one, places.of(one))));
        out
    }

    fn owned(&self, one: &Exemplar, place: Option<Place>) -> Owned {
        let end = observer(&one.edge);
        let known = self.owners.get(&end.entity).map(Arc::clone);
        let owner = known.unwrap_or_else(|| Arc::new(Owner::of_end(end)));
        (end.entity.clone(), owner, span(one, place))
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

/// A request without a place is a trace of its own, and one whose cause is not known is a
/// root: OTLP has no word for "unknown".
fn span(one: &Exemplar, place: Option<Place>) -> Span {
    let Place { trace, span, parent } = place.unwrap_or_else(|| Place {
        trace: fastrand::u128(1..).to_be_bytes(),
        span: fastrand::u64(1..).to_be_bytes(),
        parent: None,
    });
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
        trace_id: trace.to_vec(),
        span_id: span.to_vec(),
        parent_span_id: parent.map(|span| span.to_vec()).unwrap_or_default(),
        name: [&*one.method, &*one.route].join(" ").trim().to_owned(),
        kind: kind as i32,
        start_time_unix_nano: one.at.0,
        end_time_unix_nano: one.at.0.saturating_add(one.duration),
        attributes: attributes
            .iter()
            .map(|(key, value)| pair(key, value))
            .chain(one.stages.iter().flat_map(stages::attributes))
            .collect(),
        status: one.error.then(|| Status { code: StatusCode::Error as i32, ..Status::default() }),
        ..Span::default()
    }
}
