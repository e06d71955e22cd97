//! The kernel's records (`trace.h`) as Rust types.

use super::calculation::Calculation;
use super::skeleton::types::{
    trace_call, trace_call_event, trace_counts, trace_drop_event, trace_event, trace_leg,
    trace_operation, trace_owner, trace_test, trace_tuple,
};
use crate::Pod;

// SAFETY: generated from trace.h; integers and arrays of integers only.
unsafe impl Pod for trace_event {}
// SAFETY: as above.
unsafe impl Pod for trace_drop_event {}
// SAFETY: as above.
unsafe impl Pod for trace_call {}
// SAFETY: as above.
unsafe impl Pod for trace_call_event {}
// SAFETY: as above.
unsafe impl Pod for trace_counts {}
// SAFETY: as above.
unsafe impl Pod for trace_tuple {}
// SAFETY: as above.
unsafe impl Pod for trace_leg {}
// SAFETY: as above.
unsafe impl Pod for trace_owner {}

/// `TRACE_LOSS_RING`.
pub(super) const LOSS_RING: usize = 0;
/// `TRACE_LOSS_BUDGET`.
pub(super) const LOSS_BUDGET: usize = 1;

/// `TRACE_ACCEPT` and `TRACE_REJECT`.
const ACCEPT: u8 = 254;
const REJECT: u8 = 255;

/// Numbers of `enum trace_step`.
pub(super) mod step {
    pub(crate) const RECEIVED: u32 = 1;
    pub(crate) const QUEUED: u32 = 2;
    pub(crate) const TRANSMITTED: u32 = 3;
    pub(crate) const ROUTED: u32 = 5;
    pub(crate) const NEIGHBOUR: u32 = 6;
    pub(crate) const DELIVERED: u32 = 7;
    pub(crate) const RETRANSMITTED: u32 = 8;
    pub(crate) const RESET_SENT: u32 = 9;
    pub(crate) const RESET_RECEIVED: u32 = 10;
    pub(crate) const ICMP_SENT: u32 = 11;
    pub(crate) const SOCKET_STATE: u32 = 12;
    pub(crate) const SOCKET_ERROR: u32 = 13;
    pub(crate) const SOCKET_FULL: u32 = 14;
    pub(crate) const CALLED: u32 = 15;
}

/// Numbers of `enum trace_function`.
pub(super) mod call {
    pub(crate) const HOOK: u32 = 1;
    pub(crate) const TABLE: u32 = 2;
    pub(crate) const CHAIN: u32 = 3;
    pub(crate) const TRANSLATION: u32 = 4;
    pub(crate) const DECISION: u32 = 5;
    pub(crate) const SEGMENT: u32 = 6;
    pub(crate) const DATAGRAM: u32 = 7;
    pub(crate) const GROUP: u32 = 8;
    #[cfg(test)]
    pub(crate) const ANY: u32 = 9;
}

/// `TRACE_FLAG_*`.
pub(super) mod flag {
    pub(crate) const FOLLOWED: u32 = 1;
    pub(crate) const INNER: u32 = 2;
    pub(crate) const OWN_SOCKET: u32 = 4;
    pub(crate) const STACK: u32 = 8;
    pub(crate) const FRAME: u32 = 32;
}

/// `IP_OFFSET`.
pub(super) const FRAGMENT_OFFSET: u16 = 0x1fff;

/// `TRACE_TRACKED*`.
pub(super) mod tracked {
    pub(crate) const TRANSLATED: u32 = 2;
    pub(crate) const REPLY: u32 = 4;
}

