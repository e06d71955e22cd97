//! Where the time of requests went, as the kernel sums it up.

use std::ops::AddAssign;

use super::skeleton::types::{http_outside, http_send, http_stage, http_stages};

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

/// From the first byte of an answer to its last, nanoseconds.
///
/// What is in neither `buffered` nor `unknown` is the program that was still writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Send {
    /// All of it.
    pub total: u64,
    /// What the program had written waited in the socket: for the receiver's window, for
    /// the congestion window, or to be paced.
    pub buffered: u64,
    /// It is not known when the program wrote what left at the end of this time.
    pub unknown: u64,
}

impl Send {
    /// What is known to be the program's own: it had not written more yet.
    pub fn rest(&self) -> u64 {
        self.total.saturating_sub(self.buffered + self.unknown)
    }

    fn since(self, before: Self) -> Self {
        Self {
            total: self.total.saturating_sub(before.total),
            buffered: self.buffered.saturating_sub(before.buffered),
            unknown: self.unknown.saturating_sub(before.unknown),
        }
    }
}

impl AddAssign for Send {
    fn add_assign(&mut self, other: Self) {
        self.total += other.total;
        self.buffered += other.buffered;
        self.unknown += other.unknown;
    }
}

impl From<&http_send> for Send {
    fn from(raw: &http_send) -> Self {
        Self { total: raw.total, buffered: raw.buffered, unknown: raw.unknown }
    }
}

/// Time before requests reached their socket, or after their answers left it: no part of
/// their latency, and not seen of every request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Nanoseconds.
    pub total: u64,
    /// Of so many requests.
    pub seen: u64,
}

impl Outside {
    /// Of one request: how long; `None` where that was not seen.
    pub fn of_one(&self) -> Option<u64> {
        (self.seen > 0).then_some(self.total)
    }

    fn since(self, before: Self) -> Self {
        Self {
            total: self.total.saturating_sub(before.total),
            seen: self.seen.saturating_sub(before.seen),
        }
    }
}

impl AddAssign for Outside {
    fn add_assign(&mut self, other: Self) {
        self.total += other.total;
        self.seen += other.seen;
    }
}

impl From<&http_outside> for Outside {
    fn from(raw: &http_outside) -> Self {
        Self { total: raw.total, seen: raw.seen }
    }
}

/// The stages of one request, or their sums over `count` requests. The three totals make
/// up the latency of these requests; `device` comes before it, and `qdisc` after it.
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
    pub send: Send,
    /// At a server: from the device's handing over the packet in which the request begins
    /// to its arrival at the socket. Not seen of pipelined requests.
    pub device: Outside,
    /// At a server: from the answer's last packet leaving the socket to its being handed
    /// to the device. Not seen where the packet was cut up or lost on the way.
    pub qdisc: Outside,
}

impl AddAssign for Stages {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.receive += other.receive;
        self.service += other.service;
        self.send += other.send;
        self.device += other.device;
        self.qdisc += other.qdisc;
    }
}

impl Stages {
    /// What the kernel has summed up for `count` requests.
    pub(super) fn of(count: u64, raw: &http_stages) -> Self {
        Self {
            count,
            receive: Stage::from(&raw.receive),
            service: Stage::from(&raw.service),
            send: Send::from(&raw.send),
            device: Outside::from(&raw.device),
            qdisc: Outside::from(&raw.qdisc),
        }
    }

    /// The growth of these sums since they were `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            count: self.count.saturating_sub(before.count),
            receive: self.receive.since(before.receive),
            service: self.service.since(before.service),
            send: self.send.since(before.send),
            device: self.device.since(before.device),
            qdisc: self.qdisc.since(before.qdisc),
        }
    }
}
