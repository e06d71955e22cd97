//! The Prometheus text format, version 0.0.4.

use crate::{Data, Family, Point, buckets};
use std::fmt::Write;
use taproot_model::Name;
use taproot_model::schema::Kind;

/// The content type of [`text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What of an owner becomes a label of each series: what people ask by, and the
/// instance's id, which makes it unique.
const IDENTITY: [&str; 6] = [
    "service.namespace",
    "service.name",
    "service.instance.id",
    "k8s.pod.name",
    "k8s.container.name",
    "host.name",
];

/// Writes all series.
pub fn text(families: &[Family]) -> String {
    let mut out = String::new();
    for family in families {
        let name = family.instrument.prometheus();
        let kind = match family.instrument.kind {
            Kind::Counter => "counter",
            Kind::UpDownCounter | Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = escape_help(family.instrument.about);
        // Writing to a string cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for point in &family.points {
            sample(&mut out, &name, point, family.instrument.buckets);
        }
    }
    out
}

fn sample(out: &mut String, name: &str, point: &Point, bounds: &[f64]) {
    let labels = labels(point);
    match &point.data {
        Data::Sum(value) | Data::Level(value) => line(out, name, &labels, None, *value),
        Data::Histogram(histogram) => {
            let mut up_to = 0;
            let bucket = format!("{name}_bucket");
            let counts = buckets::explicit(histogram, bounds);
            let ends = bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
            for (end, count) in ends.zip(counts) {
                up_to += count;
                line(out, &bucket, &labels, Some(&end), up_to as f64);
            }
            line(out, &format!("{name}_sum"), &labels, None, buckets::sum(histogram));
            line(out, &format!("{name}_count"), &labels, None, histogram.count() as f64);
        }
    }
}

fn line(out: &mut String, name: &str, labels: &str, le: Option<&str>, value: f64) {
    let _ = match (labels.is_empty(), le) {
        (true, None) => writeln!(out, "{name} {value}"),
        (true, Some(le)) => writeln!(out, "{name}{{le=\"{le}\"}} {value}"),
        (false, None) => writeln!(out, "{name}{{{labels}}} {value}"),
        (false, Some(le)) => writeln!(out, "{name}{{{labels},le=\"{le}\"}} {value}"),
    };
}

fn labels(point: &Point) -> String {
    let mut out = String::new();
    let mut add = |key: &str, value: &str| {
        let comma = if out.is_empty() { "" } else { "," };
        let _ = write!(out, "{comma}{}=\"{}\"", key.replace('.', "_"), escape(value));
    };
    let known = |key: &&str| point.owner.attributes.iter().find(|(k, _)| k == key);
    for (key, value) in IDENTITY.iter().filter_map(known) {
        add(key, Name::as_str(value));
    }
    for (key, value) in &point.attributes {
        add(key, &value.to_string());
    }
    out
}

/// A label's value, as the format wants it.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn escape_help(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Owner;
    use std::sync::Arc;
    use taproot_model::schema::instrument;
    use taproot_model::{Histogram, Timestamp};

    fn family(name: &str, data: Data) -> Family {
        let owner = Owner { attributes: vec![("service.name", "a\"b\\c\nd".into())] };
        let point = Point {
            owner: Arc::new(owner),
            id: "x".into(),
            attributes: vec![("error.type", "500".into())],
            began: Timestamp(0),
            at: Timestamp(0),
            data,
        };
        Family { instrument: instrument(name).unwrap(), points: vec![point] }
    }

    #[test]
    fn labels_are_escaped() {
        let text = text(&[family("taproot.requests", Data::Sum(2.0))]);
        let expected =
            "taproot_requests_total{service_name=\"a\\\"b\\\\c\\nd\",error_type=\"500\"} 2\n";
        assert!(text.ends_with(expected), "{text}");
        assert!(text.contains("# TYPE taproot_requests_total counter\n"));
    }

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_all() {
        let mut histogram = Histogram::default();
        histogram.record(2_000_000);
        histogram.record(30_000_000);
        let text = text(&[family("db.client.operation.duration", Data::Histogram(histogram))]);
        let counts: Vec<&str> = text
            .lines()
            .filter(|l| l.contains("_bucket"))
            .filter_map(|l| l.rsplit(' ').next())
            .collect();
        assert_eq!(counts, ["0", "1", "1", "2", "2", "2", "2", "2", "2", "2"]);
        assert!(text.contains("le=\"+Inf\"} 2\n"));
        assert!(text.contains("_sum{service_name=\"a\\\"b\\\\c\\nd\",error_type=\"500\"} 0.032\n"));
    }
}
