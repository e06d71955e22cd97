//! `/metrics`: the Prometheus text format, version 0.0.4.

use crate::{AppState, StateError};
use std::fmt::Write;
use std::time::Duration;
use taproot_world::view::Golden;

pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The time the golden signals are summed over; the help texts say so too.
const LAST: Duration = Duration::from_mins(1);

/// Golden signals of services and edges, and how the server itself is.
pub(crate) fn text(app: &dyn AppState) -> Result<String, StateError> {
    let health = app.health();
    let map = app.map(LAST)?.map;
    let mut out = Text::default();
    out.family("taproot_signals_total", "counter", "Signals received since the start.");
    out.sample("taproot_signals_total", &[], health.signals as f64);
    let services: Vec<Labelled<'_>> =
        map.services.iter().map(|s| (vec![("service", s.service.as_str())], &s.inbound)).collect();
    out.golden("taproot_service", "served by the service", &services);
    let ports: Vec<String> = map.edges.iter().map(|e| e.port.to_string()).collect();
    let edges: Vec<Labelled<'_>> = map
        .edges
        .iter()
        .zip(&ports)
        .map(|(e, port)| {
            let (client, server) = (e.client.as_str(), e.server.as_str());
            (vec![("client", client), ("server", server), ("port", port)], &e.golden)
        })
        .collect();
    out.golden("taproot_edge", "between the services", &edges);
    out.losses(app)?;
    Ok(out.0)
}

type Labels<'a> = Vec<(&'a str, &'a str)>;
type Labelled<'a> = (Labels<'a>, &'a Golden);

#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escape(v))).collect();
        let braces =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{braces} {value}");
    }

    /// Rate, error ratio and latency of all of a sort.
    fn golden(&mut self, prefix: &str, of: &str, all: &[Labelled<'_>]) {
        let name = format!("{prefix}_request_rate");
        self.family(&name, "gauge", &format!("Requests {of}, per second, over the last minute."));
        for (labels, golden) in all {
            self.sample(&name, labels, golden.rate);
        }
        let name = format!("{prefix}_error_ratio");
        let help = format!("Failed over all requests {of}, over the last minute.");
        self.family(&name, "gauge", &help);
        for (labels, golden) in all.iter().filter(|(_, golden)| golden.rate > 0.0) {
            self.sample(&name, labels, golden.error_ratio);
        }
        let name = format!("{prefix}_latency_seconds");
        let help = format!("Latency of requests {of}, percentiles over the last minute.");
        self.family(&name, "gauge", &help);
        for (labels, golden) in all {
            let Some(latency) = golden.server_latency.as_ref().or(golden.client_latency.as_ref())
            else {
                continue;
            };
            for (q, value) in [("0.5", latency.p50), ("0.9", latency.p90), ("0.99", latency.p99)] {
                let mut labels = labels.clone();
                labels.push(("quantile", q));
                self.sample(&name, &labels, value);
            }
        }
    }

    fn losses(&mut self, app: &dyn AppState) -> Result<(), StateError> {
        let losses = app.losses(LAST)?;
        let name = "taproot_lost";
        self.family(name, "gauge", "What collectors could not see over the last minute.");
        for row in &losses.losses {
            let labels = [("collector", &*row.collector), ("reason", &*row.reason)];
            self.sample(name, &labels, row.count as f64);
        }
        let name = "taproot_picture_dropped_total";
        self.family(name, "counter", "What the picture in memory had to drop since the start.");
        for (reason, n) in &losses.dropped {
            self.sample(name, &[("reason", reason)], *n as f64);
        }
        Ok(())
    }
}

/// A label's value, as the format wants it.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut out = Text::default();
        out.sample("m", &[("a", "x\"y\\z\n"), ("b", "")], 0.5);
        assert_eq!(out.0, "m{a=\"x\\\"y\\\\z\\n\",b=\"\"} 0.5\n");
    }
}
