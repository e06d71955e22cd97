//! What the load generator itself counted: the independent ground truth.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Latency counts in buckets whose bounds grow by an eighth of a doubling.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Bucket index to count; bucket `i` holds latencies whose microseconds
    /// `us` give `floor(8 * log2(max(us, 1))) == i`.
    pub buckets: BTreeMap<u32, u64>,
    /// Number of latencies.
    pub count: u64,
    /// Sum in microseconds.
    pub sum_us: u64,
    /// Greatest, in microseconds.
    pub max_us: u64,
}

impl Latency {
    /// Adds one latency in microseconds.
    pub fn add(&mut self, us: u64) {
        let bucket = ((us.max(1) as f64).log2() * 8.0).floor() as u32;
        *self.buckets.entry(bucket).or_default() += 1;
        self.count += 1;
        self.sum_us += us;
        self.max_us = self.max_us.max(us);
    }

    /// Upper bound in microseconds of the bucket that holds the quantile
    /// (at most 9 % above the true value); none when nothing was counted.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let rank = (q * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, n) in &self.buckets {
            seen += n;
            if seen >= rank {
                let upper = 2_f64.powf(f64::from(bucket + 1) / 8.0);
                return Some(upper.min(self.max_us as f64));
            }
        }
        None
    }
}

/// One second of load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Second since the Unix epoch in which the requests ended.
    pub unix_s: u64,
    /// Answers with a status below 400.
    pub ok: u64,
    /// Answers with a status of 400 or more, and calls without an answer.
    pub bad: u64,
    /// Latency from the moment a request was due, so waiting for a free sender counts.
    pub latency: Latency,
}

/// Everything the load generator counted since it started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// When it started, nanoseconds since the Unix epoch.
    pub started_unix_ns: u64,
    /// When this was written, nanoseconds since the Unix epoch.
    pub written_unix_ns: u64,
    /// Requests put on the wire.
    pub sent: u64,
    /// Whole answers received.
    pub answered: u64,
    /// Requests not sent because every sender was busy for over two seconds.
    pub shed: u64,
    /// TCP connections opened.
    pub connections: u64,
    /// Answers by status code.
    pub by_status: BTreeMap<u16, u64>,
    /// Answers by "METHOD route".
    pub by_route: BTreeMap<String, u64>,
    /// Calls without an answer, by kind: connect, timeout, io, protocol.
    pub failures: BTreeMap<String, u64>,
    /// Bytes of request bodies sent.
    pub request_body_bytes: u64,
    /// Bytes of response bodies received.
    pub response_body_bytes: u64,
    /// Latency of all answers, from the moment each request was due.
    pub latency: Latency,
    /// The last ten minutes by second.
    pub seconds: Vec<Second>,
}

impl Load {
    /// Reads the load generator's file of the lab in `state_dir`.
    ///
    /// # Errors
    /// [`Error::Io`] when it is not there (the load has not started yet).
    pub fn read(state_dir: &Path) -> Result<Self> {
        let path = file(state_dir, "loadgen");
        let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
        serde_json::from_slice(&text).map_err(|e| Error::State { path, detail: e.to_string() })
    }

    /// Sum over the seconds that began at or after `unix_s`.
    pub fn since(&self, unix_s: u64) -> Second {
        self.during(unix_s..u64::MAX)
    }

    /// Sum over the seconds that began within the range.
    pub fn during(&self, unix_s: Range<u64>) -> Second {
        let mut sum = Second { unix_s: unix_s.start, ..Second::default() };
        for second in self.seconds.iter().filter(|s| unix_s.contains(&s.unix_s)) {
            sum.ok += second.ok;
            sum.bad += second.bad;
            for (bucket, n) in &second.latency.buckets {
                *sum.latency.buckets.entry(*bucket).or_default() += n;
            }
            sum.latency.count += second.latency.count;
            sum.latency.sum_us += second.latency.sum_us;
            sum.latency.max_us = sum.latency.max_us.max(second.latency.max_us);
        }
        sum
    }
}

/// File in which a pod keeps its own counts.
pub(crate) fn file(state_dir: &Path, pod: &str) -> PathBuf {
    state_dir.join("truth").join(format!("{pod}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_nine_percent() {
        let mut latency = Latency::default();
        assert_eq!(latency.quantile(0.5), None);
        for us in 1..=1000 {
            latency.add(us);
        }
        let p50 = latency.quantile(0.5).unwrap();
        assert!((500.0..=545.0).contains(&p50), "{p50}");
        assert!((latency.quantile(1.0).unwrap() - 1000.0).abs() < f64::EPSILON);
    }

    #[test]
    fn since_adds_up_only_the_later_seconds() {
        let second = |unix_s, ok| {
            let mut latency = Latency::default();
            latency.add(1000 * ok);
            Second { unix_s, ok, bad: 1, latency }
        };
        let load = Load { seconds: vec![second(10, 1), second(11, 2)], ..Load::default() };
        let sum = load.since(11);
        assert_eq!((sum.ok, sum.bad, sum.latency.max_us), (2, 1, 2000));
        let sum = load.during(10..11);
        assert_eq!((sum.ok, sum.bad, sum.latency.max_us), (1, 1, 1000));
    }
}
