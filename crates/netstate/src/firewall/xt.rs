//! What iptables' own extensions in nftables rules say.
//!
//! `nft` prints of an extension that `iptables` put into a rule (`xt`) the name
//! only, and where the iptables programs are not installed nothing else on the
//! machine can print more. The kernel keeps the extension's binary form
//! (`linux/netfilter/nf_tables_compat.h`, `x_tables.h` and the header of each
//! extension); those that decide over most rules are read here.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netlink_packet_core::{
    NetlinkDeserializable, NetlinkHeader, NetlinkSerializable, NlasIterator,
};

use super::{Condition, Verdict};
use crate::Result;
use crate::netlink::dump;

const NETLINK_NETFILTER: isize = 12;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE`.
const GET_RULE: u16 = 0x0a07;
/// `struct nfgenmsg`: family, version, resource.
const GENERAL: usize = 4;

/// Attributes of a rule (`NFTA_RULE_*`).
const RULE_TABLE: u16 = 1;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
/// Attributes of an expression (`NFTA_EXPR_*`).
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
/// Attributes of a match or target (`NFTA_TARGET_*`, the same for both).
const EXTENSION_NAME: u16 = 1;
const EXTENSION_REVISION: u16 = 2;
const EXTENSION_INFO: u16 = 3;

/// What an extension does in its rule.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Meaning {
    /// It narrows the rule: conditions, and for each whether it is turned round.
    Conditions(Vec<(Condition, bool)>),
    /// It decides.
    Verdict(Verdict),
}

/// The extensions of each rule in order, by family (`ip`, `ip6`), table and handle.
pub(super) type Extensions = HashMap<(String, String, u64), Vec<Meaning>>;

/// An nftables message, as bytes.
#[derive(Clone, Debug)]
struct Message(Vec<u8>);

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        GET_RULE
    }

    fn buffer_len(&self) -> usize {
        self.0.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.0);
    }
}

impl NetlinkDeserializable for Message {
    type Error = Infallible;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> std::result::Result<Self, Infallible> {
        Ok(Self(payload.to_vec()))
    }
}

/// Asks the kernel for the extensions of all rules of the calling thread's namespace.
pub(super) fn read() -> Result<Extensions> {
    let rules = dump(NETLINK_NETFILTER, "rules of nftables", Message(vec![0; GENERAL]))?;
    Ok(rules.iter().filter_map(|rule| of_rule(&rule.0)).collect())
}

type Entry = ((String, String, u64), Vec<Meaning>);

fn of_rule(message: &[u8]) -> Option<Entry> {
    let family = match message.first()? {
        2 => "ip",
        10 => "ip6",
        _ => return None,
    };
    let attributes = message.get(GENERAL..)?;
    let table = text(attribute(attributes, RULE_TABLE)?);
    let handle = u64::from_be_bytes(attribute(attributes, RULE_HANDLE)?.try_into().ok()?);
    let meanings: Vec<Meaning> = NlasIterator::new(attribute(attributes, RULE_EXPRESSIONS)?)
        .map_while(std::result::Result::ok)
        .filter_map(|expression| of_expression(expression.into_inner()))
        .collect();
    (!meanings.is_empty()).then(|| ((family.to_owned(), table, handle), meanings))
}

/// `element` is an attribute with its header.
fn of_expression(element: &[u8]) -> Option<Meaning> {
    let body = element.get(4..)?;
    let kind = text(attribute(body, EXPRESSION_NAME)?);
    let data = attribute(body, EXPRESSION_DATA)?;
    let name = || attribute(data, EXTENSION_NAME).map(text).unwrap_or_default();
    let revision = || {
        let bytes = attribute(data, EXTENSION_REVISION)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    let info = Info(attribute(data, EXTENSION_INFO).unwrap_or_default());
    match kind.as_str() {
        "target" => Some(target(&name(), &info)),
        "match" => Some(matching(&name(), revision()?, &info)),
        _ => None,
    }
}

/// The value of the first attribute of a kind.
fn attribute(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    NlasIterator::new(attributes).map_while(std::result::Result::ok).find_map(|found| {
        let (own, length) = (found.kind(), usize::from(found.length()));
        found.into_inner().get(4..length).filter(|_| own == kind)
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

/// An extension's own structure, numbers in the machine's byte order unless said.
struct Info<'a>(&'a [u8]);

impl Info<'_> {
    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..at + N)?.try_into().ok()
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_ne_bytes)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_ne_bytes)
    }

    /// A port as the network has it.
    fn port(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_be_bytes)
    }
}

/// What a target of this name does, as far as its name tells.
pub(super) fn target_named(name: &str) -> Meaning {
    Meaning::Verdict(match name {
        "DNAT" | "REDIRECT" => Verdict::Dnat(String::new()),
        "SNAT" | "MASQUERADE" => Verdict::Snat(String::new()),
        "REJECT" => Verdict::Reject,
        "DROP" => Verdict::Drop,
        // The others log, mark and mangle; what they do is not judged.
        _ => Verdict::Continue,
    })
}

fn target(name: &str, info: &Info<'_>) -> Meaning {
    let to = || new_address(info).unwrap_or_default();
    match name {
        "DNAT" => Meaning::Verdict(Verdict::Dnat(to())),
        "SNAT" => Meaning::Verdict(Verdict::Snat(to())),
        other => target_named(other),
    }
}

/// Flags of a translation.
const MAP_ADDRESS: u32 = 1;
const MAP_PORT: u32 = 2;

/// The address of a translation, with the port where it sets one; none where it
/// takes one of several.
///
/// The structures are told apart by their sizes: `nf_nat_ipv4_multi_range_compat`
/// (20 bytes padded to 24), `nf_nat_range` (40) and `nf_nat_range2` (42 to 48).
fn new_address(info: &Info<'_>) -> Option<String> {
    let (flags, low, high, port) = if info.0.len() < 40 {
        let v4 = |at| info.array(at).map(|bytes: [u8; 4]| IpAddr::from(bytes));
        (info.u32(4)?, v4(8)?, v4(12)?, (info.port(16)?, info.port(18)?))
    } else {
        let both = |at| info.array(at).map(|bytes: [u8; 16]| one_family(bytes));
        (info.u32(0)?, both(4)?, both(20)?, (info.port(36)?, info.port(38)?))
    };
    if flags & MAP_ADDRESS == 0 || low != high {
        return None;
    }
    match flags & MAP_PORT {
        0 => Some(low.to_string()),
        _ if port.0 == port.1 => Some(SocketAddr::new(low, port.0).to_string()),
        _ => None,
    }
}

/// `union nf_inet_addr`: a version 4 address takes the first four bytes.
fn one_family(bytes: [u8; 16]) -> IpAddr {
    let [a, b, c, d, rest @ ..] = bytes;
    if rest.iter().all(|byte| *byte == 0) {
        Ipv4Addr::new(a, b, c, d).into()
    } else {
        Ipv6Addr::from(bytes).into()
    }
}

/// What a match of this name does, as far as its name tells.
pub(super) fn match_named(name: &str) -> Meaning {
    Meaning::Conditions(match name {
        "comment" => Vec::new(),
        other => vec![(Condition::Unjudged(format!("-m {other}")), false)],
    })
}

fn matching(name: &str, revision: u32, info: &Info<'_>) -> Meaning {
    let read = match (name, revision) {
        ("conntrack", 2 | 3) => states(info),
        ("multiport", 1) => multiport(info),
        ("tcp", 0) => segment(info),
        ("udp", 0) => datagram(info),
        ("mark", 1) => mark(info),
        _ => None,
    };
    read.map_or_else(|| match_named(name), Meaning::Conditions)
}

type Conditions = Vec<(Condition, bool)>;

/// `struct xt_conntrack_mtinfo3`, where it asks for nothing but the state.
fn states(info: &Info<'_>) -> Option<Conditions> {
    const STATE: u16 = 1;
    const NAMES: [(u16, &str); 5] =
        [(1, "invalid"), (2, "established"), (4, "related"), (8, "new"), (256, "untracked")];
    let (asked, inverted, mask) = (info.u16(146)?, info.u16(148)?, info.u16(150)?);
    let known: u16 = NAMES.iter().map(|(bit, _)| bit).sum();
    if asked != STATE || mask & !known != 0 {
        return None;
    }
    let set = NAMES.iter().filter(|(bit, _)| mask & bit != 0);
    let names = set.map(|(_, name)| (*name).to_owned()).collect();
    Some(vec![(Condition::State(names), inverted & STATE != 0)])
}

/// `struct xt_multiport_v1`: at most fifteen ports, of which one may open a range
/// that the next one closes.
fn multiport(info: &Info<'_>) -> Option<Conditions> {
    let (side, count) = (info.byte(0)?, usize::from(info.byte(1)?));
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < count.min(15) {
        let (first, opens) = (info.u16(2 + 2 * at)?, info.byte(32 + at)? != 0);
        let last = if opens { info.u16(4 + 2 * at)? } else { first };
        ranges.push((first, last));
        at += if opens { 2 } else { 1 };
    }
    let condition = match side {
        0 => Condition::SourcePort(ranges),
        1 => Condition::DestinationPort(ranges),
        _ => return None,
    };
    Some(vec![(condition, info.byte(47)? != 0)])
}

/// `struct xt_tcp`, where it asks for nothing but ports.
fn segment(info: &Info<'_>) -> Option<Conditions> {
    let (option, flags) = (info.byte(8)?, info.byte(9)?);
    if option != 0 || flags != 0 {
        return None;
    }
    ports(info, info.byte(11)?)
}

/// `struct xt_udp`.
fn datagram(info: &Info<'_>) -> Option<Conditions> {
    ports(info, info.byte(8)?)
}

/// Ranges of source and destination ports, which both begin with.
fn ports(info: &Info<'_>, inverted: u8) -> Option<Conditions> {
    let source = vec![(info.u16(0)?, info.u16(2)?)];
    let destination = vec![(info.u16(4)?, info.u16(6)?)];
    let both = vec![
        (Condition::SourcePort(source), inverted & 1 != 0),
        (Condition::DestinationPort(destination), inverted & 2 != 0),
    ];
    let any = (0, u16::MAX);
    let narrows = |condition: &Condition, turned: bool| match condition {
        Condition::SourcePort(ranges) | Condition::DestinationPort(ranges) => {
            turned || ranges.as_slice() != [any]
        }
        _ => true,
    };
    Some(both.into_iter().filter(|(condition, turned)| narrows(condition, *turned)).collect())
}

/// `struct xt_mark_mtinfo1`.
fn mark(info: &Info<'_>) -> Option<Conditions> {
    let condition = Condition::Mark(info.u32(0)?, info.u32(4)?);
    Some(vec![(condition, info.byte(8)? != 0)])
}

#[cfg(test)]
#[path = "xt_tests.rs"]
mod tests;
