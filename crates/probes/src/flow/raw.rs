//! The kernel's records (`flow.h`) as Rust types.

use std::net::{IpAddr, Ipv6Addr};

use libbpf_rs::{MapCore, MapFlags, MapImpl};
use taproot_model::{Role, Transport};

use super::skeleton::types::{
    flow_drop, flow_drop_key, flow_drop_report, flow_edge, flow_failure_key, flow_key,
    flow_listener, flow_listener_key, flow_packet_key, flow_packets, flow_report,
};
use crate::{Error, Pod, Result, as_bytes, from_bytes};

// SAFETY: generated from flow.h; integers and arrays of integers only.
unsafe impl Pod for flow_key {}
// SAFETY: as above.
unsafe impl Pod for flow_edge {}
// SAFETY: as above.
unsafe impl Pod for flow_packets {}
// SAFETY: as above.
unsafe impl Pod for flow_packet_key {}
// SAFETY: as above.
unsafe impl Pod for flow_report {}
// SAFETY: as above.
unsafe impl Pod for flow_failure_key {}
// SAFETY: as above.
unsafe impl Pod for flow_drop_key {}
// SAFETY: as above.
unsafe impl Pod for flow_drop {}
// SAFETY: as above.
unsafe impl Pod for flow_drop_report {}
// SAFETY: as above.
unsafe impl Pod for flow_listener_key {}
// SAFETY: as above.
unsafe impl Pod for flow_listener {}

/// An edge as one end sees it, with the client's ephemeral port left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeKey {
    /// Cookie of the socket's network namespace.
    pub netns: u64,
    /// Address of the observed end.
    pub local: IpAddr,
    /// Address of the other end.
    pub remote: IpAddr,
    /// Port of the server: local for [`Role::Server`], remote for [`Role::Client`];
    /// local where the role is unknown.
    pub port: u16,
    /// TCP or UDP.
    pub transport: Transport,
    /// Which end was observed.
    pub role: Role,
}

impl EdgeKey {
    pub(super) fn from_raw(raw: &flow_key) -> Self {
        Self {
            netns: raw.netns,
            local: address(raw.local),
            remote: address(raw.remote),
            port: raw.port,
            transport: transport(raw.proto),
            role: match raw.role {
                1 => Role::Client,
                2 => Role::Server,
                _ => Role::Unknown,
            },
        }
    }
}

/// An address out of the kernel's form: IPv6, IPv4 mapped into it.
pub(super) fn address(bytes: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
}

pub(super) fn transport(protocol: u8) -> Transport {
    if protocol == 17 { Transport::Udp } else { Transport::Tcp }
}

/// A counter that every CPU has its own of.
pub(super) fn per_cpu_sum(map: &MapImpl<'_>, index: u32) -> Result<u64> {
    let slots = map
        .lookup_percpu(&index.to_ne_bytes(), MapFlags::ANY)
        .map_err(Error::bpf(format!("reading {}", map.name().to_string_lossy())))?;
    Ok(slots.iter().flatten().filter_map(|bytes| from_bytes::<u64>(bytes)).sum())
}

/// Takes an entry out of a map; `None` when it is not there.
pub(super) fn remove<K: Pod, V: Pod>(map: &MapImpl<'_>, key: &K) -> Option<V> {
    let value = map.lookup_and_delete(as_bytes(key)).ok()??;
    from_bytes(&value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_become_ipv4() {
        let mut bytes = [0; 16];
        bytes[10..].copy_from_slice(&[0xff, 0xff, 10, 1, 2, 3]);
        assert_eq!(address(bytes), IpAddr::from([10, 1, 2, 3]));
        bytes[0] = 0x20;
        assert!(address(bytes).is_ipv6());
    }
}
