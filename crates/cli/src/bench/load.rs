//! Load at full speed, with a fixed number of requests: `ab`.

use anyhow::{Context, Result, bail};

use super::site::Site;

/// How requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Many requests on each of a few connections.
    KeepAlive,
    /// A connection for each request.
    Connection,
    /// Kept connections inside of TLS.
    Tls,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::KeepAlive, Self::Connection, Self::Tls];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::KeepAlive => "keep-alive",
            Self::Connection => "connection",
            Self::Tls => "tls",
        }
    }

    /// Keep-alive is some four times as fast, TLS twice: the same time for all.
    pub(super) fn requests(self, n: u64) -> u64 {
        match self {
            Self::KeepAlive => 4 * n,
            Self::Connection => n,
            Self::Tls => 2 * n,
        }
    }
}

/// What a load reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    pub(super) requests: u64,
    /// Requests a second.
    pub(super) rate: f64,
    /// Time that all CPUs of the machine were busy, µs per request.
    pub(super) machine_us: f64,
    /// CPU time of client and server, with what ran in their names, µs per request.
    pub(super) ends_us: f64,
}

/// Sends `n` requests, or some times as many, over kept connections or one each.
pub(super) fn run(site: &Site, kind: Kind, n: u64) -> Result<Reached> {
    let requests = kind.requests(n);
    let (count, url) = (requests.to_string(), site.url(kind));
    let mut words = vec!["ab", "-q", "-c", "16", "-n", &count];
    if kind != Kind::Connection {
        words.push("-k");
    }
    words.push(&url);
    let (before, ends) = (busy()?, site.cpu()?);
    let out = site.client(&words).output().context("running ab")?;
    let (busy, ends) = (busy()? - before, site.cpu()? - ends);
    let text = String::from_utf8_lossy(&out.stdout);
    let complete = value(&text, "Complete requests:");
    let failed = value(&text, "Failed requests:");
    match (complete, failed, value(&text, "Requests per second:")) {
        (Some(complete), Some(0.0), Some(rate)) => {
            let each = |seconds: f64| seconds * 1e6 / complete;
            let (machine_us, ends_us) = (each(busy), each(ends));
            Ok(Reached { requests: complete as u64, rate, machine_us, ends_us })
        }
        _ => bail!("ab failed: {}{text}", String::from_utf8_lossy(&out.stderr)),
    }
}

/// The number behind a label in ab's report.
fn value(text: &str, label: &str) -> Option<f64> {
    let line = text.lines().find_map(|l| l.strip_prefix(label))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Seconds that the machine's CPUs were not idle, since boot.
fn busy() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    busy_of(&text).context("/proc/stat is not understood")
}

fn busy_of(text: &str) -> Option<f64> {
    let fields: Vec<f64> =
        text.lines().next()?.split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest is part of user.
    let all: f64 = fields.iter().take(8).sum();
    Some((all - fields.get(3)? - fields.get(4)?) / super::taproot::ticks_per_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_report_of_ab() {
        let text = "Complete requests:      50000\nFailed requests:        0\n\
                    Requests per second:    8123.45 [#/sec] (mean)\n";
        assert_eq!(value(text, "Complete requests:"), Some(50_000.0));
        assert_eq!(value(text, "Requests per second:"), Some(8123.45));
        assert_eq!(value(text, "Time taken:"), None);
    }

    #[test]
    fn idle_and_waiting_are_not_busy() {
        let busy = busy_of("cpu  100 50 30 1000 500 10 10 0 70 0\ncpu0 1\n").unwrap();
        assert!((busy * super::super::taproot::ticks_per_second() - 200.0).abs() < 1e-6);
        assert_eq!(busy_of(""), None);
    }
}