/// A property of a packet that a filter can ask for (`enum trace_field`). Numbers
/// are in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// 4 or 6; of a packet that is not IP [`Field::frame`].
    Family,
    /// IP protocol number.
    Protocol,
    /// One of four words of the source address; IPv4 has one.
    Source(u8),
    /// One of four words of the destination address.
    Destination(u8),
    /// 1 where the packet has ports: TCP, UDP, SCTP, and no later fragment.
    Ports,
    /// Source port.
    SourcePort,
    /// Destination port.
    DestinationPort,
    /// TCP's flags.
    TcpFlags,
    /// Bytes of the IP packet.
    Length,
    /// Time to live or hop limit.
    Ttl,
    /// Inode of the network namespace.
    Netns,
    /// Number of the device.
    Ifindex,
    /// Firewall mark.
    Mark,
    /// Number of the reason of a drop; 0 at every other hop.
    Reason,
    /// 1 where a socket or process of one of [`Options::owners`](super::Options) sends
    /// it; no other hop knows. The conversation is followed from there on.
    Owned,
    /// [`Field::TAGGED`] and the tag's control information (802.1Q) where the kernel keeps
    /// one beside the frame; else 0.
    Vlan,
    /// A number in network order somewhere in the packet. A packet that ends before does
    /// not match at all, one that has no such header there does not pass this test.
    Bytes {
        /// The header that is counted from.
        layer: Layer,
        /// Bytes before it.
        offset: u16,
        /// Its bytes: 1, 2 or 4.
        size: u8,
    },
    /// A number that is calculated from such numbers.
    Calculated(Calculation),
}

/// A header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// Ethernet's. Not there on the way out until the neighbour's address is known.
    Link,
    /// IP's.
    Network,
    /// The transport's. Not there in later fragments.
    Transport,
}

impl Field {
    /// Fields altogether (`TRACE_FIELDS`), without what is read or calculated on request.
    pub const COUNT: usize = 23;
    /// Of [`Field::Vlan`]: there is a tag.
    pub const TAGGED: u32 = 0x1_0000;

    /// Of [`Field::Family`]: the bits that are 4 where both ends are addresses of IPv4, as
    /// of ARP.
    pub const ENDS: u32 = 0xff;

    /// What [`Field::Family`] is for frames of a type. As the kernel numbers them: 4 stands
    /// for all that have a length instead of a type (LLC).
    pub const fn frame(ether_type: u16) -> u32 {
        let ends = if matches!(ether_type, 0x0806 | 0x8035) { 4 } else { 0 };
        (ether_type as u32) << 8 | ends
    }

    /// Its number in the kernel.
    pub fn number(self) -> u8 {
        match self {
            Self::Family => 0,
            Self::Protocol => 1,
            Self::Source(word) => 2 + word.min(3),
            Self::Destination(word) => 6 + word.min(3),
            Self::Ports => 10,
            Self::SourcePort => 11,
            Self::DestinationPort => 12,
            Self::TcpFlags => 13,
            Self::Length => 15,
            Self::Ttl => 16,
            Self::Owned => 17,
            Self::Netns => 18,
            Self::Ifindex => 19,
            Self::Mark => 20,
            Self::Reason => 21,
            Self::Vlan => 22,
            Self::Bytes { layer, .. } => Self::COUNT as u8 + layer as u8,
            Self::Calculated(_) => Self::COUNT as u8 + 3,
        }
    }

    /// Whether it takes bytes of this header.
    fn reads(self, layer: Layer) -> bool {
        match self {
            Self::Bytes { layer: of, .. } => of == layer,
            Self::Calculated(calculation) => calculation.reads(layer),
            _ => false,
        }
    }
}

/// What a filter asks for, as far as the kernel's side is made for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts about a filter")]
pub(super) struct Asks {
    /// For namespace, device, mark or reason.
    pub(super) place: bool,
    /// For TCP's flags.
    pub(super) flags: bool,
    /// For who sends.
    pub(super) owner: bool,
    /// For the frame's header or tag.
    pub(super) link: bool,
    /// For bytes of headers.
    pub(super) bytes: bool,
    /// For packets that are not IP: it names some, or the frame's header, which they have.
    pub(super) frames: bool,
    /// For nothing that differs from hop to hop of a packet, or that two packets which
    /// are otherwise equal may differ in: then a refusal holds for the next hop, too.
    pub(super) lasting: bool,
}

