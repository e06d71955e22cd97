//! Whose packets, where no header tells.

use std::net::{IpAddr, SocketAddr};

use libbpf_rs::{MapCore, MapFlags};

use super::skeleton::types::{trace_leg, trace_owner};
use crate::{Error, Result, as_bytes};

/// Somebody whose sockets are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A process, by its id as the node sees it. Its sockets are known by what it does
    /// with them in its own system calls.
    Process(u32),
    /// A control group of the v2 tree, by its id, without those below it. Its sockets
    /// are those that were made in it.
    Cgroup(u64),
}

/// A conversation of two ends, in whichever direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Leg {
    /// One end.
    pub local: SocketAddr,
    /// The other.
    pub peer: SocketAddr,
    /// IP protocol number.
    pub protocol: u8,
}

impl Owner {
    fn to_raw(self) -> trace_owner {
        // `enum trace_owner_kind`.
        let (kind, id) = match self {
            Self::Process(pid) => (1, u64::from(pid)),
            Self::Cgroup(id) => (2, id),
        };
        trace_owner { id, kind, pad: 0 }
    }
}

impl Leg {
    /// As `leg_of` in `follow.bpf.h` makes it of a packet.
    fn to_raw(self) -> trace_leg {
        let end = |at: SocketAddr| (folded(at.ip().to_canonical()), at.port());
        let (low, high) =
            (end(self.local).min(end(self.peer)), end(self.local).max(end(self.peer)));
        trace_leg {
            low_address: low.0,
            high_address: high.0,
            low_port: low.1,
            high_port: high.1,
            protocol: u32::from(self.protocol),
        }
    }
}

fn folded(ip: IpAddr) -> u32 {
    match ip {
        IpAddr::V4(v4) => v4.to_bits(),
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            (0..4).fold(0, |sum, word| sum ^ (bits >> (32 * word)) as u32)
        }
    }
}

/// Tells the kernel who is asked for.
pub(super) fn enter(map: &impl MapCore, owners: &[Owner]) -> Result<()> {
    for owner in owners {
        map.update(as_bytes(&owner.to_raw()), &[1], MapFlags::ANY)
            .map_err(Error::bpf("naming whose packets are traced (at most 1024)"))?;
    }
    Ok(())
}

/// Tells the kernel which conversations are followed, and returns how many.
pub(super) fn follow(map: &impl MapCore, legs: &[Leg]) -> Result<u32> {
    for leg in legs {
        map.update(as_bytes(&leg.to_raw()), &[1], MapFlags::ANY)
            .map_err(Error::bpf("naming the conversations that are traced"))?;
    }
    Ok(legs.len() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(local: &str, peer: &str) -> (u32, u32, u16, u16) {
        let end = |text: &str| text.parse().expect("an end");
        let raw = Leg { local: end(local), peer: end(peer), protocol: 6 }.to_raw();
        (raw.low_address, raw.high_address, raw.low_port, raw.high_port)
    }

    #[test]
    fn both_directions_are_one_leg() {
        let one = leg("10.0.0.2:80", "10.0.0.1:4000");
        assert_eq!(one, (0x0a00_0001, 0x0a00_0002, 4000, 80));
        assert_eq!(one, leg("10.0.0.1:4000", "10.0.0.2:80"));
        assert_eq!(leg("10.0.0.1:9", "10.0.0.1:7"), (0x0a00_0001, 0x0a00_0001, 7, 9));
    }

    #[test]
    fn addresses_of_version_six_are_folded_and_mapped_ones_are_plain() {
        let (low, ..) = leg("[1:0:2:0:4:0:8:1]:1", "[ffff::]:2");
        assert_eq!(low, 0x0001_0000 ^ 0x0002_0000 ^ 0x0004_0000 ^ 0x0008_0001);
        assert_eq!(
            leg("[::ffff:10.0.0.1]:1", "[::ffff:10.0.0.2]:2"),
            leg("10.0.0.1:1", "10.0.0.2:2")
        );
    }
}
