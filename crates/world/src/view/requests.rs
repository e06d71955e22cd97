use super::{Latency, PlaceRow, SCHEMA_VERSION, StagesRow, seconds};
use crate::{Observer, RequestKey, RequestTotals, World};
use serde::Serialize;
use std::collections::BTreeMap;
use taproot_model::trace::Places;
use taproot_model::{Endpoint, Exemplar, Name, Protocol, Span, Timestamp};

/// Requests by route, and some in full: `taproot requests -o json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RequestsView {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The time summed over.
    pub span: Span,
    /// One row a pair of services, route and status, most frequent first.
    pub routes: Vec<RequestRow>,
    /// Requests kept in full, newest first.
    pub exemplars: Vec<ExemplarRow>,
}

/// One route between two services with one outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RequestRow {
    /// Calling service.
    pub client: Name,
    /// Called service.
    pub server: Name,
    /// Protocol.
    pub protocol: Protocol,
    /// Method or operation.
    pub method: Name,
    /// Route template.
    pub route: Name,
    /// Status; `null` when unanswered.
    pub status: Option<u16>,
    /// The status where it is a word (`42P01`); `null` where it is a number or none.
    pub code: Option<Name>,
    /// Whether it counts as an error.
    pub error: bool,
    /// How many (exact).
    pub count: u64,
    /// Per second.
    pub rate: f64,
    /// Latency percentiles, seconds.
    pub latency: Option<Latency>,
}

/// One request in full.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExemplarRow {
    /// When it began.
    pub at: Timestamp,
    /// Calling instance.
    pub client: Name,
    /// Called instance.
    pub server: Name,
    /// Service of the calling instance.
    pub client_service: Name,
    /// Service of the called instance.
    pub server_service: Name,
    /// Protocol.
    pub protocol: Protocol,
    /// Method or operation.
    pub method: Name,
    /// Path without its query.
    pub path: Name,
    /// Route template.
    pub route: Name,
    /// Status; `null` when unanswered.
    pub status: Option<u16>,
    /// The status where it is a word; `null` where it is a number or none.
    pub code: Option<Name>,
    /// Whether it counts as an error.
    pub error: bool,
    /// Seconds to the first byte of the response.
    pub first_byte: f64,
    /// Seconds to its last byte.
    pub duration: f64,
    /// Where that time went; `null` where not seen.
    pub stages: Option<StagesRow>,
    /// What caused it.
    #[serde(flatten)]
    pub place: PlaceRow,
    /// Bytes of the request.
    pub request_bytes: u64,
    /// Bytes of the response.
    pub response_bytes: u64,
}

impl RequestsView {
    /// Requests within `span`.
    pub fn of(world: &World, span: Span) -> Self {
        Self::between(world, span, |_, _| true)
    }

    /// Requests within `span` that have an end for which `keep`, told its service and
    /// its instance, says yes.
    pub fn between(world: &World, span: Span, keep: impl Fn(&str, &str) -> bool) -> Self {
        let kept = |client: &Endpoint, server: &Endpoint| {
            let mut ends = [client, server].into_iter().map(|end| world.as_known(end));
            ends.any(|end| keep(&end.service, &end.instance))
        };
        let mut merged = BTreeMap::<(Name, Name, RequestKey), RequestTotals>::new();
        for edge in world.edges().filter(|edge| kept(edge.client, edge.server)) {
            let (client, server) = (world.service_of(edge.client), world.service_of(edge.server));
            for (key, totals) in world.requests(edge.key, Observer::Merged, span) {
                merged.entry((client.clone(), server.clone(), key)).or_default().then(&totals);
            }
        }
        let mut rows = Vec::new();
        for ((client, server, key), totals) in merged {
            rows.push(RequestRow {
                client,
                server,
                protocol: key.protocol,
                status: (!key.unanswered()).then_some(key.status),
                code: word(&key.code),
                error: key.error,
                method: key.method,
                route: key.route,
                count: totals.count,
                rate: totals.count as f64 / seconds(span),
                latency: Latency::of(&totals.latency),
            });
        }
        rows.sort_by_key(|r| std::cmp::Reverse(r.count));
        let places = Places::among(world.exemplars(span));
        let exemplars = world.exemplars(span).filter(|e| kept(&e.edge.client, &e.edge.server));
        let mut exemplars: Vec<_> = exemplars
            .map(|e| {
                ExemplarRow::of(e, &places)
                    .between(world.as_known(&e.edge.client), world.as_known(&e.edge.server))
            })
            .collect();
        exemplars.reverse();
        Self { schema_version: SCHEMA_VERSION, span, routes: rows, exemplars }
    }
}

fn word(code: &Name) -> Option<Name> {
    (!code.is_empty()).then(|| code.clone())
}

impl ExemplarRow {
    /// The row under these names of its ends.
    fn between(self, client: Endpoint, server: Endpoint) -> Self {
        Self {
            client: client.instance,
            server: server.instance,
            client_service: client.service,
            server_service: server.service,
            ..self
        }
    }

    /// One request as a row; its cause is looked for among `places`.
    pub fn of(e: &Exemplar, places: &Places) -> Self {
        Self {
            at: e.at,
            client: e.edge.client.instance.clone(),
            server: e.edge.server.instance.clone(),
            client_service: e.edge.client.service.clone(),
            server_service: e.edge.server.service.clone(),
            protocol: e.protocol,
            method: e.method.clone(),
            path: e.path.clone(),
            route: e.route.clone(),
            status: (e.status != 0 || !e.error || !e.code.is_empty()).then_some(e.status),
            code: word(&e.code),
            error: e.error,
            first_byte: e.first_byte as f64 / 1e9,
            duration: e.duration as f64 / 1e9,
            stages: e.stages.map(StagesRow::from),
            place: PlaceRow::of(places.of(e)),
            request_bytes: e.request_bytes,
            response_bytes: e.response_bytes,
        }
    }
}
