//! Reading the drops: the kernel reports those that were added to.

use taproot_model::Name;

use super::delta::{DropDelta, DropEnds};
use super::raw::{address, transport};
use super::skeleton::types::{flow_drop, flow_drop_key, flow_drop_report};
use super::{FlowCollector, raw, run};
use crate::{Result, as_bytes, from_bytes};

/// How many there were, and the poll that last told of it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    count: u64,
    told: u32,
}

impl FlowCollector {
    /// Packets dropped since the last look.
    pub(super) fn read_drops(&mut self) -> Result<Vec<DropDelta>> {
        let Some(link) = &self.report_drops else { return Ok(Vec::new()) };
        let written = run(link, "reading drops")?;
        let mut out = Vec::new();
        for report in written.chunks_exact(size_of::<flow_drop_report>()).filter_map(from_bytes) {
            let flow_drop_report { key, drop } = report;
            let seen = self.drops.entry(as_bytes(&key).to_vec()).or_default();
            let count = drop.count.saturating_sub(seen.count);
            *seen = Seen { count: drop.count, told: self.polls };
            if count > 0 {
                out.push(DropDelta::of(&key, &drop, self.reasons.name(key.reason), count));
            }
        }
        Ok(out)
    }

    /// Takes entries that nothing was added to for long out of the kernel's map. What
    /// was added at the last moment comes out with it.
    pub(super) fn forget_idle_drops(&mut self) -> Vec<DropDelta> {
        let long_ago = self.polls.saturating_sub(self.options.idle_polls);
        let idle: Vec<(Vec<u8>, Seen)> = self.drops.extract_if(|_, s| s.told < long_ago).collect();
        let last = idle.into_iter().filter_map(|(id, seen)| {
            let key: flow_drop_key = from_bytes(&id)?;
            let drop: flow_drop = raw::remove(&self.skel.maps.drops, &key)?;
            let count = drop.count.saturating_sub(seen.count);
            (count > 0).then(|| DropDelta::of(&key, &drop, self.reasons.name(key.reason), count))
        });
        last.collect()
    }
}

impl DropEnds {
    pub(super) fn of(key: &flow_drop_key) -> Option<Self> {
        (key.port != 0).then(|| Self {
            client: address(key.client),
            server: address(key.server),
            port: key.port,
            transport: transport(key.proto),
            to_server: key.to_server != 0,
        })
    }
}

impl DropDelta {
    pub(super) fn of(key: &flow_drop_key, value: &flow_drop, reason: Name, count: u64) -> Self {
        Self {
            netns: key.netns,
            netns_inode: value.netns_inum,
            ends: DropEnds::of(key),
            reason,
            count,
            location: value.location,
        }
    }
}
