//! Reading the edges: the kernel reports those that changed, we keep where each stood.

use std::collections::{BTreeMap, HashMap};

use super::delta::{EdgeDelta, Seen};
use super::skeleton::types::{flow_edge, flow_failure_key, flow_key, flow_packets, flow_report};
use super::{FlowCollector, raw, run};
use crate::maps::entries;
use crate::{Result, as_bytes, from_bytes};

/// Failed connects: edge to errno to count.
type Failures = HashMap<Vec<u8>, BTreeMap<u32, u64>>;

impl FlowCollector {
    /// Edges on which something happened since the last look, or that are open.
    pub(super) fn read_edges(&mut self) -> Result<Vec<EdgeDelta>> {
        let failures = self.read_failures()?;
        let written = run(&self.report, "reading edges")?;
        let mut out = Vec::new();
        for report in written.chunks_exact(size_of::<flow_report>()).filter_map(from_bytes) {
            let report: flow_report = report;
            let id = as_bytes(&report.key);
            let seen = self.edges.entry(id.to_vec()).or_default();
            seen.told = self.polls;
            seen.syn_only = report.edge.syn_only != 0;
            let delta = seen.advance(&report, failures.get(id));
            // What was added while it was reported is told again, once.
            out.extend(Some(delta).filter(EdgeDelta::is_worth_telling));
        }
        let syn_only = self.edges.values().filter(|seen| seen.syn_only).count();
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            bss.syn_only = syn_only as u32;
        }
        Ok(out)
    }

    /// Takes edges that were silent for long out of the kernel's maps. What one gained
    /// since the last look comes out with it.
    pub(super) fn forget_idle(&mut self) -> Result<Vec<EdgeDelta>> {
        let failures = self.read_failures()?;
        let long_ago = self.polls.saturating_sub(self.options.idle_polls);
        let idle: Vec<Vec<u8>> = self
            .edges
            .iter()
            .filter(|(_, s)| s.told < long_ago)
            .map(|(id, _)| id.clone())
            .collect();
        let gone = idle.iter().filter_map(|id| self.forget(id, failures.get(id)));
        Ok(gone.filter(EdgeDelta::is_worth_telling).collect())
    }

    fn forget(&mut self, id: &[u8], failures: Option<&BTreeMap<u32, u64>>) -> Option<EdgeDelta> {
        let mut seen: Seen = self.edges.remove(id)?;
        let key: flow_key = from_bytes(id)?;
        for &error in failures.into_iter().flat_map(BTreeMap::keys) {
            let failure = flow_failure_key { edge: key, error, pad: 0 };
            raw::remove::<_, u64>(&self.skel.maps.failures, &failure);
        }
        let edge: flow_edge = raw::remove(&self.skel.maps.edges, &key)?;
        let packets: Option<flow_packets> = raw::remove(&self.skel.maps.packets, &edge.packets);
        let packets = packets.or_else(|| from_bytes(&[0; size_of::<flow_packets>()]))?;
        Some(seen.advance(&flow_report { key, edge, packets }, failures))
    }

    fn read_failures(&self) -> Result<Failures> {
        let mut out = Failures::new();
        for (key, count) in entries::<flow_failure_key, u64>(&self.skel.maps.failures)? {
            out.entry(as_bytes(&key.edge).to_vec()).or_default().insert(key.error, count);
        }
        Ok(out)
    }
}
