//! What the map paints red: edges that fail, or differ from what they were before.
//!
//! A first look for the eye, cheap enough for every refresh; the cause is the
//! business of `taproot_diagnosis`.

use serde::Serialize;
use std::collections::BTreeMap;
use taproot_model::Name;
use taproot_world::view::{Golden, Latency, Map, MapEdge};

/// Failed requests of all, from which an edge is worth a look, and from which it is bad.
const ERRORS: (f64, f64) = (0.01, 0.05);

/// How many times the earlier share of errors or latency is out of the ordinary.
const FACTOR: f64 = 2.0;

/// A percentile that grew by less than this is noise, seconds.
const GROWTH: f64 = 0.005;

/// Requests a second below which percentiles mean nothing.
const FEW: f64 = 0.5;

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Out of the ordinary.
    Warn,
    /// Users feel it.
    Bad,
}

/// An edge that is out of the ordinary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Anomaly {
    /// Calling service.
    pub client: Name,
    /// Called service.
    pub server: Name,
    /// Its port.
    pub port: u16,
    /// How bad.
    pub level: Level,
    /// In words with figures.
    pub why: String,
}

/// Compares each edge of `now` with itself in `before` (an earlier, longer span,
/// which may know nothing).
pub(crate) fn find(now: &Map, before: &Map) -> Vec<Anomaly> {
    let key = |e: &MapEdge| (e.client.clone(), e.server.clone(), e.port, e.transport);
    let earlier: BTreeMap<_, _> = before.edges.iter().map(|e| (key(e), e)).collect();
    now.edges
        .iter()
        .filter_map(|edge| {
            let (level, why) = judge(edge, earlier.get(&key(edge)).map(|e| &e.golden))?;
            let (client, server) = (edge.client.clone(), edge.server.clone());
            Some(Anomaly { client, server, port: edge.port, level, why })
        })
        .collect()
}

/// The worst that can be said about an edge.
fn judge(edge: &MapEdge, before: Option<&Golden>) -> Option<(Level, String)> {
    let all = [failed_connects(edge), errors(&edge.golden, before), slower(&edge.golden, before)];
    all.into_iter().flatten().reduce(|worst, next| if next.0 > worst.0 { next } else { worst })
}

fn failed_connects(edge: &MapEdge) -> Option<(Level, String)> {
    let n = edge.failed_connects;
    (n > 0).then(|| (Level::Bad, format!("{n} connections failed")))
}

fn errors(now: &Golden, before: Option<&Golden>) -> Option<(Level, String)> {
    let (ratio, usual) = (now.error_ratio, before.map_or(0.0, |b| b.error_ratio));
    if ratio < ERRORS.0 || ratio < usual * FACTOR {
        return None;
    }
    let level = if ratio >= ERRORS.1 { Level::Bad } else { Level::Warn };
    let percent = |r: f64| format!("{:.1} %", r * 100.0);
    Some((level, format!("{} of requests fail, before {}", percent(ratio), percent(usual))))
}

/// The tail shows a trouble first; the median still shows it when the trouble has
/// lasted long enough to be in the tail of "before".
fn slower(now: &Golden, before: Option<&Golden>) -> Option<(Level, String)> {
    let before = before.filter(|b| b.rate >= FEW && now.rate >= FEW)?;
    let (now, before) = (felt(now)?, felt(before)?);
    let percentiles = [("p99", now.p99, before.p99), ("median", now.p50, before.p50)];
    percentiles.into_iter().find_map(|(name, value, usual)| {
        if value < usual * FACTOR || value < usual + GROWTH {
            return None;
        }
        let level = if value >= usual * FACTOR * FACTOR { Level::Bad } else { Level::Warn };
        let ms = |s: f64| format!("{:.1} ms", s * 1e3);
        Some((level, format!("{name} {}, before {}", ms(value), ms(usual))))
    })
}

/// Latency as the caller felt it, else as the callee measured it.
fn felt(golden: &Golden) -> Option<&Latency> {
    golden.client_latency.as_ref().or(golden.server_latency.as_ref())
}
