//! Which requests are shown: by protocol, method, route, status and latency.

#![allow(clippy::doc_markdown, reason = "these comments are the help that users read")]

use std::cmp::Ordering;

use clap::Args;
use taproot_world::view::{ExemplarRow, RequestRow};

use crate::units;

/// Flags that choose requests; each may name several, and one of them has to fit.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RequestFilter {
    /// Only these protocols (http, http2, grpc, redis, postgres, mysql, dns, ...).
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    protocol: Vec<String>,
    /// Only these methods or operations (GET, SELECT, ...).
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    method: Vec<String>,
    /// Only routes or paths, tables, topics that contain this; * stands for anything.
    #[arg(long, value_name = "TEXT")]
    route: Option<String>,
    /// Only these ends: 404, 5xx, '>=400', 400-499, a word (NXDOMAIN), error, ok, unanswered.
    #[arg(long, value_delimiter = ',', value_parser = status)]
    status: Vec<Status>,
    /// Only those that took so long: '>100ms', '<1s', 100ms (at least). Of a route, its p99.
    #[arg(long, value_parser = latency)]
    latency: Option<Bound>,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Status {
    Between(u16, u16),
    Word(String),
    Error,
    Ok,
    Unanswered,
}

/// A time to compare with, seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bound {
    compare: Compare,
    seconds: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// The sign at the beginning, and the rest.
fn sign(text: &str) -> (Option<Compare>, &str) {
    let signs = [
        (">=", Compare::AtLeast),
        ("<=", Compare::AtMost),
        (">", Compare::Above),
        ("<", Compare::Below),
    ];
    let found =
        signs.into_iter().find_map(|(sign, compare)| Some((compare, text.strip_prefix(sign)?)));
    found.map_or((None, text), |(compare, rest)| (Some(compare), rest.trim()))
}

fn status(text: &str) -> Result<Status, String> {
    let text = text.trim();
    let wrong = || {
        format!(
            "`{text}` is no status; write 404, 5xx, '>=400', 400-499, a word such as NXDOMAIN, \
             error, ok or unanswered"
        )
    };
    let number = |text: &str| text.parse::<u16>().map_err(|_| wrong());
    let (compare, rest) = sign(text);
    if let Some(compare) = compare {
        let bound = number(rest)?;
        // 0 stands for no status at all and is within no bounds.
        return Ok(match compare {
            Compare::AtLeast => Status::Between(bound.max(1), u16::MAX),
            Compare::Above => Status::Between(bound.saturating_add(1), u16::MAX),
            Compare::AtMost => Status::Between(1, bound),
            Compare::Below => Status::Between(1, bound.saturating_sub(1)),
        });
    }
    if let Some(class) = text.strip_suffix("xx") {
        let class = number(class)?;
        return match class {
            1..=5 => Ok(Status::Between(class * 100, class * 100 + 99)),
            _ => Err(wrong()),
        };
    }
    if let Some((from, to)) = text.split_once('-')
        && let (Ok(from), Ok(to)) = (number(from), number(to))
    {
        return Ok(Status::Between(from, to));
    }
    Ok(match text {
        "" => return Err(wrong()),
        "error" => Status::Error,
        "ok" => Status::Ok,
        "unanswered" => Status::Unanswered,
        _ => number(text).map_or_else(|_| Status::Word(text.to_owned()), |n| Status::Between(n, n)),
    })
}

fn latency(text: &str) -> Result<Bound, String> {
    let (compare, rest) = sign(text.trim());
    let time = units::duration(rest)?;
    Ok(Bound { compare: compare.unwrap_or(Compare::AtLeast), seconds: time.as_secs_f64() })
}

impl Bound {
    fn fits(self, seconds: f64) -> bool {
        let order = seconds.total_cmp(&self.seconds);
        match self.compare {
            Compare::Above => order == Ordering::Greater,
            Compare::AtLeast => order != Ordering::Less,
            Compare::Below => order == Ordering::Less,
            Compare::AtMost => order != Ordering::Greater,
        }
    }
}

/// What of a row the filter looks at.
struct Row<'a> {
    protocol: &'a str,
    method: &'a str,
    routes: [&'a str; 2],
    status: Option<u16>,
    code: Option<&'a str>,
    error: bool,
    seconds: Option<f64>,
}

impl Status {
    fn fits(&self, row: &Row<'_>) -> bool {
        match self {
            Self::Between(from, to) => row.status.is_some_and(|n| (*from..=*to).contains(&n)),
            Self::Word(word) => row.code.is_some_and(|code| code.eq_ignore_ascii_case(word)),
            Self::Error => row.error,
            Self::Ok => !row.error,
            Self::Unanswered => row.status.is_none(),
        }
    }
}

