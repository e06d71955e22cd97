//! Where the time of requests went, as the kernel sums it up.

use std::ops::AddAssign;

use super::skeleton::types::{http_stage, http_stages};

/// A part of the time of one request or of several, nanoseconds.
///
/// What is in none of `queued`, `throttled` and `unknown` is the thread's work and its
/// waiting for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// All of it.
    pub total: u64,
    /// The thread could have run, but others had the CPU.
    pub queued: u64,
    /// The thread could have run, but its CPU quota was used up.
    pub throttled: u64,
    /// It is not known what the thread waited: nobody watched it yet, it waited more
    /// often than is kept, or another thread answered.
    pub unknown: u64,
}

impl Stage {
    /// What is known to be neither waiting for a CPU nor being stopped: the thread's work
    /// and its waiting for others.
    pub fn rest(&self) -> u64 {
        self.total.saturating_sub(self.queued + self.throttled + self.unknown)
    }

    fn since(self, before: Self) -> Self {
        Self {
            total: self.total.saturating_sub(before.total),
            queued: self.queued.saturating_sub(before.queued),
            throttled: self.throttled.saturating_sub(before.throttled),
            unknown: self.unknown.saturating_sub(before.unknown),
        }
    }
}

impl AddAssign for Stage {
    fn add_assign(&mut self, other: Self) {
        self.total += other.total;
        self.queued += other.queued;
        self.throttled += other.throttled;
        self.unknown += other.unknown;
    }
}

impl From<&http_stage> for Stage {
    fn from(raw: &http_stage) -> Self {
        Self {
            total: raw.total,
            queued: raw.queued,
            throttled: raw.throttled,
            unknown: raw.unknown,
        }
    }
}

/// The stages of one request, or their sums over `count` requests. The three totals make
/// up the latency of these requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// Requests whose stages were seen. At a server that takes a tracepoint at the read,
    /// and that the request was read before it was answered.
    pub count: u64,
    /// At a server: from the arrival of the first byte at the socket until the
    /// application read it. Nothing at a client.
    pub receive: Stage,
    /// At a server: from there to the first byte of the answer. At a client: from the
    /// first byte sent to the first received, which is the network and the peer; only its
    /// total is filled in.
    pub service: Stage,
    /// From the first byte of the answer to its last.
    pub send: u64,
}

impl AddAssign for Stages {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.receive += other.receive;
        self.service += other.service;
        self.send += other.send;
    }
}

impl Stages {
    /// What the kernel has summed up for `count` requests.
    pub(super) fn of(count: u64, raw: &http_stages) -> Self {
        Self {
            count,
            receive: Stage::from(&raw.receive),
            service: Stage::from(&raw.service),
            send: raw.send,
        }
    }

    /// The growth of these sums since they were `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            count: self.count.saturating_sub(before.count),
            receive: self.receive.since(before.receive),
            service: self.service.since(before.service),
            send: self.send.saturating_sub(before.send),
        }
    }
}
