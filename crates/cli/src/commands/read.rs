//! `taproot map`, `top`, `requests` and `flows`: one picture, four views.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Serialize;
use taproot_diagnosis::Evidence;
use taproot_model::Span;
use taproot_world::World;
use taproot_world::view::{Flows, Golden, Latency, Map, RequestsView, Spent, Top, TopRow};

use crate::args::{Output, ReadArgs, SortBy};
use crate::live::{self, Live};
use crate::reading;
use crate::request_filter::RequestFilter;
use crate::table::{Table, bytes, percent, seconds};

/// Which view.
#[derive(Clone, Copy, Debug)]
pub(crate) enum View<'a> {
    Map,
    Top(SortBy),
    Requests(&'a RequestFilter),
    Flows,
}

pub(crate) fn run(view: View<'_>, args: &ReadArgs) -> Result<ExitCode> {
    let Some(every) = args.watch else {
        let world = reading::world(&args.source, &args.agent)?;
        print!("{}", show(view, &world, Evidence::span(&world), args)?);
        return Ok(ExitCode::SUCCESS);
    };
    if args.source.replay.is_some() || args.source.store.is_some() {
        bail!("--watch looks live; leave --replay and --store away");
    }
    watch(view, args, every)
}

fn watch(view: View<'_>, args: &ReadArgs, every: Duration) -> Result<ExitCode> {
    let interrupted = live::interrupt_flag()?;
    let live = Live::start(live::options(&args.agent)?, None)?;
    while !live::pause(every, &interrupted) {
        let world = live.world();
        let all = Evidence::span(&*world);
        let span = Span::new((all.to - args.source.look).max(all.from), all.to);
        let text = show(view, &world, span, args)?;
        drop(world);
        if args.output == Output::Table {
            // Clear the screen and start at its top, as `top` does.
            print!("\x1b[2J\x1b[H");
        }
        print!("{text}");
    }
    live.stop()?;
    Ok(ExitCode::SUCCESS)
}

fn show(view: View<'_>, world: &World, span: Span, args: &ReadArgs) -> Result<String> {
    let keep = Filter::new(world, args)?;
    Ok(match view {
        View::Map => {
            let mut map = Map::of(world, span);
            map.services.retain(|s| keep.service(&s.service));
            map.edges.retain(|e| keep.service(&e.client) || keep.service(&e.server));
            form(args.output, &map, map_table)?
        }
        View::Top(by) => {
            let mut top = Top::of(world, span);
            top.rows.retain(|r| keep.service(&r.service) && keep.pod(&r.instance));
            sort(&mut top.rows, by);
            form(args.output, &top, top_table)?
        }
        View::Requests(filter) => {
            let mut view = RequestsView::between(world, span, |service, instance| {
                keep.service(service) && keep.pod(instance)
            });
            view.routes.retain(|row| filter.keeps_route(row));
            view.exemplars.retain(|row| filter.keeps(row));
            form(args.output, &view, requests_table)?
        }
        View::Flows => {
            let mut flows = Flows::of(world, span);
            flows.flows.retain(|f| {
                let end =
                    |e: &taproot_model::Endpoint| keep.service(&e.service) && keep.pod(&e.instance);
                end(&f.client) || end(&f.server)
            });
            form(args.output, &flows, flows_table)?
        }
    })
}

fn form<T: Serialize>(output: Output, view: &T, table: impl Fn(&T) -> String) -> Result<String> {
    Ok(match output {
        Output::Json => serde_json::to_string_pretty(view)? + "\n",
        Output::Table => table(view),
    })
}

/// The most first, of coverage the least; who has no such figure comes last.
fn sort(rows: &mut [TopRow], by: SortBy) {
    let golden =
        |r: &TopRow, figure: fn(&Golden) -> Option<f64>| r.inbound.as_ref().and_then(figure);
    let latency = |r: &TopRow, figure: fn(&Latency) -> f64| {
        let golden = r.inbound.as_ref()?;
        golden.server_latency.as_ref().or(golden.client_latency.as_ref()).map(figure)
    };
    let figure = |r: &TopRow| match by {
        SortBy::Rate => golden(r, |g| Some(g.rate)),
        SortBy::Errors => golden(r, |g| Some(g.error_ratio)),
        SortBy::P50 => latency(r, |l| l.p50),
        SortBy::P99 => latency(r, |l| l.p99),
        SortBy::Coverage => r.coverage.map(|ratio| -ratio),
        SortBy::Cpu => r.cpu,
        SortBy::Memory => r.memory,
    };
    let key = |r: &TopRow| figure(r).unwrap_or(f64::NEG_INFINITY);
    rows.sort_by(|a, b| key(b).total_cmp(&key(a)));
}

/// What the flags keep; a name that fits nothing is an error, not an empty table.
pub(super) struct Filter<'a> {
    service: Option<&'a str>,
    namespace: Option<&'a str>,
    pod: Option<&'a str>,
}

