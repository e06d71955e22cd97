//! The published schema says what the code does, and both say what the conventions do.
//!
//! After a change of the table: `BLESS=1 cargo test -p taproot-export --test schema`.
#![allow(clippy::unwrap_used, reason = "a test that panics fails, which is what is wanted")]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use taproot_model::schema::{ATTRIBUTES, INSTRUMENTS, Kind, SEMCONV, Standing, VERSION};

fn json() -> String {
    let metrics: Vec<Value> = INSTRUMENTS
        .iter()
        .map(|one| {
            let mut out = json!({
                "name": one.name,
                "prometheus": one.prometheus(),
                "instrument": one.kind.name(),
                "unit": one.unit,
                "stability": one.standing.name(),
                "brief": one.about,
                "attributes": one.attributes,
            });
            if one.kind == Kind::Histogram {
                out["buckets"] = json!(one.buckets);
            }
            out
        })
        .collect();
    let attributes: Vec<Value> = ATTRIBUTES
        .iter()
        .map(|one| json!({"key": one.key, "stability": one.standing.name(), "brief": one.about}))
        .collect();
    let all = json!({
        "schema_version": VERSION,
        "semantic_conventions": SEMCONV,
        "metrics": metrics,
        "attributes": attributes,
    });
    serde_json::to_string_pretty(&all).unwrap() + "\n"
}

const HEAD: &str = "\
# Telemetry

What Taproot exports, to Prometheus (`/metrics`) and over OTLP. How to use it stands in
[metrics.md](metrics.md). This page is made of the table in `crates/model/src/schema`, as is
[schema/telemetry.json](../schema/telemetry.json) for programs; a test compares them.

Names are those of OpenTelemetry's semantic conventions where one exists. `stability` is the
convention's; `taproot` marks our own.
";

fn markdown() -> String {
    let mut out = String::from(HEAD);
    let _ = writeln!(out, "\nSchema version {VERSION}, semantic conventions {SEMCONV}.");
    out += "\n## Metrics\n\n| OpenTelemetry | Prometheus | unit, kind | stability | what |\n|---|---|---|---|---|\n";
    for one in INSTRUMENTS {
        let (kind, standing) = (one.kind.name(), one.standing.name());
        let (name, prometheus, unit, about) = (one.name, one.prometheus(), one.unit, one.about);
        let _ =
            writeln!(out, "| `{name}` | `{prometheus}` | {unit}, {kind} | {standing} | {about} |");
    }
    out += "\n## Attributes\n\n| key | stability | what |\n|---|---|---|\n";
    for one in ATTRIBUTES {
        let _ = writeln!(out, "| `{}` | {} | {} |", one.key, one.standing.name(), one.about);
    }
    out
}

#[test]
fn the_published_schema_is_what_the_code_does() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (file, now) in [("schema/telemetry.json", json()), ("docs/telemetry.md", markdown())] {
        let path = root.join(file);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &now).unwrap();
        }
        let published = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            published == now,
            "{file} differs from the table: BLESS=1 cargo test -p taproot-export --test schema \
             writes it; raise the version where a name, unit or kind changed or went"
        );
    }
}

/// Ours by its beginning, or one of two that others have without a convention:
/// OpenTelemetry's eBPF instrumentation, and its SDKs.
fn ours(name: &str) -> bool {
    ["db.server.operation.duration", "otel.metric.overflow"].contains(&name)
        || name.starts_with("taproot.")
}

/// What the conventions say of every name of theirs that we use.
fn conventions() -> BTreeMap<String, Value> {
    let text = include_str!("data/semconv-1.44.0.json");
    assert_eq!(SEMCONV, "1.44.0", "the data is of another version");
    serde_json::from_str(text).unwrap()
}

#[test]
fn names_of_the_conventions_have_their_units_kinds_and_stability() {
    let known = conventions();
    for one in INSTRUMENTS {
        if one.standing == Standing::Own {
            assert!(ours(one.name), "{} is no convention and not ours", one.name);
            continue;
        }
        let Some(said) = known.get(one.name) else { panic!("{} is not in the data", one.name) };
        let found = json!([one.kind.name(), one.unit, one.standing.name()]);
        assert_eq!(&found, said, "{}", one.name);
    }
    for one in ATTRIBUTES {
        if one.standing == Standing::Own {
            assert!(ours(one.key), "{}", one.key);
            continue;
        }
        assert_eq!(known.get(one.key), Some(&json!(one.standing.name())), "{}", one.key);
    }
}
