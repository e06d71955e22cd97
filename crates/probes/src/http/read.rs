//! The kernel's records as Rust types.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use taproot_model::Histogram;

use super::Stages;
use super::skeleton::types::{http_key, http_sample, http_value};

/// First histogram slot of the kernel side (`HTTP_FIRST_BUCKET`).
const FIRST_BUCKET: u16 = 80;

/// Request method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method(pub u8);

impl Method {
    /// `http.request.method`; `_OTHER` for words outside the known set.
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 11] = [
            "_OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE",
            "CONNECT", "_OTHER",
        ];
        NAMES.get(usize::from(self.0)).copied().unwrap_or("_OTHER")
    }
}

/// Which end of the connection the observed socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It sends requests.
    Client,
    /// It answers them.
    Server,
}

/// What requests are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Cookie of the network namespace.
    pub netns: u64,
    /// Control group (v2 id) that owns the socket.
    pub cgroup: u64,
    /// Hash of the normalised path; 0 when routes were merged for want of room.
    pub route: u64,
    /// Own address.
    pub local: IpAddr,
    /// Peer's address.
    pub remote: IpAddr,
    /// Port of the server end.
    pub port: u16,
    /// Status; 0 for unanswered.
    pub status: u16,
    /// Method.
    pub method: Method,
    /// Which end this is.
    pub role: Role,
}

impl From<&http_key> for Key {
    fn from(raw: &http_key) -> Self {
        Self {
            netns: raw.netns,
            cgroup: raw.cgroup,
            route: raw.route,
            local: address(raw.family, &raw.local),
            remote: address(raw.family, &raw.remote),
            port: raw.port,
            status: raw.status,
            method: Method(raw.method),
            role: if raw.role == 1 { Role::Client } else { Role::Server },
        }
    }
}

impl Key {
    /// The key as the kernel holds it. IPv4-mapped addresses stay IPv6.
    pub(super) fn to_raw(self) -> http_key {
        let (family, local) = bytes(self.local);
        let (_, remote) = bytes(self.remote);
        http_key {
            netns: self.netns,
            cgroup: self.cgroup,
            route: self.route,
            local,
            remote,
            port: self.port,
            status: self.status,
            method: self.method.0,
            role: if self.role == Role::Client { 1 } else { 2 },
            family,
            pad: 0,
        }
    }
}

fn address(family: u8, bytes: &[u8; 16]) -> IpAddr {
    if family == 2 {
        IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
    } else {
        IpAddr::V6(Ipv6Addr::from(*bytes))
    }
}

fn bytes(address: IpAddr) -> (u8, [u8; 16]) {
    match address {
        IpAddr::V4(v4) => {
            let mut out = [0; 16];
            out[..4].copy_from_slice(&v4.octets());
            (2, out)
        }
        IpAddr::V6(v6) => (10, v6.octets()),
    }
}

/// Requests of one key since the last poll.
#[derive(Clone, Debug)]
pub struct Delta {
    /// The key.
    pub key: Key,
    /// How many ended; 0 where only [`Stages::qdisc`] of earlier ones was learned.
    pub count: u64,
    /// Request bytes, heads included.
    pub request_bytes: u64,
    /// Response bytes, heads included.
    pub response_bytes: u64,
    /// First byte of the request to last byte of the response.
    pub latency: Histogram,
    /// Where that time went, of those requests whose stages were seen.
    pub stages: Stages,
}

/// Totals at the last poll.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    count: u64,
    request_bytes: u64,
    response_bytes: u64,
    latency_sum: u64,
    stages: Stages,
    buckets: Vec<u32>,
}

impl Counts {
    /// Whether anything was counted since. What an answer waited for its device is told
    /// after the request itself.
    pub(super) fn differs(&self, now: &http_value) -> bool {
        now.count > self.count || now.stages.qdisc.seen > self.stages.qdisc.seen
    }

    /// The difference to `now`, which becomes the new state.
    pub(super) fn advance(&mut self, key: Key, now: &http_value) -> Delta {
        self.buckets.resize(now.buckets.len(), 0);
        let pairs = now.buckets.iter().zip(&self.buckets).enumerate();
        let buckets = pairs.map(|(slot, (new, old))| {
            (FIRST_BUCKET + slot as u16, u64::from(new.wrapping_sub(*old)))
        });
        let sum = now.latency_sum.saturating_sub(self.latency_sum);
        let stages = Stages::of(now.staged, &now.stages);
        let delta = Delta {
            key,
            count: now.count - self.count,
            request_bytes: now.request_bytes.saturating_sub(self.request_bytes),
            response_bytes: now.response_bytes.saturating_sub(self.response_bytes),
            latency: Histogram::from_buckets(buckets, sum),
            stages: stages.since(self.stages),
        };
        self.count = now.count;
        self.request_bytes = now.request_bytes;
        self.response_bytes = now.response_bytes;
        self.latency_sum = now.latency_sum;
        self.stages = stages;
        self.buckets.copy_from_slice(&now.buckets);
        delta
    }
}

/// One request in full.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When it began: `CLOCK_MONOTONIC`, nanoseconds.
    pub start: u64,
    /// Nanoseconds to the first byte of the response; 0 when none came.
    pub first_byte: u64,
    /// Nanoseconds to its end.
    pub duration: u64,
    /// What it is counted under.
    pub key: Key,
    /// Port of the ephemeral end.
    pub peer_port: u16,
    /// Request bytes.
    pub request_bytes: u32,
    /// Response bytes.
    pub response_bytes: u32,
    /// Where its time went; `None` where that was not seen.
    pub stages: Option<Stages>,
    /// What tells the request: the same in its sample at its client and at its server.
    pub request: u64,
    /// The request that the thread which sent this one was serving, and nothing else;
    /// `None` where that is not proved. Only at a client.
    pub cause: Option<u64>,
    /// Value of its `traceparent` header; empty without one, and when pipelined.
    pub traceparent: String,
    /// Path as sent up to its query string, at most 96 bytes; empty when pipelined.
    pub path: String,
}

impl From<&http_sample> for Sample {
    fn from(raw: &http_sample) -> Self {
        let text = |bytes: &[u8], length: usize| {
            String::from_utf8_lossy(&bytes[..length.min(bytes.len())]).into_owned()
        };
        Self {
            start: raw.start,
            first_byte: raw.first_byte,
            duration: raw.duration,
            key: Key::from(&raw.key),
            peer_port: raw.peer_port,
            request_bytes: raw.request_bytes,
            response_bytes: raw.response_bytes,
            stages: (raw.staged != 0).then(|| Stages::of(1, &raw.stages)),
            request: raw.request,
            cause: (raw.cause != 0).then_some(raw.cause),
            traceparent: text(&raw.context, raw.context_length as usize),
            path: text(&raw.path, usize::from(raw.path_length)),
        }
    }
}