impl<'a> Filter<'a> {
    /// What the flags say, whether or not anything fits.
    pub(super) fn of(args: &'a ReadArgs) -> Self {
        Self {
            service: args.service.as_deref(),
            namespace: args.namespace.as_deref(),
            pod: args.pod.as_deref(),
        }
    }

    fn new(world: &World, args: &'a ReadArgs) -> Result<Self> {
        let keep = Self::of(args);
        let known =
            |what: &str, asked: Option<&str>, names: Vec<String>, fits: &dyn Fn(&str) -> bool| {
                if let Some(asked) = asked
                    && !names.iter().any(|n| fits(n))
                {
                    bail!("no {what} `{asked}` was seen; seen: {}", list(names));
                }
                Ok(())
            };
        let services = || world.entities().map(|e| e.service.to_string()).collect::<Vec<_>>();
        let pods = || world.entities().map(|e| e.instance().to_string()).collect::<Vec<_>>();
        known("service", keep.service, services(), &|n| keep.service(n))?;
        known("namespace", keep.namespace, services(), &|n| keep.service(n))?;
        known("pod", keep.pod, pods(), &|n| keep.pod(n))?;
        Ok(keep)
    }

    pub(super) fn service(&self, name: &str) -> bool {
        let (namespace, short) = name.split_once('/').unwrap_or(("", name));
        self.service.is_none_or(|s| s == name || s == short)
            && self.namespace.is_none_or(|n| n == namespace)
    }

    pub(super) fn pod(&self, instance: &str) -> bool {
        self.pod.is_none_or(|p| p == instance || p.rsplit('/').next() == Some(instance))
    }
}

fn list(mut names: Vec<String>) -> String {
    names.sort();
    names.dedup();
    names.truncate(20);
    if names.is_empty() { "nothing yet".into() } else { names.join(", ") }
}

fn golden_cells(g: &Golden) -> [String; 4] {
    let latency = g.server_latency.as_ref().or(g.client_latency.as_ref());
    [
        format!("{:.1}", g.rate),
        percent(Some(g.error_ratio)),
        seconds(latency.map(|l| l.p50)),
        seconds(latency.map(|l| l.p99)),
    ]
}

fn map_table(map: &Map) -> String {
    let header = [
        "FROM", "TO", "PORT", "REQ/S", "ERRORS", "P50", "P99", "BYTES", "PARSED", "RESENT",
        "FAILED", "DROPPED", "RTT",
    ];
    let mut table = Table::new(&header);
    // How much of all its traffic is understood tells how far its figures can be trusted.
    let parsed = |name: &str| {
        let callee = map.services.iter().find(|s| &*s.service == name);
        percent(callee.and_then(|s| s.capture.ratio))
    };
    for e in &map.edges {
        let [rate, errors, p50, p99] = golden_cells(&e.golden);
        table.row(&[
            &e.client,
            &e.server,
            &e.port.to_string(),
            &rate,
            &errors,
            &p50,
            &p99,
            &bytes((e.request_bytes + e.response_bytes) as f64),
            &parsed(&e.server),
            &e.retransmits.to_string(),
            &e.failed_connects.to_string(),
            &e.drops.to_string(),
            &seconds(e.rtt_p50),
        ]);
    }
    or_nothing(&table, "no edge was seen yet")
}

fn top_table(top: &Top) -> String {
    let header = [
        "INSTANCE",
        "SERVICE",
        "REQ/S",
        "ERRORS",
        "P50",
        "P99",
        "PARSED",
        "CPU",
        "LIMIT",
        "THROTTLED",
        "CPU WAIT",
        "MEMORY",
        "FILES",
        "A REQUEST'S TIME",
    ];
    let mut table = Table::new(&header);
    let number = |v: Option<f64>| v.map_or_else(|| "-".into(), |v| format!("{v:.2}"));
    for r in &top.rows {
        let golden = r.inbound.as_ref().map(golden_cells);
        let [rate, errors, p50, p99] =
            golden.unwrap_or_else(|| ["-", "-", "-", "-"].map(ToOwned::to_owned));
        let of = |used: Option<f64>, limit: Option<f64>, show: &dyn Fn(f64) -> String| {
            used.map_or_else(
                || "-".into(),
                |u| limit.map_or_else(|| show(u), |l| format!("{}/{}", show(u), show(l))),
            )
        };
        table.row(&[
            &r.instance,
            &r.service,
            &rate,
            &errors,
            &p50,
            &p99,
            &percent(r.coverage),
            &number(r.cpu),
            &number(r.cpu_limit),
            &percent(r.throttled),
            &number(r.cpu_wait),
            &of(r.memory, r.memory_limit, &bytes),
            &of(r.fds, r.fd_limit, &|v| format!("{v:.0}")),
            &r.spent.as_ref().map_or_else(|| "-".into(), spent),
        ]);
    }
    or_nothing(&table, "no instance was seen yet")
}

