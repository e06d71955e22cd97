use crate::{Observer, SeriesKey, World};
use serde::Serialize;
use std::collections::BTreeMap;
use taproot_model::{EntityId, Protocol, Span, Transport, metric};

/// How much of what went over sockets was understood, bytes of TCP payload in both
/// directions. What is left of `socket_bytes` was not looked at: connections that were
/// given up as unknown, or outside of the payload's scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Capture {
    /// As the sockets count it.
    pub socket_bytes: u64,
    /// In messages that were understood.
    pub parsed_bytes: u64,
    /// Seen, but in no message that is known.
    pub unknown_bytes: u64,
    /// Never seen, not copied, or thrown away for want of room.
    pub unseen_bytes: u64,
    /// Inside of TLS whose library has no symbols, or could not be asked.
    pub encrypted_bytes: u64,
    /// Parsed over socket bytes, at most 1; `null` without socket bytes.
    pub ratio: Option<f64>,
}

impl Capture {
    /// Adds another instance's.
    pub(super) fn add(&mut self, other: &Self) {
        self.socket_bytes += other.socket_bytes;
        self.parsed_bytes += other.parsed_bytes;
        self.unknown_bytes += other.unknown_bytes;
        self.unseen_bytes += other.unseen_bytes;
        self.encrypted_bytes += other.encrypted_bytes;
    }

    /// The same with its ratio.
    pub(super) fn finished(mut self) -> Self {
        let ratio = self.parsed_bytes as f64 / self.socket_bytes as f64;
        self.ratio = (self.socket_bytes > 0).then_some(ratio.min(1.0));
        self
    }
}

/// What was understood of each instance's traffic within `span`; without ratios.
pub(super) fn captures(world: &World, span: Span) -> BTreeMap<EntityId, Capture> {
    let mut out = BTreeMap::<EntityId, Capture>::new();
    for edge in world.edges().filter(|edge| edge.key.transport == Transport::Tcp) {
        for (observer, own) in
            [(Observer::Client, &edge.key.client), (Observer::Server, &edge.key.server)]
        {
            if !edge.seen_by(observer) {
                continue;
            }
            let flow = world.flow(edge.key, observer, span);
            let capture = out.entry(own.clone()).or_default();
            capture.socket_bytes += flow.request_bytes + flow.response_bytes;
            for (key, totals) in world.requests(edge.key, observer, span) {
                if key.protocol == Protocol::Http {
                    capture.parsed_bytes += totals.request_bytes + totals.response_bytes;
                }
            }
        }
    }
    for (entity, capture) in &mut out {
        let bytes = |state: &str| {
            let key = SeriesKey { name: metric::CAPTURE_BYTES.into(), attribute: state.into() };
            world.metric(entity, &key, span).map_or(0, |series| series.total() as u64)
        };
        capture.parsed_bytes += bytes("state=parsed");
        capture.unknown_bytes = bytes("state=unknown");
        capture.unseen_bytes = bytes("state=unseen");
        capture.encrypted_bytes = bytes("state=encrypted");
    }
    out
}
