//! A [`crate::Report`] for people: plain text for a terminal, Markdown for a ticket, its
//! charts as an SVG picture.

mod markdown;
mod slices;
mod spark;
mod svg;
mod text;

pub use markdown::markdown;
pub use spark::spark;
pub use svg::svg;
pub use text::text;

use crate::report::{Report, Suspect};
use crate::traced::{Fate, Seen, Traced};
use crate::units;
use crate::walk::End;

/// Formatted text appended to a string, which cannot fail.
trait Lines {
    fn line(&mut self, text: std::fmt::Arguments<'_>);
}

impl Lines for String {
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        let written = std::fmt::Write::write_fmt(self, text);
        debug_assert!(written.is_ok(), "a string takes everything");
    }
}

/// `since 12:03:20 (2 min 5 s before the end of the observation)`, or nothing.
fn since(report: &Report) -> String {
    let Some(since) = report.verdict.since else { return String::new() };
    let ago = report.span.to.since(since).as_secs_f64();
    let until = report.verdict.until.map_or_else(String::new, |to| format!(", until {to}"));
    format!("since {since} UTC, {} ago{until}", units::time(ago))
}

/// How sure, in a word.
fn sure(confidence: f64) -> &'static str {
    match confidence {
        c if c >= 0.85 => "very sure",
        c if c >= 0.65 => "fairly sure",
        c if c >= 0.45 => "likely",
        _ => "not sure",
    }
}

/// `gateway → product → inventory`, the end marked.
fn way(report: &Report) -> Option<String> {
    let walk = report.walk.as_ref()?;
    let names: Vec<&str> = walk.services().into_iter().map(taproot_model::Name::as_str).collect();
    let end = match &walk.end {
        End::Service { service } => format!("it begins at {service}"),
        End::Link { client, server } => format!("it begins between {client} and {server}"),
    };
    Some(format!("{}: {end}", names.join(" → ")))
}

/// What followed packets of a link told, in a line or a few.
fn packets(traced: &Traced) -> Vec<String> {
    let link = format!("{} → {}", traced.client, traced.server);
    let told = match &traced.seen {
        // That is among what could not be seen.
        Seen::NotTraced { .. } => return Vec::new(),
        Seen::Traced(told) => told,
    };
    let time = units::time(told.seconds);
    let mut out = vec![match told.fate {
        Fate::Nothing => format!("{link}: no packet came within {time}"),
        Fate::Passed => format!("{link}: all {} within {time} went their way", told.followed),
        _ => format!("{link}: {}", told.headline),
    }];
    out.extend(told.story.iter().cloned());
    if let Some(blame) = &told.blame {
        let sure = if blame.proved { "at fault" } else { "probably at fault" };
        out.push(format!("{sure}: {}. {}", blame.object, blame.because));
    }
    if told.lost > 0 {
        out.push(format!("{} steps of packets were missed by the trace", told.lost));
    }
    out
}

/// A suspect in one line.
fn suspected(suspect: &Suspect) -> String {
    format!("{}: {}", suspect.service, suspect.because.join("; "))
}
