use crate::{Observer, SeriesKey, World};
use serde::Serialize;
use std::collections::BTreeMap;
use taproot_model::{EntityId, Protocol, Span, Transport, metric};

/// How much of what went over sockets was understood, bytes of TCP payload in both
/// directions, and how many requests were left without an answer.
///
/// What a program hands over by `sendfile`, `splice` or `io_uring` passes the socket as
/// everything else does, so these are never a reason why something was not seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Capture {
    /// As the sockets count it.
    pub socket_bytes: u64,
    /// In messages that were understood.
    pub parsed_bytes: u64,
    /// Seen, but in no message that is known.
    pub unknown_bytes: u64,
    /// Never seen, not copied, or thrown away for want of room; the sum of `unseen`.
    pub unseen_bytes: u64,
    /// The same by reason.
    pub unseen: Unseen,
    /// Inside of TLS whose library has no symbols, or could not be asked.
    pub encrypted_bytes: u64,
    /// What is left of `socket_bytes`: of connections that were given up as unknown, or
    /// outside of the payload's scope.
    pub unwatched_bytes: u64,
    /// Requests that were made or served.
    pub requests: u64,
    /// Of them those without an answer.
    pub unanswered: u64,
    /// Parsed over socket bytes, at most 1; `null` without socket bytes.
    pub ratio: Option<f64>,
}

/// Bytes that were never seen, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unseen {
    /// The ring to user space was full.
    pub ring_full_bytes: u64,
    /// Seen to pass, but not copied: beyond 256 KiB of a segment, or of 4 MiB before it
    /// was known what is spoken.
    pub truncated_bytes: u64,
    /// Passed before the connection was watched, or was lost in another way.
    pub gap_bytes: u64,
    /// Thrown away because a stream held all it may.
    pub no_room_bytes: u64,
}

impl Unseen {
    fn sum(&self) -> u64 {
        self.ring_full_bytes + self.truncated_bytes + self.gap_bytes + self.no_room_bytes
    }

    fn add(&mut self, other: &Self) {
        self.ring_full_bytes += other.ring_full_bytes;
        self.truncated_bytes += other.truncated_bytes;
        self.gap_bytes += other.gap_bytes;
        self.no_room_bytes += other.no_room_bytes;
    }
}

impl Capture {
    /// Adds another instance's.
    pub(super) fn add(&mut self, other: &Self) {
        self.socket_bytes += other.socket_bytes;
        self.parsed_bytes += other.parsed_bytes;
        self.unknown_bytes += other.unknown_bytes;
        self.unseen.add(&other.unseen);
        self.encrypted_bytes += other.encrypted_bytes;
        self.requests += other.requests;
        self.unanswered += other.unanswered;
    }

    /// The same with what follows from it.
    pub(super) fn finished(mut self) -> Self {
        let ratio = self.parsed_bytes as f64 / self.socket_bytes as f64;
        self.ratio = (self.socket_bytes > 0).then_some(ratio.min(1.0));
        self.unseen_bytes = self.unseen.sum();
        let looked_at =
            self.parsed_bytes + self.unknown_bytes + self.unseen_bytes + self.encrypted_bytes;
        self.unwatched_bytes = self.socket_bytes.saturating_sub(looked_at);
        self
    }
}

/// What was understood of each instance's traffic within `span`; not
/// [finished](Capture::finished).
pub(super) fn captures(world: &World, span: Span) -> BTreeMap<EntityId, Capture> {
    let mut out = BTreeMap::<EntityId, Capture>::new();
    for edge in world.edges() {
        for (observer, own) in
            [(Observer::Client, &edge.key.client), (Observer::Server, &edge.key.server)]
        {
            if !edge.seen_by(observer) {
                continue;
            }
            let tcp = edge.key.transport == Transport::Tcp;
            let capture = out.entry(own.clone()).or_default();
            if tcp {
                let flow = world.flow(edge.key, observer, span);
                capture.socket_bytes += flow.request_bytes + flow.response_bytes;
            }
            for (key, totals) in world.requests(edge.key, observer, span) {
                if key.protocol == Protocol::Http && tcp {
                    capture.parsed_bytes += totals.request_bytes + totals.response_bytes;
                }
                capture.requests += totals.count;
                capture.unanswered += if key.unanswered() { totals.count } else { 0 };
            }
        }
    }
    for (entity, capture) in &mut out {
        let bytes = |state: &str| {
            let attribute = format!("state={state}").into();
            let key = SeriesKey { name: metric::CAPTURE_BYTES.into(), attribute };
            world.metric(entity, &key, span).map_or(0, |series| series.total() as u64)
        };
        capture.parsed_bytes += bytes("parsed");
        capture.unknown_bytes = bytes("unknown");
        capture.encrypted_bytes = bytes("encrypted");
        capture.unseen = Unseen {
            ring_full_bytes: bytes("ring_full"),
            truncated_bytes: bytes("truncated"),
            gap_bytes: bytes("gap"),
            no_room_bytes: bytes("no_room"),
        };
    }
    out
}