/// A word where the protocol gives one; most give none to what went well.
pub(super) fn status_cell(code: Option<&str>, status: Option<u16>) -> String {
    match (code, status) {
        (Some(code), _) => code.to_string(),
        (None, None) => "unanswered".into(),
        (None, Some(0)) => "ok".into(),
        (None, Some(status)) => status.to_string(),
    }
}

/// Parts of a request's time that are left out of a line: less than a fiftieth.
const TOO_SMALL: f64 = 0.02;

/// "of 48.0ms: 31.0ms throttled, 9.0ms waiting for a CPU, 8.0ms work", the largest first.
fn spent(spent: &Spent) -> String {
    let mut parts = [
        (spent.throttled, "throttled"),
        (spent.queued, "waiting for a CPU"),
        (spent.unread, "unread"),
        (spent.work, "work"),
        (Some(spent.send - spent.buffered.unwrap_or(0.0)), "sending"),
        (spent.buffered, "in the send buffer"),
        (Some(spent.unknown), "waits not seen here"),
    ];
    parts.sort_by(|a, b| b.0.unwrap_or(0.0).total_cmp(&a.0.unwrap_or(0.0)));
    let told = parts.iter().filter(|(time, _)| time.is_some_and(|t| t > TOO_SMALL * spent.total));
    let words: Vec<_> = told.map(|(time, what)| format!("{} {what}", seconds(*time))).collect();
    let mut line = format!("of {}: {}", seconds(Some(spent.total)), words.join(", "));
    let outside =
        [(spent.device, "before it from the device"), (spent.qdisc, "after it to the device")];
    for (time, what) in outside {
        if let Some(time) = time.filter(|t| *t > TOO_SMALL * spent.total) {
            let _ = write!(line, "; {} {what}", seconds(Some(time)));
        }
    }
    line
}

fn requests_table(view: &RequestsView) -> String {
    let header =
        ["FROM", "TO", "PROTOCOL", "METHOD", "ROUTE", "STATUS", "COUNT", "REQ/S", "P50", "P99"];
    let mut table = Table::new(&header);
    for r in &view.routes {
        let status = status_cell(r.code.as_deref(), r.status);
        table.row(&[
            &r.client,
            &r.server,
            r.protocol.name(),
            &r.method,
            &r.route,
            &status,
            &r.count.to_string(),
            &format!("{:.1}", r.rate),
            &seconds(r.latency.as_ref().map(|l| l.p50)),
            &seconds(r.latency.as_ref().map(|l| l.p99)),
        ]);
    }
    or_nothing(&table, "no request was seen yet")
}

fn flows_table(view: &Flows) -> String {
    let header = [
        "FROM", "TO", "ADDRESS", "VIA", "BYTES", "PACKETS", "OPEN", "CONNECTS", "FAILED", "RESENT",
        "RESETS", "DROPS", "RTT",
    ];
    let mut table = Table::new(&header);
    let counts = |all: &std::collections::BTreeMap<taproot_model::Name, u64>| {
        let parts: Vec<String> = all.iter().map(|(name, n)| format!("{name}={n}")).collect();
        if parts.is_empty() { "-".into() } else { parts.join(",") }
    };
    for f in &view.flows {
        let via: Vec<String> = f.via.iter().map(ToString::to_string).collect();
        table.row(&[
            &f.client.instance,
            &f.server.instance,
            &f.server.addr.to_string(),
            &if via.is_empty() { "-".into() } else { via.join(",") },
            &bytes((f.request_bytes + f.response_bytes) as f64),
            &(f.request_packets + f.response_packets).to_string(),
            &f.open.to_string(),
            &f.connects.to_string(),
            &counts(&f.failed_connects),
            &f.retransmits.to_string(),
            &(f.client_resets + f.server_resets).to_string(),
            &counts(&f.drops),
            &seconds(f.rtt_p50),
        ]);
    }
    or_nothing(&table, "no connection was seen yet")
}

fn or_nothing(table: &Table, nothing: &str) -> String {
    if table.len() == 0 { format!("{nothing}\n") } else { table.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requests_time_reads_as_a_sentence() {
        let mut seen = Spent {
            rate: 1.0,
            total: 0.048,
            throttled: Some(0.031),
            queued: Some(0.009),
            unread: Some(0.0),
            work: Some(0.008),
            send: 0.000_01,
            buffered: None,
            device: Some(0.000_01),
            qdisc: None,
            unknown: 0.0,
        };
        let line = "of 48.0ms: 31.0ms throttled, 9.0ms waiting for a CPU, 8.0ms work";
        assert_eq!(spent(&seen), line);
        (seen.throttled, seen.queued, seen.unread, seen.work) = (None, None, None, None);
        seen.unknown = 0.048;
        assert_eq!(spent(&seen), "of 48.0ms: 48.0ms waits not seen here");
        (seen.send, seen.buffered, seen.unknown) = (0.048, Some(0.040), 0.0);
        seen.qdisc = Some(0.070);
        let line =
            "of 48.0ms: 40.0ms in the send buffer, 8.0ms sending; 70.0ms after it to the device";
        assert_eq!(spent(&seen), line);
    }
}