/// Whether `text` contains the parts of `pattern` between its stars, in order.
fn contains(text: &str, pattern: &str) -> bool {
    let mut rest = text;
    pattern.split('*').all(|part| {
        let found = rest.find(part);
        rest = found.map_or("", |at| &rest[at + part.len()..]);
        found.is_some()
    })
}

fn one_of(names: &[String], name: &str) -> bool {
    names.is_empty() || names.iter().any(|one| one.eq_ignore_ascii_case(name))
}

impl RequestFilter {
    /// Whether a route with its outcome is shown.
    pub(crate) fn keeps_route(&self, row: &RequestRow) -> bool {
        self.fits(&Row {
            protocol: row.protocol.name(),
            method: &row.method,
            routes: [&row.route, &row.route],
            status: row.status,
            code: row.code.as_deref(),
            error: row.error,
            seconds: row.latency.as_ref().map(|latency| latency.p99),
        })
    }

    /// Whether one request is shown.
    pub(crate) fn keeps(&self, row: &ExemplarRow) -> bool {
        self.fits(&Row {
            protocol: row.protocol.name(),
            method: &row.method,
            routes: [&row.route, &row.path],
            status: row.status,
            code: row.code.as_deref(),
            error: row.error,
            seconds: Some(row.duration),
        })
    }

    fn fits(&self, row: &Row<'_>) -> bool {
        let on = |pattern: &String| row.routes.iter().any(|route| contains(route, pattern));
        one_of(&self.protocol, row.protocol)
            && one_of(&self.method, row.method)
            && self.route.as_ref().is_none_or(on)
            && (self.status.is_empty() || self.status.iter().any(|status| status.fits(row)))
            && self.latency.is_none_or(|bound| row.seconds.is_some_and(|s| bound.fits(s)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(status: Option<u16>, code: Option<&'static str>, error: bool) -> Row<'static> {
        let routes = ["/cart/{id}", "/cart/17"];
        Row { protocol: "http", method: "GET", routes, status, code, error, seconds: Some(0.2) }
    }

    fn of_status(text: &str) -> RequestFilter {
        let status = text.split(',').map(|one| status(one).unwrap()).collect();
        RequestFilter { status, ..RequestFilter::default() }
    }

    #[test]
    fn ends_are_chosen_as_people_write_them() {
        let (fine, missing, broken) =
            (row(Some(200), None, false), row(Some(404), None, false), row(Some(503), None, true));
        let silent = row(None, None, true);
        let unknown = row(Some(3), Some("NXDOMAIN"), true);
        for (text, expected) in [
            ("5xx", [false, false, true, false, false]),
            (">=400", [false, true, true, false, false]),
            (">404", [false, false, true, false, false]),
            ("<400", [true, false, false, false, true]),
            ("400-499", [false, true, false, false, false]),
            ("200,503", [true, false, true, false, false]),
            ("error", [false, false, true, true, true]),
            ("ok", [true, true, false, false, false]),
            ("unanswered", [false, false, false, true, false]),
            ("nxdomain", [false, false, false, false, true]),
        ] {
            let filter = of_status(text);
            let found = [&fine, &missing, &broken, &silent, &unknown].map(|row| filter.fits(row));
            assert_eq!(found, expected, "{text}");
        }
        for bad in ["", ">=", ">=abc", "9xx", "xx"] {
            assert!(status(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_and_routes_are_chosen_too() {
        let row = row(Some(200), None, false);
        for (text, expected) in [
            (">100ms", true),
            (">200ms", false),
            ("200ms", true),
            ("<=200ms", true),
            ("<200ms", false),
        ] {
            let latency = Some(latency(text).unwrap());
            let filter = RequestFilter { latency, ..RequestFilter::default() };
            assert_eq!(filter.fits(&row), expected, "{text}");
        }
        for (pattern, expected) in
            [("cart", true), ("/cart/*", true), ("/17", true), ("c*7", true), ("/order", false)]
        {
            let filter = RequestFilter { route: Some(pattern.into()), ..RequestFilter::default() };
            assert_eq!(filter.fits(&row), expected, "{pattern}");
        }
        assert!(latency("soon").is_err());
        let only = |protocol: &str| RequestFilter {
            protocol: vec![protocol.into()],
            ..RequestFilter::default()
        };
        assert!(only("HTTP").fits(&row) && !only("redis").fits(&row));
    }

    #[test]
    fn without_time_or_answer_a_bound_does_not_fit() {
        let nothing = Row { seconds: None, ..row(None, None, true) };
        let slow = RequestFilter { latency: latency(">0ms").ok(), ..RequestFilter::default() };
        assert!(!slow.fits(&nothing));
        assert!(RequestFilter::default().fits(&nothing));
    }
}
