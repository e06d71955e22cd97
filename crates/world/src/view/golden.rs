use super::seconds;
use crate::{EdgeKey, Observer, World};
use serde::Serialize;
use taproot_model::{Histogram, Span};

/// Latency percentiles, seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
}

impl Latency {
    /// Percentiles of a histogram of nanoseconds; `None` when it is empty.
    pub fn of(histogram: &Histogram) -> Option<Self> {
        let at = |q| histogram.quantile(q).map(|ns| ns / 1e9);
        Some(Self { p50: at(0.5)?, p90: at(0.9)?, p99: at(0.99)? })
    }
}

/// Golden signals of a service or an edge over a span.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Golden {
    /// Requests per second.
    pub rate: f64,
    /// Failed requests (5xx, protocol errors, unanswered) per second.
    pub error_rate: f64,
    /// Failed over all, 0 to 1; 0 without requests.
    pub error_ratio: f64,
    /// Requests without an answer, per second; part of the failed.
    pub unanswered_rate: f64,
    /// Latency as the called end measured it.
    pub server_latency: Option<Latency>,
    /// Latency as the calling ends measured it; the link is in the difference.
    pub client_latency: Option<Latency>,
}

/// Sums over one or many edges that a [`Golden`] is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    requests: u64,
    failed: u64,
    unanswered: u64,
    server: Histogram,
    client: Histogram,
}

#[derive(Default)]
struct Side {
    requests: u64,
    failed: u64,
    unanswered: u64,
    latency: Histogram,
}

fn side(world: &World, key: &EdgeKey, observer: Observer, span: Span) -> Side {
    let mut out = Side::default();
    for (route, totals) in world.requests(key, observer, span) {
        out.requests += totals.count;
        out.failed += if route.failed() { totals.count } else { 0 };
        out.unanswered += if route.unanswered() { totals.count } else { 0 };
        out.latency.merge(&totals.latency);
    }
    out
}

impl Sums {
    /// Adds an edge: counts from the end that saw more, latencies apart by end.
    pub(crate) fn add(&mut self, world: &World, key: &EdgeKey, span: Span) {
        let merged = side(world, key, Observer::Merged, span);
        let client = side(world, key, Observer::Client, span);
        let server = side(world, key, Observer::Server, span);
        self.requests += merged.requests;
        // A client that gave up waiting knows of a failure that its server does not.
        self.failed += merged.failed.max(client.failed);
        self.unanswered += merged.unanswered.max(client.unanswered);
        self.client.merge(&client.latency);
        let unassigned = client.latency.is_empty() && server.latency.is_empty();
        self.server.merge(if unassigned { &merged.latency } else { &server.latency });
    }

    pub(crate) fn golden(&self, span: Span) -> Golden {
        let per_second = |n: u64| n as f64 / seconds(span);
        Golden {
            rate: per_second(self.requests),
            error_rate: per_second(self.failed),
            error_ratio: self.failed as f64 / self.requests.max(1) as f64,
            unanswered_rate: per_second(self.unanswered),
            server_latency: Latency::of(&self.server),
            client_latency: Latency::of(&self.client),
        }
    }
}
