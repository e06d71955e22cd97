//! The one table of what Taproot exports: names, units, kinds, attributes, meanings.
//!
//! Every exporter reads it, and so does the test that holds `schema/telemetry.json` and
//! `docs/telemetry.md` to it. Names are those of OpenTelemetry's semantic conventions
//! [`SEMCONV`] where one exists, and begin with `taproot.` where none does. A name of
//! Prometheus is never written down: [`Instrument::prometheus`] makes it.

mod attributes;
mod calls;
mod families;
mod table;

pub use attributes::{ATTRIBUTES, Attribute, OVERFLOW, attribute_of_key};
pub use calls::CallNames;
pub use table::INSTRUMENTS;

/// Version of the semantic conventions the names are taken from.
pub const SEMCONV: &str = "1.44.0";

/// Version of the table: raised when a name, unit or kind changes or goes.
pub const VERSION: u32 = 1;

/// What a series of values is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A sum that only grows.
    Counter,
    /// A sum that also shrinks.
    UpDownCounter,
    /// A level, or a ratio, that is not to be added up.
    Gauge,
    /// A distribution.
    Histogram,
}

impl Kind {
    /// As the semantic conventions spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::UpDownCounter => "updowncounter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Where a name comes from, and how firm it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// A stable name of the conventions.
    Stable,
    /// A name of the conventions that is about to be stable.
    ReleaseCandidate,
    /// A name of the conventions that may still change.
    Development,
    /// Our own: no convention exists.
    Own,
}

impl Standing {
    /// As the semantic conventions spell it; `taproot` for our own.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::ReleaseCandidate => "release_candidate",
            Self::Development => "development",
            Self::Own => "taproot",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Instrument {
    /// Name (`http.server.request.duration`).
    pub name: &'static str,
    /// Unit, as UCUM writes it (`s`, `By`, `{request}`, `1`).
    pub unit: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// How firm the name is.
    pub standing: Standing,
    /// Keys of its attributes, besides those that say whose it is. Not every point has all.
    pub attributes: &'static [&'static str],
    /// Upper bounds of a histogram's buckets, in its unit; empty for the other kinds.
    pub buckets: &'static [f64],
    /// What it counts, in a sentence.
    pub about: &'static str,
}

impl Instrument {
    /// The name for Prometheus, by the rules OpenTelemetry gives: dots become
    /// underscores, the unit is appended, `_total` ends a counter and `_ratio` a gauge
    /// of unit `1`.
    pub fn prometheus(&self) -> String {
        let mut name = self.name.replace('.', "_");
        let unit = match self.unit {
            "s" => "seconds",
            "By" => "bytes",
            "1" if self.kind == Kind::Gauge => "ratio",
            _ => "",
        };
        if !unit.is_empty() && !name.ends_with(unit) {
            name.push('_');
            name.push_str(unit);
        }
        if self.kind == Kind::Counter {
            name.push_str("_total");
        }
        name
    }
}

/// The instrument of a name.
pub fn instrument(name: &str) -> Option<&'static Instrument> {
    INSTRUMENTS.iter().find(|one| one.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn prometheus(name: &str) -> String {
        instrument(name).unwrap().prometheus()
    }

    #[test]
    fn names_for_prometheus_follow_from_name_unit_and_kind() {
        assert_eq!(
            prometheus("http.server.request.duration"),
            "http_server_request_duration_seconds"
        );
        assert_eq!(prometheus("container.cpu.time"), "container_cpu_time_seconds_total");
        assert_eq!(prometheus("container.memory.usage"), "container_memory_usage_bytes");
        assert_eq!(prometheus("taproot.capture.coverage"), "taproot_capture_coverage_ratio");
        assert_eq!(prometheus("taproot.capture.bytes"), "taproot_capture_bytes_total");
    }

    #[test]
    fn no_name_stands_for_two_things() {
        let names: BTreeSet<_> = INSTRUMENTS.iter().map(|one| one.name).collect();
        let derived: BTreeSet<_> = INSTRUMENTS.iter().map(Instrument::prometheus).collect();
        assert_eq!(names.len(), INSTRUMENTS.len());
        assert_eq!(derived.len(), INSTRUMENTS.len());
    }

    #[test]
    fn every_attribute_of_an_instrument_is_in_the_table_of_attributes() {
        let known: BTreeSet<_> = ATTRIBUTES.iter().map(|one| one.key).collect();
        assert_eq!(known.len(), ATTRIBUTES.len());
        for one in INSTRUMENTS {
            for key in one.attributes {
                assert!(known.contains(key), "{key} of {}", one.name);
            }
        }
    }

    #[test]
    fn histograms_and_only_they_have_bounds_that_grow() {
        for one in INSTRUMENTS {
            assert_eq!(one.kind == Kind::Histogram, !one.buckets.is_empty(), "{}", one.name);
            assert!(one.buckets.is_sorted_by(|a, b| a < b), "{}", one.name);
        }
    }

    #[test]
    fn what_collectors_write_is_in_the_table() {
        // The constants of `metric`, out of its source: one added there is missed here.
        let source = include_str!("../metric.rs");
        let names: Vec<_> = source
            .lines()
            .filter_map(|line| line.strip_prefix("pub const ")?.split('"').nth(1))
            .collect();
        assert!(names.len() >= 29, "{names:?}");
        for name in names {
            assert!(instrument(name).is_some(), "{name} is not in schema/table.rs");
        }
    }
}