impl Asks {
    pub(super) fn of(tests: &[Test]) -> Self {
        let any = |wanted: fn(Field) -> bool| tests.iter().any(|test| wanted(test.field));
        let place =
            any(|f| matches!(f, Field::Netns | Field::Ifindex | Field::Mark | Field::Reason));
        let flags = any(|f| f == Field::TcpFlags);
        let owner = any(|f| f == Field::Owned);
        let bytes = any(|f| matches!(f, Field::Bytes { .. } | Field::Calculated(_)));
        let link = any(|f| f == Field::Vlan || f.reads(Layer::Link));
        let varying = place || flags || owner || link || bytes || any(|f| f == Field::Ttl);
        let names_some = |test: &Test| test.field == Field::Family && test.value > Field::ENDS;
        let frames = any(|f| f.reads(Layer::Link)) || tests.iter().any(names_some);
        Self { place, flags, owner, link, bytes, frames, lasting: !varying }
    }
}

/// How a field is compared (`enum trace_compare`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compare {
    /// Equal, after the mask.
    Equal,
    /// Not less.
    AtLeast,
    /// Not more.
    AtMost,
    /// Any of these bits is set.
    AnyBit,
}

/// One question of a filter. Tests form a decision diagram: each names the later
/// test to go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Test {
    /// What is asked for.
    pub field: Field,
    /// How.
    pub compare: Compare,
    /// Bits of the field that count.
    pub mask: u32,
    /// To compare with.
    pub value: u32,
    /// Where to go when it holds.
    pub yes: u8,
    /// Where to go when it does not.
    pub no: u8,
}

impl Test {
    /// As a target: the packet matches.
    pub const ACCEPT: u8 = ACCEPT;
    /// As a target: it does not.
    pub const REJECT: u8 = REJECT;

    /// Whether a value of the field passes.
    pub fn holds(&self, field: u32) -> bool {
        let field = field & self.mask;
        match self.compare {
            Compare::Equal => field == self.value,
            Compare::AtLeast => field >= self.value,
            Compare::AtMost => field <= self.value,
            Compare::AnyBit => field & self.value != 0,
        }
    }

    /// For the kernel; its operations are entered into the table of all.
    pub(super) fn to_raw(self, operations: &mut Vec<trace_operation>) -> trace_test {
        let (offset, size) = match self.field {
            Field::Bytes { offset, size, .. } => (offset, u16::from(size)),
            Field::Calculated(calculation) => calculation.enter(operations),
            _ => (0, 0),
        };
        trace_test {
            offset,
            size,
            value: self.value,
            mask: self.mask,
            field: self.field.number(),
            compare: self.compare as u8,
            yes: self.yes,
            no: self.no,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_from_hop_to_hop_is_asked_every_time() {
        let test = |field| Test {
            field,
            compare: Compare::Equal,
            mask: u32::MAX,
            value: 1,
            yes: ACCEPT,
            no: REJECT,
        };
        let asks =
            |fields: &[Field]| Asks::of(&fields.iter().copied().map(test).collect::<Vec<_>>());
        let port = asks(&[Field::Protocol, Field::SourcePort]);
        let none = Asks {
            place: false,
            flags: false,
            owner: false,
            link: false,
            bytes: false,
            frames: false,
            lasting: false,
        };
        assert_eq!(port, Asks { lasting: true, ..none });
        assert!(!asks(&[Field::SourcePort, Field::Ttl]).lasting);
        assert_eq!(asks(&[Field::Mark]), Asks { place: true, ..none });
        assert_eq!(asks(&[Field::TcpFlags]), Asks { flags: true, ..none });
        assert_eq!(asks(&[Field::Owned]), Asks { owner: true, ..none });
        assert_eq!(asks(&[Field::Vlan]), Asks { link: true, ..none });
        let bytes = |layer| asks(&[Field::Bytes { layer, offset: 0, size: 1 }]);
        assert_eq!(bytes(Layer::Link), Asks { link: true, bytes: true, frames: true, ..none });
        assert_eq!(bytes(Layer::Network), Asks { bytes: true, ..none });
        let of = |value| Asks::of(&[Test { value, ..test(Field::Family) }]);
        assert_eq!(of(4), Asks { lasting: true, ..none });
        assert_eq!(of(Field::frame(0x88cc)), Asks { frames: true, lasting: true, ..none });
    }
}
