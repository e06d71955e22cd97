//! The meaning of a metric, read from general words in its name.

use serde::Serialize;

/// What a metric is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    /// Time that requests take.
    Latency,
    /// Requests that fail, as a count or a share.
    Errors,
    /// Requests that succeed, as a share: falls when things go wrong.
    Success,
    /// Work that waits: how much, or for how long.
    Queue,
    /// Requests, or load.
    Traffic,
    /// Work of processors.
    Cpu,
    /// Memory in use.
    Memory,
    /// Reads, writes and space of disks.
    Disk,
    /// Bytes, packets, connections.
    Network,
    /// None of these.
    Other,
}

use Aspect::{Cpu, Disk, Errors, Latency, Memory, Network, Queue, Success, Traffic};

/// Words and what they mean, in the order in which they decide: what is measured
/// of requests comes before the resource that a name may also mention.
const WORDS: &[(Aspect, &[&str])] = &[
    (Latency, &["latency", "duration", "rtt", "delay", "lat", "p50", "p90", "p95", "p99"]),
    (Errors, &["error", "fail", "5xx", "exception", "timeout", "abort", "reject"]),
    (Success, &["success", "availability", "available"]),
    (Queue, &["queue", "backlog", "lag", "pending"]),
    (Cpu, &["cpu", "processor", "throttl"]),
    (Memory, &["mem", "memory", "rss", "heap", "oom", "swap", "pgfault", "pgmajfault"]),
    (Disk, &["disk", "fs", "io", "diskio", "blkio", "filesystem", "iops"]),
    (
        Network,
        &[
            "net",
            "network",
            "rx",
            "tx",
            "tcp",
            "socket",
            "packet",
            "bytes",
            "connection",
            "receive",
            "transmit",
        ],
    ),
    (
        Traffic,
        &[
            "request",
            "qps",
            "rps",
            "ops",
            "throughput",
            "traffic",
            "load",
            "lod",
            "workload",
            "calls",
        ],
    ),
];

impl Aspect {
    /// What a metric of this name is about.
    ///
    /// Names are cut into words at everything that is no letter or digit and where
    /// a capital follows a small letter. A word of four letters or more also counts
    /// as the beginning of a longer one ("request" of "requests").
    pub fn of(metric: &str) -> Self {
        let words = words(metric);
        let means = |hint: &str| {
            words.iter().any(|word| word == hint || (hint.len() >= 4 && word.starts_with(hint)))
        };
        WORDS
            .iter()
            .find(|(_, hints)| hints.iter().any(|hint| means(hint)))
            .map_or(Self::Other, |(aspect, _)| *aspect)
    }

    /// Whether it is a resource that can run short. Bytes on a network go up with
    /// the load and are no cause in themselves.
    pub fn is_cause(self) -> bool {
        matches!(self, Cpu | Memory | Disk)
    }
}

fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut small = false;
    for letter in name.chars() {
        if !letter.is_alphanumeric() || (small && letter.is_uppercase()) {
            words.push(String::new());
        }
        small = letter.is_lowercase() || letter.is_numeric();
        if letter.is_alphanumeric() {
            words.last_mut().into_iter().for_each(|word| word.extend(letter.to_lowercase()));
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_convention_are_read() {
        let cases = [
            ("container.cpu.time", Cpu),
            ("CpuUsageRate(%)", Cpu),
            ("carts_lat_99", Latency),
            ("http_server_duration_p99_ms", Latency),
            ("PodServerLatencyP95(s)", Latency),
            ("docker_memory_stats_rss_huge", Memory),
            ("requests", Traffic),
            ("dest_success_rate", Success),
            ("http_5xx_per_sec", Errors),
            ("docker_diskio_read_ops", Disk),
            ("SyscallRead", Aspect::Other),
            ("NodeNetworkReceiveBytes", Network),
            ("user_lod", Traffic),
            ("request_queue_depth", Queue),
            ("ration", Aspect::Other),
            ("", Aspect::Other),
        ];
        for (name, aspect) in cases {
            assert_eq!(Aspect::of(name), aspect, "{name}");
        }
    }
}
