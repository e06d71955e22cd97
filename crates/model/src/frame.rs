//! A packet that is not IP: Ethernet's frame, and ARP in it.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// A frame, as far as it was copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Its type. Below 1536 as the kernel numbers frames that have a length instead:
    /// 4 for LLC (spanning tree among it), 1 for IPX as Novell first had it.
    pub ether_type: u16,
    /// Bytes of the whole frame, its header included.
    pub length: u16,
    /// Its first bytes, from the header on.
    pub bytes: Vec<u8>,
}

/// A link address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

/// ARP for Ethernet and IPv4 (RFC 826), or RARP (RFC 903).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// 1: who has the target's address? 2: the sender has its own.
    pub operation: u16,
    /// Link address of who speaks.
    pub sender: Mac,
    /// Its address; unspecified where it has none yet.
    pub sender_address: Ipv4Addr,
    /// Link address of who is spoken to; zeros in a question.
    pub target: Mac,
    /// Its address.
    pub target_address: Ipv4Addr,
}

/// Bytes of an Ethernet header.
const HEADER: usize = 14;
/// Bytes of ARP.
const ARP: usize = 28;
/// Hardware of Ethernet, protocol of IPv4, the lengths of their addresses.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];

impl Frame {
    /// The type of ARP.
    pub const ARP: u16 = 0x0806;
    /// The type of RARP.
    pub const RARP: u16 = 0x8035;
    /// What stands for the type of frames with a length.
    pub const LLC: u16 = 4;

    /// Whom it is for.
    pub fn destination(&self) -> Option<Mac> {
        mac(self.bytes.get(..6)?)
    }

    /// Who sends it.
    pub fn source(&self) -> Option<Mac> {
        mac(self.bytes.get(6..12)?)
    }

    /// Whether it is for more than one receiver.
    pub fn is_for_many(&self) -> bool {
        self.bytes.first().is_some_and(|byte| byte & 1 == 1)
    }

    /// What its header is followed by, as far as it was copied.
    pub fn payload(&self) -> &[u8] {
        self.bytes.get(HEADER..).unwrap_or_default()
    }

    /// ARP or RARP in it.
    pub fn arp(&self) -> Option<Arp> {
        if !matches!(self.ether_type, Self::ARP | Self::RARP) {
            return None;
        }
        let bytes = self.payload().get(..ARP)?;
        if !bytes.starts_with(&ETHERNET_IPV4) {
            return None;
        }
        let address =
            |at: usize| Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
        Some(Arp {
            operation: u16::from_be_bytes([bytes[6], bytes[7]]),
            sender: mac(&bytes[8..14])?,
            sender_address: address(14),
            target: mac(&bytes[18..24])?,
            target_address: address(24),
        })
    }

    /// What tells it from other frames, on every link that it is seen on: shorter ones are
    /// filled up on some.
    pub fn identity(&self) -> &[u8] {
        match self.arp() {
            Some(_) => &self.bytes[..HEADER + ARP],
            None => &self.bytes,
        }
    }
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac)
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let colon = if at == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking() -> Frame {
        let mut bytes = vec![0xff; 6];
        bytes.extend([2, 0, 0, 0, 0, 0xa, 8, 6]);
        bytes.extend([0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0xa, 10, 0, 0, 1]);
        bytes.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 3]);
        Frame { ether_type: Frame::ARP, length: 42, bytes }
    }

    #[test]
    fn who_asks_for_whom() {
        let frame = asking();
        let arp = frame.arp().unwrap();
        assert_eq!((arp.operation, arp.sender.to_string().as_str()), (1, "02:00:00:00:00:0a"));
        assert_eq!(
            (arp.sender_address, arp.target_address),
            ([10, 0, 0, 1].into(), [10, 0, 0, 3].into())
        );
        assert!(frame.is_for_many());
        assert_eq!(frame.source(), Some(arp.sender));
    }

    #[test]
    fn padding_is_no_part_of_it() {
        let mut padded = asking();
        padded.bytes.extend([0; 18]);
        assert_eq!(padded.identity(), asking().identity());
        padded.ether_type = 0x88cc;
        assert_ne!(padded.identity(), asking().identity());
    }

    #[test]
    fn what_is_cut_short_or_of_other_addresses_says_nothing() {
        let mut frame = asking();
        frame.bytes.truncate(41);
        assert_eq!(frame.arp(), None);
        let mut frame = asking();
        frame.bytes[14 + 4] = 8;
        assert_eq!(frame.arp(), None, "longer link addresses");
        frame.bytes.truncate(5);
        assert_eq!((frame.destination(), frame.payload()), (None, &[][..]));
    }
}
